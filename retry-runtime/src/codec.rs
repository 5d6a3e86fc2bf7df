//! Encodes and decodes values. Only this file and its folder name the serialisation crate.
//!
//! The format is bincode's with fixed-width integers: it is the fastest to write, and a decoded value never
//! claims many more bytes than its encoding has.

mod alone;
pub(crate) mod buffers;
mod decoder;
mod digest;
mod encoder;
mod failure;
pub(crate) mod handle;
#[cfg(feature = "checkpoint")]
pub(crate) mod outline;
pub(crate) mod payload;
mod primitive;
mod shape;
pub(crate) mod staging;

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::sys;
use buffers::BufferPool;
use digest::digest;
use failure::{Omissible, ValueError};
use staging::Find;

/// A type whose values can be sent between processes: `Serialize`, `Deserialize`, and owned.
///
/// It is implemented for every such type, and need not be implemented by hand.
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

/// The reason for which a value cannot be encoded or decoded.
#[derive(Debug)]
pub(crate) enum CodecError {
    /// The encoding would be larger than this many bytes.
    TooLarge(usize),
    /// The reason that the codec or the type itself gave.
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

/// Size in bytes of the shape that follows a value.
pub(crate) const SHAPE: usize = 4;

/// Maximum nesting of a value, where each struct, sequence, option and so on counts as one level.
const MAX_NESTING: u16 = 512;

/// Appends the encoding of a sized value to `out`, which must not grow beyond `limit` bytes.
pub(crate) fn encode<T: Wire>(
    value: &T,
    out: &mut Vec<u8>,
    limit: usize,
) -> Result<(), CodecError> {
    encode_as::<T, T>(value, out, limit, Contents::InMessage)
}

/// Appends the encoding of a slice, which equals that of a vector with the same elements.
pub(crate) fn encode_slice<T: Wire>(
    slice: &[T],
    out: &mut Vec<u8>,
    limit: usize,
) -> Result<(), CodecError> {
    encode_as::<Vec<T>, [T]>(slice, out, limit, Contents::InMessage)
}

/// Appends the encoding of an argument that will be decoded as a `T`. Large contents may be [staged](staging); then
/// [`decode_staged`] decodes it.
pub(crate) fn encode_argument<T: Wire, S: Serialize + ?Sized>(
    argument: &S,
    out: &mut Vec<u8>,
    limit: usize,
) -> Result<(), CodecError> {
    encode_as::<T, S>(argument, out, limit, Contents::MayBeStaged)
}

/// The place of large contents.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Contents {
    InMessage,
    MayBeStaged,
}

/// Appends the encoding of a value that will be decoded as a `T`.
fn encode_as<T: Wire, S: Serialize + ?Sized>(
    value: &S,
    out: &mut Vec<u8>,
    limit: usize,
    contents: Contents,
) -> Result<(), CodecError> {
    let start = out.len();
    let stages = contents == Contents::MayBeStaged;
    let mut encoder = encoder::Encoder::new(out, limit);
    if stages {
        encoder.stage(staging::is_owned_blob::<T>());
    }
    if let Err(failure) = value.serialize(&mut encoder) {
        return Err(failure.of::<T>());
    }
    if !shape::is_known::<T>()
        && let Err(failure) = encoder.put_shape()
    {
        return Err(failure.of::<T>());
    }
    let omissible = encoder.omissible();
    if omissible != Omissible::default() {
        if stages && staging::has_staged() {
            // Here nothing can be decoded that lies apart from its message.
            return encode_as::<T, S>(value, &mut Vec::new(), limit, Contents::InMessage);
        }
        check_whole::<T, S>(value, &out[start..], omissible)?;
    }
    Ok(())
}

/// Encodes a value that is alone in its message. Returns the whole message if the value became its own
/// message, or `None` if its encoding was appended to `out`. [`decode_alone`] decodes it.
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

/// Encodes an argument that is alone in its message, like [`encode_alone`]. If its contents are staged, it is encoded like
/// one of several.
pub(crate) fn encode_argument_alone<T: Wire>(
    value: T,
    out: &mut Vec<u8>,
    limit: usize,
) -> Result<Option<Bytes>, CodecError> {
    match alone::plain() {
        Some(plain) if !staging::reserve_kept(plain.bytes(&value).len()) => {
            plain.encode(value, out, limit)
        }
        _ => encode_argument::<T, T>(&value, out, limit).map(|()| None),
    }
}

/// Appends the encoding that [`encode_argument_alone`] produces for a value.
pub(crate) fn encode_referred_alone<T: Wire>(
    value: &T,
    out: &mut Vec<u8>,
    limit: usize,
) -> Result<(), CodecError> {
    match alone::plain() {
        Some(plain) if !staging::reserve(plain.bytes(value).len()) => {
            plain.append(value, out, limit)
        }
        _ => encode_argument::<T, T>(value, out, limit),
    }
}

/// Appends the encoding that [`encode_argument_alone`] produces for a vector with the elements of a slice.
pub(crate) fn encode_slice_alone<T: Wire>(
    slice: &[T],
    out: &mut Vec<u8>,
    limit: usize,
) -> Result<(), CodecError> {
    match alone::plain_slice().map(|bytes| bytes(slice)) {
        Some(bytes) if !staging::reserve(bytes.len()) => alone::append(bytes, out, limit),
        _ => encode_argument::<Vec<T>, [T]>(slice, out, limit),
    }
}

/// Appends the encoding that [`encode_argument_alone`] produces for a string with this text.
pub(crate) fn encode_text_alone(
    text: &str,
    out: &mut Vec<u8>,
    limit: usize,
) -> Result<(), CodecError> {
    if staging::reserve(text.len()) {
        return encode_argument::<String, str>(text, out, limit);
    }
    alone::append(text.as_bytes(), out, limit)
}

fn reserve(out: &mut Vec<u8>, more: usize, limit: usize) -> Result<(), CodecError> {
    if out.len().saturating_add(more) > limit {
        return Err(CodecError::TooLarge(limit));
    }
    if out.capacity() - out.len() < more {
        out.reserve(more);
        sys::fills(out.spare_capacity_mut());
    }
    Ok(())
}

/// Decodes one value from the front of `bytes` and advances them past it.
///
/// The bytes may come from a corrupted process: a length in them never causes an allocation larger than the
/// bytes themselves, nor unbounded recursion.
pub(crate) fn decode<T: Wire>(bytes: &mut &[u8]) -> Result<T, CodecError> {
    decode_until(bytes, None, |rest| {
        *bytes = rest;
        Ok(())
    })
}

/// Decodes an argument whose contents may be [staged](staging), where [`staging::read`] allows that.
pub(crate) fn decode_staged<T: Wire>(bytes: &mut &[u8]) -> Result<T, CodecError> {
    decode_until(bytes, staging::finder(), |rest| {
        *bytes = rest;
        Ok(())
    })
}

/// Decodes a value that takes up all of `bytes`.
pub(crate) fn decode_all<T: Wire>(bytes: &[u8]) -> Result<T, CodecError> {
    decode_until(bytes, None, |rest| {
        if rest.is_empty() {
            Ok(())
        } else {
            Err(left_over::<T>(rest.len()))
        }
    })
}

/// Decodes a value that was alone in its message, whose memory returns to a pool, if there is one, once it is not needed
/// any more.
pub(crate) fn decode_alone<T: Wire>(
    message: Bytes,
    pool: Option<&Arc<BufferPool>>,
) -> Result<T, CodecError> {
    match alone::plain() {
        Some(plain) => plain.decode(message, pool),
        None => {
            let value = decode_all(&message);
            if let Some(pool) = pool {
                pool.take_back_message(message);
            }
            value
        }
    }
}

/// Decodes a value that was alone in its message, if the message shares its memory with others.
pub(crate) fn decode_alone_in_place<T: Wire>(message: &[u8]) -> Result<T, CodecError> {
    match alone::plain() {
        Some(plain) => plain.copy(message),
        None => decode_all(message),
    }
}

/// Decodes a value from the front and passes the rest to `check`. The value is moved only once on the way
/// out: moving it again would take most of the time for values of this size.
#[inline(always)]
fn decode_until<'a, T: Wire>(
    bytes: &'a [u8],
    find: Option<Find>,
    check: impl FnOnce(&'a [u8]) -> Result<(), CodecError>,
) -> Result<T, CodecError> {
    let mut source = decoder::source(bytes, find);
    // `map_err` and `?` would move the value once more.
    match T::deserialize(decoder::Decoder::new(&mut source)) {
        Ok(value) => match whole::<T>(&mut source).and_then(check) {
            Ok(()) => Ok(value),
            Err(error) => Err(error),
        },
        Err(failure) => Err(failure.of::<T>()),
    }
}

/// Checks the shape that follows a value, and returns the bytes after it.
#[inline]
fn whole<'a, T: Wire>(source: &mut decoder::Source<'a>) -> Result<&'a [u8], CodecError> {
    if shape::is_known::<T>() {
        Ok(decoder::rest(source))
    } else {
        decoder::check_shape(source).map_err(ValueError::of::<T>)
    }
}

#[cold]
pub(crate) fn left_over<T>(bytes: usize) -> CodecError {
    ValueError::differs(format!("{bytes} bytes are left over")).of::<T>()
}

/// Copies bytes into memory of their own.
fn copied(bytes: &[u8]) -> Vec<u8> {
    let mut copy = Vec::with_capacity(bytes.len());
    sys::fills(copy.spare_capacity_mut());
    copy.extend_from_slice(bytes);
    copy
}

/// Splits off the content of a sequence whose elements are `width` bytes each.
fn decode_bytes<'a>(bytes: &mut &'a [u8], width: usize) -> Option<&'a [u8]> {
    let (length, rest) = bytes.split_first_chunk()?;
    let length = usize::try_from(u64::from_le_bytes(*length)).ok()?;
    let (content, rest) = rest.split_at_checked(length.checked_mul(width)?)?;
    *bytes = rest;
    Some(content)
}

#[cold]
fn ends_early<T>() -> CodecError {
    ValueError::ends_early().of::<T>()
}

/// Decodes a value of which serde may have omitted these parts, and compares it with the original.
#[cold]
fn check_whole<T: Wire, S: Serialize + ?Sized>(
    value: &S,
    encoded: &[u8],
    omissible: Omissible,
) -> Result<(), CodecError> {
    let decoded: T = decode_all(encoded)?;
    let is_whole = digest(value, false)
        .and_then(|before| Ok(before == digest(&decoded, false)?))
        .map_err(ValueError::of::<T>)?;
    if is_whole {
        Ok(())
    } else {
        Err(ValueError::omitted(omissible).of::<T>())
    }
}

/// Encodes a value as JSON that decodes to the same value.
///
/// JSON represents less than serde passes to it: non-finite floats and `Some(None)` become `null`, and a
/// skipped field decodes to its default. So this function decodes the text and compares. The first digest
/// also rejects values that would recurse too deeply.
#[cfg(feature = "json")]
pub(crate) fn to_json<T: Serialize + DeserializeOwned>(value: &T) -> Result<String, CodecError> {
    let json = |value: &T| -> Result<String, ValueError> {
        let before = digest(value, true)?;
        let text = serde_json::to_string(value).map_err(ValueError::json)?;
        let back: T = serde_json::from_str(&text).map_err(ValueError::json)?;
        if digest(&back, true)? == before {
            Ok(text)
        } else {
            Err(ValueError::changed())
        }
    };
    json(value).map_err(ValueError::of::<T>)
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
    fn the_encoding_equals_that_of_the_crate() {
        #[derive(Serialize)]
        struct All<'a> {
            numbers: (i8, i16, i32, i64, i128, u8, u16, u32, u64, u128, f32, f64),
            plain: (bool, char, char, &'a str, (), Option<()>),
            points: Vec<(u8, bool)>,
            map: std::collections::BTreeMap<&'a str, Option<char>>,
            address: std::net::Ipv4Addr,
            length: usize,
        }
        let all = All {
            numbers: (-1, -2, -3, -4, -5, 6, 7, 8, 9, 10, 11.5, -12.5),
            plain: (true, 'x', 'ß', "grüße", (), Some(())),
            points: vec![(1, true), (2, false)],
            map: [("k", Some('ß')), ("l", None)].into(),
            address: [127, 0, 0, 1].into(),
            length: 13,
        };
        let mut bytes = Vec::new();
        all.serialize(&mut encoder::Encoder::new(&mut bytes, usize::MAX))
            .unwrap();
        assert_eq!(bytes, bincode::serde::encode_to_vec(&all, CONFIG).unwrap());
    }

    #[test]
    fn values_survive_a_round_trip() {
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
    fn a_false_length_allocates_nothing() {
        let lie = u64::MAX.to_le_bytes();
        assert!(decode_all::<String>(&lie).is_err());
        assert!(decode_all::<Vec<u8>>(&lie).is_err());
        assert!(decode_all::<Vec<u64>>(&lie).is_err());
        assert!(decode_all::<std::ffi::CString>(&lie).is_err());
        let without_content = (1u64 << 40).to_le_bytes();
        assert!(decode_all::<Vec<()>>(&without_content).is_err());
        assert!(decode_all::<std::collections::BTreeMap<(), ()>>(&without_content).is_err());

        /// The length hint that a sequence gives.
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
            let mut source = decoder::source(&bytes, None);
            let hint = Hint::deserialize(decoder::Decoder::new(&mut source));
            hint.unwrap().0
        };
        assert_eq!(hint(3), Some(3));
        assert_eq!(hint(4), None);
    }

    #[test]
    fn endless_nesting_is_an_error() {
        let bytes = vec![1u8; 1_000_000];
        let error = decode_all::<Nest>(&bytes).unwrap_err();
        assert!(error.to_string().contains("nested"), "{error}");
    }

    #[test]
    fn encoder_and_decoder_share_the_nesting_limit() {
        fn nest(depth: u32) -> Nest {
            (1..depth).fold(Nest(None), |inner, _| Nest(Some(Box::new(inner))))
        }
        // Each level is a struct and an option.
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
                    encode(&chain(*links), &mut bytes, usize::MAX).is_ok_and(|()| {
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
        // These links are two levels each, and the end is one.
        assert_eq!(longest(|next| Chain::Listed(vec![next])), 256);
        assert_eq!(longest(|next| Chain::Mapped([(0, next)].into())), 256);
        assert_eq!(longest(|next| Chain::Tuple((Box::new(next), true))), 256);
    }

    #[test]
    fn fields_of_one_side_only_are_detected() {
        #[derive(Debug, PartialEq, Serialize, Deserialize)]
        struct User {
            #[serde(skip_deserializing)]
            id: String,
            name: String,
            #[serde(skip_serializing)]
            password: String,
        }

        #[derive(Debug, PartialEq, Serialize, Deserialize)]
        enum Change {
            Of {
                #[serde(skip_deserializing)]
                before: u8,
                #[serde(skip_serializing)]
                after: u8,
            },
            #[serde(skip)]
            Nothing,
            ConnectionAcceptedByPeer,
            ConnectionRejectedByPeer,
        }

        fn refused<T: Wire + fmt::Debug>(value: T) -> String {
            let mut bytes = Vec::new();
            encode(&value, &mut bytes, usize::MAX).unwrap();
            decode_all::<T>(&bytes).unwrap_err().to_string()
        }

        let user = || User {
            id: "1".to_owned(),
            name: "n".to_owned(),
            password: "p".to_owned(),
        };
        assert!(refused(user()).contains("reads other fields"));
        assert!(refused(vec![user(), user()]).contains("reads other fields"));
        let change = Change::Of {
            before: 1,
            after: 2,
        };
        assert!(refused(change).contains("reads other fields"));
        assert!(refused(Change::ConnectionAcceptedByPeer).contains("`Change`"));
        assert!(encode(&Change::Nothing, &mut Vec::new(), usize::MAX).is_err());
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
}
