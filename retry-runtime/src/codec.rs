//! Values to bytes and back: the one file that names the serialisation crate.
//!
//! The format is bincode's with integers of fixed width: the fastest to write, and one in which
//! a decoded value never claims many more bytes than its encoding has.

mod alone;
mod decoder;
mod encoder;
mod failure;
mod primitive;

use std::any::TypeId;
use std::fmt;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::recycle;
use crate::sys::{self, PerProcess};
use failure::Failure;

/// A type that can travel between processes: serde's `Serialize` and `Deserialize`, owned.
///
/// It is implemented for every such type; there is nothing to implement by hand.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be sent to a worker process",
    label = "this type is not serialisable",
    note = "add `#[derive(serde::Serialize, serde::Deserialize)]` to the type and to what it \
            contains; it must own its data",
    note = "a type that serde can carry, but bincode cannot, travels inside of \
            `retry_runtime::Json<T>`"
)]
pub trait Wire: Serialize + DeserializeOwned + 'static {}

#[diagnostic::do_not_recommend]
impl<T: Serialize + DeserializeOwned + 'static> Wire for T {}

/// Why a value cannot be encoded or decoded.
#[derive(Debug)]
pub(crate) enum CodecError {
    /// The encoding is larger than this many bytes.
    TooLarge(usize),
    /// The codec's or the type's own reason.
    Invalid(String),
}

impl fmt::Display for CodecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge(limit) => write!(f, "larger than {limit} bytes"),
            Self::Invalid(reason) => f.write_str(reason),
        }
    }
}

type Config = bincode::config::Configuration<
    bincode::config::LittleEndian,
    bincode::config::Fixint,
    bincode::config::NoLimit,
>;
const CONFIG: Config = bincode::config::standard().with_fixed_int_encoding();

/// How deeply a value may be nested: each struct, sequence, option and so on is one level.
const DEEPEST: u16 = 512;

/// Appends the encoding of a sized value to `out`, which must not grow beyond `limit` bytes.
pub(crate) fn encode<T: Wire>(
    value: &T,
    out: &mut Vec<u8>,
    limit: usize,
) -> Result<(), CodecError> {
    if let Some(encode) = primitive::encode_vec() {
        return encode(value, out, limit);
    }
    let start = out.len();
    encode_serde(value, out, limit)?;
    if cfg!(debug_assertions) {
        check_once::<T>(&out[start..])?;
    }
    Ok(())
}

/// Appends the encoding of a slice, as that of the vector with the same elements.
pub(crate) fn encode_slice<T: Wire>(
    slice: &[T],
    out: &mut Vec<u8>,
    limit: usize,
) -> Result<(), CodecError> {
    if let Some(encode) = primitive::encode_slice() {
        return encode(slice, out, limit);
    }
    encode_serde(slice, out, limit)
}

/// Encodes a value that is all there is in its message: what it becomes as that, or nothing if its
/// encoding was appended. To be decoded by [`decode_alone`].
pub(crate) fn encode_alone<T: Wire>(
    value: T,
    out: &mut Vec<u8>,
    limit: usize,
) -> Result<Option<Bytes>, CodecError> {
    match alone::plain() {
        Some(plain) => plain.encode(value, out, limit),
        None => encode(&value, out, limit).map(|()| None),
    }
}

/// Appends what [`encode_alone`] makes of a value.
pub(crate) fn encode_referred_alone<T: Wire>(
    value: &T,
    out: &mut Vec<u8>,
    limit: usize,
) -> Result<(), CodecError> {
    match alone::plain() {
        Some(plain) => plain.append(value, out, limit),
        None => encode(value, out, limit),
    }
}

/// The same of the vector with the elements of a slice.
pub(crate) fn encode_slice_alone<T: Wire>(
    slice: &[T],
    out: &mut Vec<u8>,
    limit: usize,
) -> Result<(), CodecError> {
    match alone::plain_slice() {
        Some(bytes) => alone::append(bytes(slice), out, limit),
        None => encode_slice(slice, out, limit),
    }
}

/// The same of the string with this text.
pub(crate) fn encode_text_alone(
    text: &str,
    out: &mut Vec<u8>,
    limit: usize,
) -> Result<(), CodecError> {
    alone::append(text.as_bytes(), out, limit)
}

/// Appends the encoding of anything that serde can walk.
pub(crate) fn encode_serde<T: Serialize + ?Sized>(
    value: &T,
    out: &mut Vec<u8>,
    limit: usize,
) -> Result<(), CodecError> {
    value
        .serialize(&mut encoder::Encoder::new(out, limit))
        .map_err(Failure::into_inner)
}

fn reserve(out: &mut Vec<u8>, more: usize, limit: usize) -> Result<(), CodecError> {
    if out.len().saturating_add(more) > limit {
        return Err(CodecError::TooLarge(limit));
    }
    let whole = out.len() + more;
    if out.capacity() < whole {
        if let Some(mut room) = recycle::ENCODED.find(whole) {
            room.extend_from_slice(out);
            *out = room;
        } else {
            out.reserve(more);
            sys::fills(out.spare_capacity_mut());
        }
    }
    Ok(())
}

/// Decodes one value from the front of `bytes`, which are advanced past it.
///
/// The bytes may come from a corrupted process: no claim of theirs is trusted with an
/// allocation larger than they are themselves, nor with unbounded recursion.
pub(crate) fn decode<T: Wire>(bytes: &mut &[u8]) -> Result<T, CodecError> {
    decode_until(bytes, |rest| {
        *bytes = rest;
        Ok(())
    })
}

/// Decodes a value that is all there is.
pub(crate) fn decode_all<T: Wire>(bytes: &[u8]) -> Result<T, CodecError> {
    decode_until(bytes, |rest| {
        if rest.is_empty() {
            Ok(())
        } else {
            Err(left_over(rest.len()))
        }
    })
}

/// Decodes a value that was all there is in its message.
pub(crate) fn decode_alone<T: Wire>(message: Bytes) -> Result<T, CodecError> {
    match alone::plain() {
        Some(plain) => plain.decode(message),
        None => {
            let value = decode_all(&message);
            recycle::RECEIVED.take_back_message(message);
            value
        }
    }
}

/// The same where the message shares its memory with others.
pub(crate) fn decode_alone_in_place<T: Wire>(message: &[u8]) -> Result<T, CodecError> {
    match alone::plain() {
        Some(plain) => plain.copy(message),
        None => decode_all(message),
    }
}

/// Decodes a value from the front, if what comes after it is as it should be. A value is moved
/// once on the way out: at this size of values, to move it again is most of the time.
#[inline(always)]
fn decode_until<'a, T: Wire>(
    mut bytes: &'a [u8],
    check: impl FnOnce(&'a [u8]) -> Result<(), CodecError>,
) -> Result<T, CodecError> {
    if let Some(decode) = primitive::decode_vec() {
        let value = decode(&mut bytes)?;
        check(bytes)?;
        return Ok(value);
    }
    let mut source = decoder::source(bytes);
    // `map_err` and `?` would be another move.
    match T::deserialize(decoder::Decoder::new(&mut source)) {
        Ok(value) => match check(decoder::rest(&mut source)) {
            Ok(()) => Ok(value),
            Err(error) => Err(error),
        },
        Err(failure) => Err(failure.into_inner()),
    }
}

#[cold]
fn left_over(bytes: usize) -> CodecError {
    CodecError::Invalid(format!("{bytes} bytes are left over"))
}

/// The content of a sequence whose elements have `width` bytes each.
fn decode_bytes<'a>(bytes: &mut &'a [u8], width: usize) -> Result<&'a [u8], CodecError> {
    let (length, rest) = bytes.split_first_chunk().ok_or_else(ends_early)?;
    let (content, rest) = usize::try_from(u64::from_le_bytes(*length))
        .ok()
        .and_then(|length| length.checked_mul(width))
        .and_then(|length| rest.split_at_checked(length))
        .ok_or_else(ends_early)?;
    *bytes = rest;
    Ok(content)
}

#[cold]
fn ends_early() -> CodecError {
    CodecError::Invalid("the bytes end early".to_owned())
}

/// bincode is not self-describing, so that some types encode to what they cannot be decoded
/// from. In debug builds the first value of each type shows whether its type is one of them.
fn check_once<T: Wire>(encoded: &[u8]) -> Result<(), CodecError> {
    use std::collections::HashSet;
    use std::sync::{Mutex, PoisonError};

    static CHECKED: PerProcess<Mutex<HashSet<TypeId>>> = PerProcess::new();
    let checked = CHECKED.get_or_init(Mutex::default);
    let type_id = TypeId::of::<T>();
    if checked
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .contains(&type_id)
    {
        return Ok(());
    }
    let unsound = |reason: String| {
        CodecError::Invalid(format!(
            "`{}` does not come back from its own encoding ({reason}); serde attributes such as \
             flatten, untagged, tag and skip_serializing_if need a self-describing format: wrap \
             the value in retry_runtime::Json (feature `json`)",
            std::any::type_name::<T>()
        ))
    };
    let decoded: T = decode_all(encoded).map_err(|error| match error.to_string() {
        // That is the value's fault and not its type's.
        reason if reason == failure::too_deep() => CodecError::Invalid(reason),
        reason => unsound(reason),
    })?;
    let mut again = Vec::with_capacity(encoded.len());
    // Not compared byte by byte: a hash map comes back in another order.
    match encode_serde(&decoded, &mut again, usize::MAX) {
        Ok(()) if again.len() == encoded.len() => {}
        Ok(()) => {
            return Err(unsound(format!(
                "{} bytes instead of {}",
                again.len(),
                encoded.len()
            )));
        }
        Err(error) => return Err(unsound(error.to_string())),
    }
    checked
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .insert(type_id);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    fn round_trip<T: Wire + PartialEq + fmt::Debug>(value: T) {
        let mut bytes = Vec::new();
        encode(&value, &mut bytes, usize::MAX).unwrap();
        assert_eq!(decode_all::<T>(&bytes).unwrap(), value);
        for cut in 0..bytes.len() {
            assert!(decode_all::<T>(&bytes[..cut]).is_err());
        }
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum Shape {
        Unit,
        New(String),
        Pair(u8, i128),
        Named {
            map: std::collections::BTreeMap<String, Option<char>>,
        },
    }

    #[derive(Debug, Serialize, Deserialize)]
    struct Nest(Option<Box<Nest>>);

    #[test]
    fn the_encoding_is_that_of_the_crate_that_decodes_it() {
        #[derive(Serialize)]
        struct All<'a> {
            numbers: (i8, i16, i32, i64, i128, u8, u16, u32, u64, u128, f32, f64),
            plain: (bool, char, char, &'a str, (), Option<()>),
            shapes: Vec<Shape>,
            address: std::net::IpAddr,
            length: usize,
        }
        let all = All {
            numbers: (-1, -2, -3, -4, -5, 6, 7, 8, 9, 10, 11.5, -12.5),
            plain: (true, 'x', 'ß', "grüße", (), Some(())),
            shapes: vec![
                Shape::Unit,
                Shape::New("x".into()),
                Shape::Pair(3, i128::MIN),
                Shape::Named {
                    map: [("k".to_owned(), Some('ß')), ("l".to_owned(), None)].into(),
                },
            ],
            address: [127, 0, 0, 1].into(),
            length: 13,
        };
        let mut bytes = Vec::new();
        encode_serde(&all, &mut bytes, usize::MAX).unwrap();
        assert_eq!(bytes, bincode::serde::encode_to_vec(&all, CONFIG).unwrap());
    }

    #[test]
    fn values_come_back() {
        round_trip(u64::MAX);
        round_trip(vec![1u8, 2, 3]);
        round_trip(vec![(1.5f32, true), (-0.0, false)]);
        round_trip(String::from("grüße"));
        round_trip(vec![
            Shape::Unit,
            Shape::New("x".into()),
            Shape::Pair(3, i128::MIN),
            Shape::Named {
                map: [("k".to_owned(), Some('ß')), ("l".to_owned(), None)].into(),
            },
        ]);
    }

    #[test]
    fn a_slice_is_encoded_as_its_vector() {
        let (mut slice, mut vector) = (Vec::new(), Vec::new());
        encode_slice(&[7u8, 8], &mut slice, 100).unwrap();
        encode(&vec![7u8, 8], &mut vector, 100).unwrap();
        assert_eq!(slice, vector);
        let (mut slice, mut vector) = (Vec::new(), Vec::new());
        encode_slice(&[7u32, 8], &mut slice, 100).unwrap();
        encode(&vec![7u32, 8], &mut vector, 100).unwrap();
        assert_eq!(slice, vector);
    }

    #[test]
    fn a_length_that_lies_allocates_nothing() {
        let lie = u64::MAX.to_le_bytes();
        assert!(decode_all::<String>(&lie).is_err());
        assert!(decode_all::<Vec<u8>>(&lie).is_err());
        assert!(decode_all::<Vec<u64>>(&lie).is_err());
        assert!(decode_all::<std::ffi::CString>(&lie).is_err());
        let without_content = (1u64 << 40).to_le_bytes();
        assert!(decode_all::<Vec<()>>(&without_content).is_err());
        assert!(decode_all::<std::collections::BTreeMap<(), ()>>(&without_content).is_err());

        /// What a sequence says about its length.
        struct Hint(Option<usize>);

        impl<'de> Deserialize<'de> for Hint {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                struct Visitor;

                impl<'de> serde::de::Visitor<'de> for Visitor {
                    type Value = Hint;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str("a sequence")
                    }

                    fn visit_seq<A: serde::de::SeqAccess<'de>>(
                        self,
                        mut access: A,
                    ) -> Result<Hint, A::Error> {
                        let hint = access.size_hint();
                        while access.next_element::<u8>().is_ok_and(|next| next.is_some()) {}
                        Ok(Hint(hint))
                    }
                }

                from.deserialize_seq(Visitor)
            }
        }

        impl Serialize for Hint {
            fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.serialize_unit()
            }
        }

        let hint = |length: u64| {
            let bytes = [&length.to_le_bytes()[..], &[0; 3]].concat();
            decode_all::<Hint>(&bytes).unwrap().0
        };
        assert_eq!(hint(3), Some(3));
        assert_eq!(hint(4), None);
    }

    #[test]
    fn a_nest_without_end_is_an_error_instead_of_a_stack_overflow() {
        let bytes = vec![1u8; 1_000_000];
        let error = decode_all::<Nest>(&bytes).unwrap_err();
        assert!(error.to_string().contains("nested"), "{error}");
    }

    #[test]
    fn what_can_be_encoded_is_not_nested_too_deeply_to_be_decoded() {
        fn nest(depth: u32) -> Nest {
            (1..depth).fold(Nest(None), |inner, _| Nest(Some(Box::new(inner))))
        }
        // Each is a struct and an option.
        round_trip_length(&nest(256));
        let error = encode(&nest(257), &mut Vec::new(), usize::MAX).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the value is nested deeper than 512 levels"
        );

        #[derive(Serialize, Deserialize)]
        enum Chain {
            End,
            Plain(Box<Chain>),
            Pair(u8, Box<Chain>),
            Named { next: Box<Chain> },
            Listed(Vec<Chain>),
            Mapped(std::collections::BTreeMap<u8, Chain>),
            Tuple((Box<Chain>, bool)),
        }
        let longest = |link: fn(Chain) -> Chain| {
            let chain = |links| (0..links).fold(Chain::End, |chain, _| link(chain));
            (0..600)
                .take_while(|links| {
                    let mut bytes = Vec::new();
                    // Without the check of debug builds, which decodes as well.
                    encode_serde(&chain(*links), &mut bytes, usize::MAX).is_ok_and(|()| {
                        assert!(decode_all::<Chain>(&bytes).is_ok());
                        true
                    })
                })
                .count()
        };
        assert_eq!(longest(|next| Chain::Plain(Box::new(next))), 512);
        assert_eq!(longest(|next| Chain::Pair(0, Box::new(next))), 512);
        let named = |next| Chain::Named {
            next: Box::new(next),
        };
        assert_eq!(longest(named), 512);
        // These are two levels each, and the end is one.
        assert_eq!(longest(|next| Chain::Listed(vec![next])), 256);
        assert_eq!(longest(|next| Chain::Mapped([(0, next)].into())), 256);
        assert_eq!(longest(|next| Chain::Tuple((Box::new(next), true))), 256);
    }

    fn round_trip_length<T: Wire>(value: &T) {
        let (mut bytes, mut again) = (Vec::new(), Vec::new());
        encode(value, &mut bytes, usize::MAX).unwrap();
        encode(&decode_all::<T>(&bytes).unwrap(), &mut again, usize::MAX).unwrap();
        assert_eq!(bytes, again);
    }

    #[test]
    fn the_limit_is_kept() {
        let mut out = Vec::new();
        let error = encode(&vec![0u64; 100], &mut out, 99).unwrap_err();
        assert!(matches!(error, CodecError::TooLarge(99)));
        assert!(out.len() <= 99);
    }

    #[cfg(debug_assertions)]
    #[test]
    fn a_type_that_needs_a_self_describing_format_is_named() {
        #[derive(Serialize, Deserialize)]
        struct Sparse {
            #[serde(skip_serializing_if = "Option::is_none")]
            missing: Option<u32>,
            last: u32,
        }
        let value = Sparse {
            missing: None,
            last: 3,
        };
        let error = encode(&value, &mut Vec::new(), 1000).unwrap_err();
        assert!(error.to_string().contains("Sparse"), "{error}");
        assert!(error.to_string().contains("Json"), "{error}");
    }
}
