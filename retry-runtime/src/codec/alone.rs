//! Sends bytes, text or numbers that are alone in their message without a copy per element.
//!
//! The message has a length, so the content needs no length of its own. A large value then need not be copied: it
//! becomes its message, and a very large message becomes the value; that of numbers has to be aligned. As for vectors
//! of numbers among other values, the compiler resolves the check of the type, in the same way on both sides: for the
//! only parameter of a function, and for its return value.

use std::any::Any;
use std::mem::{needs_drop, size_of};
use std::sync::Arc;

use bytes::Bytes;

use super::primitive::{AS_IN_MEMORY, Number};
use super::{CodecError, copied, ends_early, reserve};
use crate::codec::buffers::{BufferPool, LARGE};
use crate::sys;

/// Size of the length that precedes such a value elsewhere. It counts against the limit here as well, so that
/// a limit means the same for a value that is alone.
const LENGTH: usize = 8;

/// Up to this size, a value that the user gets is a copy of its message, whose memory is used again. A larger one takes
/// the memory with it, and the next message needs new memory.
const COPIED: usize = 8 * 1024 * 1024;

/// The conversions of a type that consists of plain bytes.
pub(super) struct Plain<T> {
    bytes: fn(&T) -> &[u8],
    into: fn(T) -> Bytes,
    from: fn(&[u8]) -> Result<T, CodecError>,
    /// Makes a value of a message, whose memory returns to the pool once it is not needed any more.
    from_large: fn(Bytes, Option<&Arc<BufferPool>>) -> Result<T, CodecError>,
}

fn text(bytes: Vec<u8>) -> Result<String, CodecError> {
    String::from_utf8(bytes).map_err(|error| CodecError::Invalid(error.to_string()))
}

/// Returns a vector that a user gets, without its spare capacity if that is more than a quarter of it: the memory may have
/// been that of a larger message.
fn fitted(mut vector: Vec<u8>) -> Vec<u8> {
    if vector.capacity() - vector.len() > vector.len() / 4 {
        vector.shrink_to_fit();
    }
    vector
}

/// Makes a vector that a user gets of a message.
fn owned(message: Bytes, pool: Option<&Arc<BufferPool>>) -> Vec<u8> {
    match pool {
        Some(pool) if message.len() <= COPIED => {
            let copy = copied(&message);
            pool.take_back_message(message);
            copy
        }
        _ => fitted(message.into()),
    }
}

/// Returns the vector, without its spare capacity if that is more than half of it.
fn sent<N>(mut vector: Vec<N>) -> Vec<N> {
    if vector.capacity() / 2 > vector.len() {
        vector.shrink_to_fit();
    }
    vector
}

static VECTOR: Plain<Vec<u8>> = Plain {
    bytes: |vector| vector,
    into: |vector| sent(vector).into(),
    from: |bytes| Ok(copied(bytes)),
    from_large: |bytes, pool| Ok(owned(bytes, pool)),
};

static STRING: Plain<String> = Plain {
    bytes: |string| string.as_bytes(),
    into: |string| sent(string.into_bytes()).into(),
    from: |bytes| text(copied(bytes)),
    from_large: |bytes, pool| text(owned(bytes, pool)),
};

static BYTES: Plain<Bytes> = Plain {
    bytes: |bytes| bytes,
    into: |bytes| bytes,
    from: |bytes| Ok(copied(bytes).into()),
    from_large: |bytes, pool| {
        Ok(match pool {
            Some(pool) if bytes.is_unique() => pool.lend(bytes.into()),
            _ => bytes,
        })
    },
};

/// A vector of numbers whose memory is sent as it is.
struct Numbers<N>(Vec<N>);

impl<N: Number> AsRef<[u8]> for Numbers<N> {
    fn as_ref(&self) -> &[u8] {
        sys::bytes_of(&self.0)
    }
}

fn numbers<N: Number>(bytes: &[u8]) -> Result<Vec<N>, CodecError> {
    if bytes.len().is_multiple_of(size_of::<N>()) {
        Ok(N::take(bytes))
    } else {
        Err(ends_early::<Vec<N>>())
    }
}

impl<N: Number + Send> Plain<Vec<N>> {
    const NUMBERS: Self = Self {
        bytes: |vector| sys::bytes_of(vector),
        into: |vector| Bytes::from_owner(Numbers(sent(vector))),
        from: numbers,
        from_large: |message, pool| {
            let numbers = numbers(&message);
            if let Some(pool) = pool {
                pool.take_back_message(message);
            }
            numbers
        },
    };
}

macro_rules! lookups {
    ($($type:ident)*) => {
        /// Returns the conversions for `T`, if it consists of plain bytes.
        #[inline]
        pub(super) fn plain<T: 'static>() -> Option<&'static Plain<T>> {
            if const { size_of::<T>() != size_of::<Vec<u8>>() && size_of::<T>() != size_of::<Bytes>() }
            {
                return None;
            }
            let known: [&'static dyn Any; 3] = [&VECTOR, &STRING, &BYTES];
            if let Some(plain) = known.into_iter().find_map(<dyn Any>::downcast_ref) {
                return Some(plain);
            }
            if AS_IN_MEMORY {
                $({
                    static KNOWN: Plain<Vec<$type>> = Plain::NUMBERS;
                    if let Some(plain) = (&KNOWN as &'static dyn Any).downcast_ref() {
                        return Some(plain);
                    }
                })*
            }
            None
        }

        /// Returns the function that views a slice of `T` as bytes, if `T` consists of plain bytes.
        #[inline]
        pub(super) fn plain_slice<T: 'static>() -> Option<fn(&[T]) -> &[u8]> {
            if const { needs_drop::<T>() } {
                return None;
            }
            static BYTES: fn(&[u8]) -> &[u8] = |bytes| bytes;
            if let Some(bytes) = (&BYTES as &dyn Any).downcast_ref() {
                return Some(*bytes);
            }
            if AS_IN_MEMORY {
                $({
                    static KNOWN: fn(&[$type]) -> &[u8] = sys::bytes_of;
                    if let Some(bytes) = (&KNOWN as &dyn Any).downcast_ref() {
                        return Some(*bytes);
                    }
                })*
            }
            None
        }
    };
}

lookups! { i8 u16 i16 u32 i32 u64 i64 u128 i128 usize isize f32 f64 }

impl<T> Plain<T> {
    /// Returns the bytes of a value.
    #[inline]
    pub(super) fn bytes<'a>(&self, value: &'a T) -> &'a [u8] {
        (self.bytes)(value)
    }

    /// Encodes a value. Returns the whole message if the value became its own message, or `None` if its bytes
    /// were appended.
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

    /// Decodes the value that takes up a message.
    pub(super) fn decode(
        &self,
        message: Bytes,
        pool: Option<&Arc<BufferPool>>,
    ) -> Result<T, CodecError> {
        // A small value would keep the whole buffer alive that it arrived in.
        if message.len() < LARGE {
            return self.copy(&message);
        }
        (self.from_large)(message, pool)
    }

    /// Makes a value of a copy of its bytes.
    pub(super) fn copy(&self, message: &[u8]) -> Result<T, CodecError> {
        (self.from)(message)
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

    #[test]
    fn the_memory_of_a_message_is_used_again_unless_it_is_very_large() {
        let pool = BufferPool::new(4 * COPIED, || {});
        for (size, is_copied) in [(LARGE, true), (COPIED, true), (COPIED + 1, false)] {
            let message = Bytes::from(vec![b'x'; size]);
            let at = message.as_ptr();
            let value = decode_alone::<Vec<u8>>(message, Some(&pool)).unwrap();
            assert_eq!((value.len(), value.as_ptr() != at), (size, is_copied));
            if is_copied {
                let again = pool.room(size);
                assert_eq!(again.as_ptr(), at);
            }
            let message = Bytes::from(vec![b'x'; size]);
            let text = decode_alone::<String>(message, Some(&pool)).unwrap();
            assert_eq!(text.len(), size);
        }
    }

    const SIZES: [usize; 6] = [0, 1, LARGE - 1, LARGE, LARGE + 1, 1_000_000];

    /// Round trips by value and by reference, in a message of its own and in one of several.
    fn travels<T: Wire + PartialEq + Debug + Clone>(value: T, content: &[u8]) {
        let limit = content.len() + LENGTH;
        let mut out = Vec::new();
        let whole = encode_alone(value.clone(), &mut out, limit).unwrap();
        assert_eq!(whole.is_some(), content.len() >= LARGE);
        let message = whole.unwrap_or(out.into());
        assert!(message == content);
        assert_eq!(decode_alone_in_place::<T>(&message).unwrap(), value);
        assert!(decode_alone::<T>(message, None).unwrap() == value);

        // The bytes that are already in the buffer stay.
        let mut out = vec![1];
        encode_referred_alone(&value, &mut out, limit + 1).unwrap();
        assert!(out[0] == 1 && out[1..] == *content);
        let several = Bytes::from(out);
        assert!(decode_alone::<T>(several.slice(1..), None).unwrap() == value);

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
    fn lone_bytes_are_their_message() {
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
    #[cfg(target_endian = "little")]
    fn lone_numbers_are_their_message() {
        for size in [0, 1, LARGE / 8 - 1, LARGE / 8, 100_000] {
            let numbers: Vec<f64> = (0..size).map(|number| number as f64 / 3.0).collect();
            let bytes: Vec<u8> = numbers.iter().flat_map(|n| n.to_le_bytes()).collect();
            travels(numbers.clone(), &bytes);
            let mut out = Vec::new();
            encode_slice_alone(&numbers[..], &mut out, bytes.len() + LENGTH).unwrap();
            assert!(out == bytes);
        }
        travels(vec![-1i16; LARGE], &[0xff; 2 * LARGE]);
        for size in [1, LARGE + 1] {
            let message = Bytes::from(vec![0; size]);
            assert!(decode_alone_in_place::<Vec<u16>>(&message).is_err());
            assert!(decode_alone::<Vec<u16>>(message, None).is_err());
        }
    }

    #[test]
    fn a_large_value_is_not_copied() {
        let value = vec![7u8; LARGE];
        let at = value.as_ptr();
        let message = encode_alone(value, &mut Vec::new(), usize::MAX).unwrap();
        let value: Vec<u8> = decode_alone(message.unwrap(), None).unwrap();
        assert_eq!(value.as_ptr(), at);
        let value = Bytes::from(value);
        let message = encode_alone(value.clone(), &mut Vec::new(), usize::MAX).unwrap();
        let value: Bytes = decode_alone(message.unwrap(), None).unwrap();
        assert_eq!(value.as_ptr(), at);
        let value = vec![7f64; LARGE];
        let at = value.as_ptr();
        let message = encode_alone(value, &mut Vec::new(), usize::MAX).unwrap();
        let message = message.unwrap();
        assert_eq!(message.as_ptr(), at.cast());
    }

    #[test]
    fn spare_capacity_is_freed() {
        let mut value = Vec::with_capacity(100 * LARGE);
        value.resize(LARGE, 7u8);
        let message = encode_alone(value, &mut Vec::new(), usize::MAX).unwrap();
        assert!(Vec::from(message.unwrap()).capacity() < 2 * LARGE);
    }

    #[test]
    fn invalid_utf8_is_an_error() {
        for size in [1, LARGE] {
            let message = Bytes::from(vec![0xff; size]);
            assert!(decode_alone_in_place::<String>(&message).is_err());
            assert!(decode_alone::<String>(message, None).is_err());
        }
    }

    #[test]
    fn other_types_use_the_ordinary_encoding() {
        let mut out = Vec::new();
        let whole = encode_alone(vec![true; LARGE], &mut out, 2 * LARGE).unwrap();
        assert!(whole.is_none());
        assert_eq!(out.len(), 8 + LARGE + 4);
        assert!(decode_alone::<Vec<bool>>(Bytes::from(out.clone()), None).is_ok());
        assert!(decode_alone::<Vec<bool>>(Bytes::from(out).slice(1..), None).is_err());
        assert!(plain::<Vec<bool>>().is_none());
        assert!(plain_slice::<bool>().is_none());
        assert!(plain::<std::path::PathBuf>().is_none());
        assert!(plain::<[u64; 4]>().is_none());
    }
}
