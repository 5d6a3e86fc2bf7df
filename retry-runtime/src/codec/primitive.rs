//! Encodes vectors and slices of numbers as the bytes that they are in memory, wherever they are in a value.
//!
//! Serde passes on one element after the other, each with its own checks. Here the type is checked instead: that of the
//! sequence that serde is about to walk through, and that of the visitor that is about to collect one. The compiler knows
//! the answer for each type, so nothing remains of the check at run time. The bytes are the same either way.
//!
//! `bool` and `char` are excluded, because not every bit pattern is valid for them.

use std::any::type_name;
use std::mem::{needs_drop, size_of};

use serde::de::Visitor;

use crate::sys;

use super::shape::PartKind;
use super::staging::{self, Find};
use super::{CodecError, decode_bytes};

/// A number whose encoding is its little-endian bytes.
pub(super) trait Number: sys::Number {
    /// The kind of part that serde encodes it as.
    const KIND: PartKind;

    /// Decodes the numbers from the bytes; an incomplete number at the end is ignored.
    fn take(bytes: &[u8]) -> Vec<Self>;
}

/// `true` if numbers have the same bytes in memory as in the encoding.
pub(super) const AS_IN_MEMORY: bool = cfg!(target_endian = "little");

/// Allocates a vector for `count` numbers. The caller has checked that the input contains them.
fn room<N>(count: usize) -> Vec<N> {
    let mut room = Vec::with_capacity(count);
    sys::fills(room.spare_capacity_mut());
    room
}

/// A sequence of numbers.
pub(super) struct Numbers<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) count: usize,
    pub(super) kind: PartKind,
}

/// A vector of numbers as the value that a visitor collects, and what it consists of.
pub(super) struct Collected<V> {
    pub(super) value: V,
    pub(super) count: usize,
    pub(super) kind: PartKind,
}

/// Decodes a vector of numbers from the front of a message; `None` if that ends early.
pub(super) type Collect<V> =
    fn(&mut &[u8], Option<Find>) -> Result<Option<Collected<V>>, CodecError>;

fn numbers_behind<I, N: Number>(sequence: &I) -> Option<Numbers<'_>> {
    let numbers: &[N] = sys::numbers_behind(sequence)?;
    Some(Numbers {
        bytes: sys::bytes_of(numbers),
        count: numbers.len(),
        kind: N::KIND,
    })
}

fn collect<N: Number, V>(
    bytes: &mut &[u8],
    find: Option<Find>,
) -> Result<Option<Collected<V>>, CodecError> {
    let Some(numbers) = take_numbers::<N>(bytes, find)? else {
        return Ok(None);
    };
    let count = numbers.len();
    let collected = sys::cast(numbers).map(|value| Collected {
        value,
        count,
        kind: N::KIND,
    });
    Ok(collected.ok())
}

fn take_numbers<N: Number>(
    bytes: &mut &[u8],
    find: Option<Find>,
) -> Result<Option<Vec<N>>, CodecError> {
    if let Some(bytes) = decode_bytes(bytes, size_of::<N>()) {
        return Ok(Some(N::take(bytes)));
    }
    let staged = staging::take(bytes, size_of::<N>(), find)?;
    Ok(staged.map(|staged| N::take(staged.bytes())))
}

/// Returns whether a visitor is the one with which serde collects the elements of a vector. Another one of the same value
/// may do anything with the elements. If serde renames it, vectors of numbers are decoded one element after the other.
fn is_of_serde<V>() -> bool {
    let name = type_name::<V>();
    (name.starts_with("serde_core::de::impls::") || name.starts_with("serde::de::impls::"))
        && name.contains("::VecVisitor<")
}

macro_rules! numbers {
    ($($type:ty as $kind:ident)*) => {
        $(
            impl Number for $type {
                const KIND: PartKind = PartKind::$kind;

                fn take(bytes: &[u8]) -> Vec<Self> {
                    let (chunks, _) = bytes.as_chunks();
                    let mut numbers = room(chunks.len());
                    numbers.extend(chunks.iter().map(|number| Self::from_le_bytes(*number)));
                    numbers
                }
            }
        )*

        /// Returns the numbers of a sequence that serde is about to encode one by one, if it is a vector or a slice of
        /// some.
        #[inline]
        pub(super) fn of_sequence<I>(sequence: &I) -> Option<Numbers<'_>> {
            if !AS_IN_MEMORY || const { needs_drop::<I>() || size_of::<I>() > size_of::<&[u8]>() } {
                return None;
            }
            None$(.or_else(|| numbers_behind::<I, $type>(sequence)))*
        }

        /// Returns the function that decodes all that a visitor is about to collect one by one, if that is a vector of
        /// numbers.
        #[inline]
        pub(super) fn of_visitor<'de, V: Visitor<'de>>() -> Option<Collect<V::Value>> {
            if const { size_of::<V::Value>() != size_of::<Vec<u8>>() } || !is_of_serde::<V>() {
                return None;
            }
            $(
                if sys::is::<V::Value, Vec<$type>>() {
                    return Some(collect::<$type, V::Value>);
                }
            )*
            None
        }
    };
}

numbers! {
    u8 as U8 i8 as I8 u16 as U16 i16 as I16 u32 as U32 i32 as I32 u64 as U64 i64 as I64 u128 as U128 i128 as I128
    usize as U64 isize as I64 f32 as F32 f64 as F64
}

// `usize` and `isize` are sent as 64 bits.
const _: () = assert!(size_of::<usize>() == 8);

#[cfg(test)]
mod tests {
    use std::fmt::Debug;

    use super::super::{CONFIG, Wire, decode_all, encode, encode_slice};
    use super::*;

    /// Round trips as a vector and as a slice, compared with the crate's encoding, whole and truncated.
    fn travels<N: Number + Wire + Debug>(numbers: &[N]) {
        let vec = numbers.to_vec();
        let expected = bincode::serde::encode_to_vec(&vec, CONFIG).unwrap();
        // The bytes that are already in the buffer stay.
        let (mut of_vec, mut of_slice) = (vec![1], vec![1]);
        encode(&vec, &mut of_vec, expected.len() + 1).unwrap();
        encode_slice(numbers, &mut of_slice, expected.len() + 1).unwrap();
        assert!(of_vec[0] == 1 && of_vec[1..] == expected, "{numbers:?}");
        assert_eq!(of_vec, of_slice);

        let decoded: Vec<N> = decode_all(&expected).unwrap();
        // Compare the encodings, not the numbers: a float may differ from itself.
        assert_eq!(
            bincode::serde::encode_to_vec(&decoded, CONFIG).unwrap(),
            expected
        );
        let cuts = (0..expected.len().min(50)).chain(expected.len().saturating_sub(50)..);
        for cut in cuts.take_while(|cut| *cut < expected.len()) {
            assert!(decode_all::<Vec<N>>(&expected[..cut]).is_err());
        }
        let longer = [&*expected, &[0]].concat();
        assert!(decode_all::<Vec<N>>(&longer).is_err());

        for limit in 0..=expected.len() {
            let mut out = vec![1];
            let of_vec = encode(&vec, &mut out, limit);
            let of_slice = encode_slice(numbers, &mut out, limit);
            assert!(matches!(of_vec, Err(CodecError::TooLarge(l)) if l == limit));
            assert!(matches!(of_slice, Err(CodecError::TooLarge(l)) if l == limit));
            assert_eq!((out.len(), out.capacity()), (1, 1));
        }

        let true_length = numbers.len() as u64;
        // With eight bytes per element, the second length overflows to the true number of bytes.
        let lies = [1u64 << 63, true_length + (1 << 61), true_length + 1];
        for lie in [u64::MAX, 1 << 60].into_iter().chain(lies) {
            let mut lying = expected.clone();
            lying[..8].copy_from_slice(&lie.to_le_bytes());
            assert!(decode_all::<Vec<N>>(&lying).is_err());
        }
    }

    #[test]
    fn numbers_travel_as_the_crate_writes_them() {
        macro_rules! travel {
            ($($type:ident)*) => {
                $(
                    let ends = [$type::MIN, $type::MAX, 0 as $type, 1 as $type];
                    for length in [0, 1, 3, 4096 / size_of::<$type>(), 4097] {
                        let numbers: Vec<$type> =
                            ends.into_iter().cycle().take(length).collect();
                        travels(&numbers);
                    }
                )*
            };
        }
        travel! { u8 i8 u16 i16 u32 i32 u64 i64 u128 i128 usize isize f32 f64 }
    }

    #[test]
    fn a_float_keeps_its_bits() {
        let bits = [
            0x7ff8_0000_0000_0000u64,
            0x7ff0_0000_0000_0001,
            0xfff0_0000_0bad_cafe,
            1 << 63,
            1,
        ];
        travels(&bits.map(f64::from_bits));
        let mut bytes = Vec::new();
        encode(&bits.map(f64::from_bits).to_vec(), &mut bytes, usize::MAX).unwrap();
        let decoded: Vec<f64> = decode_all(&bytes).unwrap();
        assert!(decoded.iter().map(|float| float.to_bits()).eq(bits));
        travels(&[0x7f80_0001u32, 0xffc0_1234, 1 << 31].map(f32::from_bits));
    }

    #[test]
    fn only_vectors_and_slices_of_numbers_are_known() {
        assert!(of_sequence(&&vec![1.5]).is_some());
        assert!(of_sequence(&&[1.5, 2.5][..]).is_some());
        assert!(of_sequence(&&vec![true]).is_none());
        assert!(of_sequence(&&['x'][..]).is_none());
        assert!(of_sequence(&&std::collections::VecDeque::from([1])).is_none());
        assert!(of_sequence(&[1, 2]).is_none());
        assert!(of_sequence(&(0..2)).is_none());
    }

    /// Tells whether the visitor of a type is recognised.
    struct Probe;

    impl<'de> serde::Deserializer<'de> for Probe {
        type Error = serde::de::value::Error;

        fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Self::Error> {
            let found = of_visitor::<V>().is_some();
            Err(serde::de::Error::custom(found))
        }

        serde::forward_to_deserialize_any! {
            bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit
            unit_struct newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
        }
    }

    fn is_recognised<T: serde::Deserialize<'static> + Debug>() -> bool {
        T::deserialize(Probe).unwrap_err().to_string() == "true"
    }

    /// If serde has renamed its visitor, vectors are decoded slowly: adapt `is_of_serde`.
    #[test]
    fn the_visitor_of_serde_is_recognised() {
        assert!(is_recognised::<Vec<u8>>());
        assert!(is_recognised::<Vec<f64>>());
        assert!(is_recognised::<Vec<isize>>());
        assert!(is_recognised::<Box<[i128]>>());
        assert!(!is_recognised::<Vec<bool>>());
        assert!(!is_recognised::<Vec<String>>());
        assert!(!is_recognised::<std::collections::VecDeque<u8>>());
        assert!(!is_recognised::<String>());
    }

    /// Reads the bytes one after the other, and adds one to each.
    fn one_by_one<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        struct OneByOne;

        impl<'de> Visitor<'de> for OneByOne {
            type Value = Vec<u8>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("bytes")
            }

            fn visit_seq<A: serde::de::SeqAccess<'de>>(
                self,
                mut elements: A,
            ) -> Result<Vec<u8>, A::Error> {
                let mut bytes = Vec::new();
                while let Some(byte) = elements.next_element::<u8>()? {
                    bytes.push(byte + 1);
                }
                Ok(bytes)
            }
        }

        from.deserialize_seq(OneByOne)
    }

    #[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
    struct Parts {
        name: String,
        pixels: Vec<u8>,
        weights: Option<Vec<f64>>,
        #[serde(deserialize_with = "one_by_one")]
        other: Vec<u8>,
        rows: Vec<Vec<u16>>,
        boxed: Box<[i64]>,
        map: std::collections::BTreeMap<u8, Vec<i32>>,
        flags: Vec<bool>,
        kind: Kind,
    }

    #[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
    enum Kind {
        Numbers(Vec<u32>),
        Pair(Vec<u8>, Wrapped),
        Named { list: Vec<u64> },
    }

    #[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
    struct Wrapped(Vec<f32>);

    #[test]
    fn vectors_within_values_travel_as_the_crate_writes_them() {
        let kinds = [
            Kind::Numbers(vec![1, 2]),
            Kind::Pair(vec![], Wrapped(vec![0.5])),
            Kind::Named { list: vec![7; 300] },
        ];
        for (length, kind) in [0, 1, 100_000].into_iter().zip(kinds) {
            let parts = Parts {
                name: "name".to_owned(),
                pixels: vec![3; length],
                weights: (length != 1).then(|| vec![0.25; length]),
                other: vec![4; length],
                rows: vec![vec![5; 3]; length % 1000],
                boxed: vec![-6; length].into(),
                map: (0..3).map(|key| (key, vec![7; length])).collect(),
                flags: vec![true; 3],
                kind,
            };
            let mut bytes = Vec::new();
            encode(&parts, &mut bytes, usize::MAX).unwrap();
            let read = Parts {
                other: vec![5; length],
                ..parts
            };
            assert_eq!(decode_all::<Parts>(&bytes).unwrap(), read);
            // Cut anywhere, it is an error.
            let cuts = (0..bytes.len()).step_by(1 + bytes.len() / 500);
            cuts.for_each(|cut| assert!(decode_all::<Parts>(&bytes[..cut]).is_err()));
            for limit in [0, bytes.len() / 2, bytes.len() - 1] {
                assert!(encode(&read, &mut Vec::new(), limit).is_err());
            }
            // Whole, and one by one: both count the same parts.
            let rows = read.rows.clone();
            let mut whole = Vec::new();
            encode(&rows, &mut whole, usize::MAX).unwrap();
            let queue: std::collections::VecDeque<std::collections::VecDeque<u16>> = rows
                .iter()
                .map(|row| row.iter().copied().collect())
                .collect();
            let mut single = Vec::new();
            encode(&queue, &mut single, usize::MAX).unwrap();
            assert_eq!(whole, single);
        }
    }
}
