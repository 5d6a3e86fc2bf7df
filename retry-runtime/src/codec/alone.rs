//! What is alone in its message and is bytes travels as these bytes.
//!
//! The message has a length, so that none stands before them. Then a large value need not be
//! copied: it becomes its message, and the message becomes the value. As with vectors of numbers
//! the type is asked for when the program is compiled, at both ends alike: the one parameter of a
//! function, and the value that it returns.

use std::any::Any;
use std::mem::size_of;

use bytes::Bytes;

use super::{CodecError, reserve};

/// From this size on a value becomes its message, and the other way round. Below, it is copied
/// into memory that it shares with others on the way, and out of it.
const LARGE: usize = 64 * 1024;

/// The length that stands before such a value elsewhere. It counts here as well, so that a limit
/// means the same for a value that is alone.
const LENGTH: usize = 8;

/// A type that is bytes.
pub(super) struct Plain<T> {
    bytes: fn(&T) -> &[u8],
    into: fn(T) -> Bytes,
    from: fn(Vec<u8>) -> Result<T, CodecError>,
    from_large: fn(Bytes) -> Result<T, CodecError>,
}

fn text(bytes: Vec<u8>) -> Result<String, CodecError> {
    String::from_utf8(bytes).map_err(|error| CodecError::Invalid(error.to_string()))
}

/// The vector as what is sent, without the room that it does not use, if that is most of it.
fn sent(mut bytes: Vec<u8>) -> Bytes {
    if bytes.capacity() / 2 > bytes.len() {
        bytes.shrink_to_fit();
    }
    bytes.into()
}

static VECTOR: Plain<Vec<u8>> = Plain {
    bytes: |vector| vector,
    into: sent,
    from: Ok,
    from_large: |bytes| Ok(bytes.into()),
};

static STRING: Plain<String> = Plain {
    bytes: |string| string.as_bytes(),
    into: |string| sent(string.into_bytes()),
    from: text,
    from_large: |bytes| text(bytes.into()),
};

static BYTES: Plain<Bytes> = Plain {
    bytes: |bytes| bytes,
    into: |bytes| bytes,
    from: |bytes| Ok(bytes.into()),
    from_large: Ok,
};

/// How a `T` travels alone, if it is bytes.
#[inline]
pub(super) fn plain<T: 'static>() -> Option<&'static Plain<T>> {
    if const { size_of::<T>() != size_of::<Vec<u8>>() && size_of::<T>() != size_of::<Bytes>() } {
        return None;
    }
    let known: [&'static dyn Any; 3] = [&VECTOR, &STRING, &BYTES];
    known.into_iter().find_map(<dyn Any>::downcast_ref)
}

impl<T> Plain<T> {
    /// What the value becomes as a message, or nothing if it was appended.
    pub(super) fn encode(
        &self,
        value: T,
        out: &mut Vec<u8>,
        limit: usize,
    ) -> Result<Option<Bytes>, CodecError> {
        let bytes = (self.bytes)(&value);
        if bytes.len() < LARGE {
            append(bytes, out, limit)?;
            return Ok(None);
        }
        fits(bytes, out, limit)?;
        Ok(Some((self.into)(value)))
    }

    pub(super) fn append(
        &self,
        value: &T,
        out: &mut Vec<u8>,
        limit: usize,
    ) -> Result<(), CodecError> {
        append((self.bytes)(value), out, limit)
    }

    /// The value that a message is.
    pub(super) fn decode(&self, message: Bytes) -> Result<T, CodecError> {
        // What is small would keep all that it came with.
        if message.len() < LARGE {
            return self.copy(&message);
        }
        (self.from_large)(message)
    }

    /// The same of a message that others share their memory with.
    pub(super) fn copy(&self, message: &[u8]) -> Result<T, CodecError> {
        (self.from)(message.to_vec())
    }
}

fn fits(bytes: &[u8], out: &[u8], limit: usize) -> Result<(), CodecError> {
    let whole = out.len().saturating_add(bytes.len()).saturating_add(LENGTH);
    if whole > limit {
        return Err(CodecError::TooLarge(limit));
    }
    Ok(())
}

/// Appends bytes that are alone in their message.
pub(super) fn append(bytes: &[u8], out: &mut Vec<u8>, limit: usize) -> Result<(), CodecError> {
    fits(bytes, out, limit)?;
    reserve(out, bytes.len(), limit)?;
    out.extend_from_slice(bytes);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fmt::Debug;

    use super::super::{
        Wire, decode_alone, decode_alone_in_place, encode_alone, encode_referred_alone,
        encode_slice_alone,
    };
    use super::*;

    const SIZES: [usize; 6] = [0, 1, LARGE - 1, LARGE, LARGE + 1, 1_000_000];

    /// By value and by reference, in one's own message and in one of several.
    fn travels<T: Wire + PartialEq + Debug + Clone>(value: T, content: &[u8]) {
        let limit = content.len() + LENGTH;
        let mut out = Vec::new();
        let whole = encode_alone(value.clone(), &mut out, limit).unwrap();
        assert_eq!(whole.is_some(), content.len() >= LARGE);
        let message = whole.unwrap_or(out.into());
        assert!(message == content);
        assert_eq!(decode_alone_in_place::<T>(&message).unwrap(), value);
        assert!(decode_alone::<T>(message).unwrap() == value);

        // What is there already stays.
        let mut out = vec![1];
        encode_referred_alone(&value, &mut out, limit + 1).unwrap();
        assert!(out[0] == 1 && out[1..] == *content);
        let several = Bytes::from(out);
        assert!(decode_alone::<T>(several.slice(1..)).unwrap() == value);

        for limit in [0, limit / 2, limit - 1] {
            let mut out = Vec::new();
            let moved = encode_alone(value.clone(), &mut out, limit);
            let copied = encode_referred_alone(&value, &mut out, limit);
            assert!(matches!(moved, Err(CodecError::TooLarge(l)) if l == limit));
            assert!(matches!(copied, Err(CodecError::TooLarge(l)) if l == limit));
            assert_eq!(out.capacity(), 0);
        }
    }

    #[test]
    fn bytes_that_are_alone_are_their_message() {
        for size in SIZES {
            let content = vec![b'x'; size];
            travels(content.clone(), &content);
            travels(Bytes::from(content.clone()), &content);
            travels(String::from_utf8(content.clone()).unwrap(), &content);
            let mut out = Vec::new();
            encode_slice_alone(&content[..], &mut out, size + LENGTH).unwrap();
            assert!(out == content);
        }
    }

    #[test]
    fn a_large_value_is_not_copied() {
        let value = vec![7u8; LARGE];
        let at = value.as_ptr();
        let message = encode_alone(value, &mut Vec::new(), usize::MAX).unwrap();
        let value: Vec<u8> = decode_alone(message.unwrap()).unwrap();
        assert_eq!(value.as_ptr(), at);
        let value = Bytes::from(value);
        let message = encode_alone(value.clone(), &mut Vec::new(), usize::MAX).unwrap();
        let value: Bytes = decode_alone(message.unwrap()).unwrap();
        assert_eq!(value.as_ptr(), at);
    }

    #[test]
    fn room_that_is_not_used_is_not_kept() {
        let mut value = Vec::with_capacity(100 * LARGE);
        value.resize(LARGE, 7u8);
        let message = encode_alone(value, &mut Vec::new(), usize::MAX).unwrap();
        assert!(Vec::from(message.unwrap()).capacity() < 2 * LARGE);
    }

    #[test]
    fn what_is_no_text_is_an_error() {
        for size in [1, LARGE] {
            let message = Bytes::from(vec![0xff; size]);
            assert!(decode_alone_in_place::<String>(&message).is_err());
            assert!(decode_alone::<String>(message).is_err());
        }
    }

    #[test]
    fn everything_else_travels_as_it_does_in_company() {
        let mut out = Vec::new();
        assert!(
            encode_alone(vec![1u16, 2], &mut out, 100)
                .unwrap()
                .is_none()
        );
        assert_eq!(out.len(), 12);
        assert!(decode_alone::<Vec<u16>>(Bytes::from(out.clone())).is_ok());
        assert!(decode_alone::<Vec<u16>>(Bytes::from(out).slice(1..)).is_err());
        assert!(plain::<Vec<i8>>().is_none());
        assert!(plain::<std::path::PathBuf>().is_none());
        assert!(plain::<[u64; 4]>().is_none());
    }
}
