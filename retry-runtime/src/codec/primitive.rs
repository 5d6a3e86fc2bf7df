//! Encodes vectors and slices of numbers as the bytes that they are in memory.
//!
//! Serde passes on one element after the other, each with its own checks. Here the type is checked instead:
//! the function that encodes `Vec<f64>` has the signature of one for any `T`; as a `dyn Any` it downcasts to
//! the function for `T` only if `T` is `Vec<f64>`. The compiler knows the answer for each `T`, so nothing
//! remains of the check at run time.
//!
//! `bool` and `char` are excluded, because not every bit pattern is valid for them.

use std::any::Any;
use std::mem::{needs_drop, size_of};

use crate::sys;

use super::{CodecError, decode_bytes, ends_early, reserve, staging};

type Encode<T> = fn(&T, &mut Vec<u8>, usize) -> Result<(), CodecError>;
type Decode<T> = fn(&mut &[u8]) -> Result<T, CodecError>;

/// A number whose encoding is its little-endian bytes.
pub(super) trait Number: sys::Number {
    /// Appends the bytes of all numbers.
    fn put(numbers: &[Self], out: &mut Vec<u8>);

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

macro_rules! numbers {
    ($($type:ty)*) => {
        $(
            impl Number for $type {
                fn put(numbers: &[Self], out: &mut Vec<u8>) {
                    if AS_IN_MEMORY {
                        return out.extend_from_slice(sys::bytes_of(numbers));
                    }
                    for number in numbers {
                        out.extend_from_slice(&number.to_le_bytes());
                    }
                }

                fn take(bytes: &[u8]) -> Vec<Self> {
                    let (chunks, _) = bytes.as_chunks();
                    let mut numbers = room(chunks.len());
                    numbers.extend(chunks.iter().map(|number| Self::from_le_bytes(*number)));
                    numbers
                }
            }
        )*
    };
}

fn encode_numbers<N: Number, A: AsRef<[N]> + ?Sized>(
    numbers: &A,
    out: &mut Vec<u8>,
    limit: usize,
) -> Result<(), CodecError> {
    let numbers = numbers.as_ref();
    if AS_IN_MEMORY && staging::put(sys::bytes_of(numbers), numbers.len(), out, limit)? {
        return Ok(());
    }
    reserve(out, size_of_val(numbers).saturating_add(8), limit)?;
    out.extend_from_slice(&(numbers.len() as u64).to_le_bytes());
    N::put(numbers, out);
    Ok(())
}

fn decode_numbers<N: Number>(bytes: &mut &[u8]) -> Result<Vec<N>, CodecError> {
    match decode_bytes(bytes, size_of::<N>()) {
        Some(bytes) => Ok(N::take(bytes)),
        None => match staging::take(bytes, size_of::<N>())? {
            Some(staged) => Ok(N::take(staged.bytes())),
            None => Err(ends_early::<Vec<N>>()),
        },
    }
}

// The functions are statics, so they are compiled in this crate, not again for each `T` in a user's crate.
macro_rules! lookups {
    ($($type:ty)*) => {
        /// Returns the function that encodes a `T`, if it is a vector of numbers.
        #[inline]
        pub(super) fn encode_vec<T: 'static>() -> Option<Encode<T>> {
            if const { size_of::<T>() != size_of::<Vec<u8>>() } {
                return None;
            }
            $({
                static KNOWN: Encode<Vec<$type>> = encode_numbers::<$type, _>;
                if let Some(encode) = (&KNOWN as &dyn Any).downcast_ref() {
                    return Some(*encode);
                }
            })*
            None
        }

        /// Returns the function that encodes a slice of `T`, if `T` is a number.
        #[inline]
        pub(super) fn encode_slice<T: 'static>() -> Option<Encode<[T]>> {
            if const { needs_drop::<T>() } {
                return None;
            }
            $({
                static KNOWN: Encode<[$type]> = encode_numbers::<$type, _>;
                if let Some(encode) = (&KNOWN as &dyn Any).downcast_ref() {
                    return Some(*encode);
                }
            })*
            None
        }

        /// Returns the function that decodes a `T`, if it is a vector of numbers.
        #[inline]
        pub(super) fn decode_vec<T: 'static>() -> Option<Decode<T>> {
            if const { size_of::<T>() != size_of::<Vec<u8>>() } {
                return None;
            }
            $({
                static KNOWN: Decode<Vec<$type>> = decode_numbers;
                if let Some(decode) = (&KNOWN as &dyn Any).downcast_ref() {
                    return Some(*decode);
                }
            })*
            None
        }
    };
}

numbers! { u8 i8 u16 i16 u32 i32 u64 i64 u128 i128 usize isize f32 f64 }
lookups! { u8 i8 u16 i16 u32 i32 u64 i64 u128 i128 usize isize f32 f64 }

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
        assert!(encode_vec::<Vec<f64>>().is_some());
        assert!(decode_vec::<Vec<f64>>().is_some());
        assert!(super::encode_slice::<f64>().is_some());
        assert!(encode_vec::<Vec<bool>>().is_none());
        assert!(decode_vec::<Vec<bool>>().is_none());
        assert!(super::encode_slice::<bool>().is_none());
        assert!(encode_vec::<String>().is_none());
        assert!(decode_vec::<[u64; 3]>().is_none());
    }
}
