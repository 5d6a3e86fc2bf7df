//! Encoded values in transit: one value, or several packed ones.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use bytes::{Buf, Bytes};

use crate::codec::buffers::{BufferPool, LARGE};

/// Size in bytes of the length that precedes each packed value.
pub(crate) const PREFIX: usize = 4;

/// Bits that may be set in a length without being part of it: in the answer stream they tell a short value
/// from other messages, which also begin with a length.
pub(crate) const MARK: u32 = 0xff << 24;

/// Length of the longest value.
pub(crate) const MAX_VALUE_BYTES: usize = MARK as usize - 1;

/// The lowest limit on the length of values.
const LOWEST_LIMIT: usize = 64;

/// Returns the nearest limit on the length of values that there can be.
pub(crate) fn possible_limit(bytes: usize) -> usize {
    bytes.clamp(LOWEST_LIMIT, MAX_VALUE_BYTES)
}

/// One encoded value, or several that follow each other in one buffer.
#[derive(Clone, Debug)]
pub(crate) enum Payload {
    One(Bytes),
    Several(Packed),
    /// One value that names others, or whose memory is used again.
    Attached(Box<Attached>),
}

/// An encoded value with something that lasts as long as it.
#[derive(Clone, Default)]
pub(crate) struct Attached {
    bytes: Bytes,
    named: Option<Named>,
    /// The pool that the memory of a large value returns to.
    pool: Option<Arc<BufferPool>>,
}

/// Owns the values that an encoded value names, until that is decoded.
pub(crate) type Named = Arc<dyn Any + Send + Sync>;

impl fmt::Debug for Attached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Attached").field(&self.bytes).finish()
    }
}

/// Encoded values in one buffer, each preceded by its length.
#[derive(Clone, Debug)]
pub(crate) struct Packed {
    count: u32,
    bytes: Bytes,
}

impl Drop for Attached {
    fn drop(&mut self) {
        if let Some(pool) = self.pool.take() {
            pool.take_back_message(std::mem::take(&mut self.bytes));
        }
    }
}

impl Payload {
    /// A value of zero bytes.
    pub(crate) const NONE: Self = Self::One(Bytes::new());

    /// Creates a payload from `count` values, each preceded by its length.
    pub(crate) fn new(count: u32, bytes: Bytes) -> Self {
        let mut series = Packed { count, bytes };
        match count {
            1 => Self::One(series.next().unwrap_or_default()),
            _ => Self::Several(series),
        }
    }

    /// Creates a payload from bytes that another process has sent. Returns `None` unless they are `count` values,
    /// at least one; several are each preceded by its length.
    pub(crate) fn received(count: u32, bytes: Bytes) -> Option<Self> {
        if count == 1 {
            return Some(Self::One(bytes));
        }
        let mut rest = &bytes[..];
        for _ in 0..count {
            rest = rest.get(PREFIX + length(rest)?..)?;
        }
        (count > 0 && rest.is_empty()).then_some(Self::Several(Packed { count, bytes }))
    }

    /// Returns one value that names others.
    pub(crate) fn naming(self, named: Named) -> Self {
        let mut attached = self.into_attached();
        attached.named = Some(named);
        Self::Attached(attached)
    }

    /// Returns one value whose memory returns to a pool, if it is large.
    pub(crate) fn of_pool(self, pool: &Arc<BufferPool>) -> Self {
        if self.bytes().len() < LARGE || self.count() > 1 {
            return self;
        }
        let mut attached = self.into_attached();
        attached.pool = Some(Arc::clone(pool));
        Self::Attached(attached)
    }

    fn into_attached(self) -> Box<Attached> {
        match self {
            Self::Attached(attached) => attached,
            one => {
                let mut attached = Box::<Attached>::default();
                attached.bytes = one.into_one();
                attached
            }
        }
    }

    /// Returns what keeps the values that this one names, if it names any.
    pub(crate) fn named(&self) -> Option<&Named> {
        match self {
            Self::Attached(attached) => attached.named.as_ref(),
            Self::One(_) | Self::Several(_) => None,
        }
    }

    /// Returns the pool that the memory of the value returns to, if there is one.
    pub(crate) fn pool(&self) -> Option<&Arc<BufferPool>> {
        match self {
            Self::Attached(attached) => attached.pool.as_ref(),
            Self::One(_) | Self::Several(_) => None,
        }
    }

    /// Returns the bytes of a payload that is one value.
    pub(crate) fn into_one(self) -> Bytes {
        match self {
            Self::One(bytes) => bytes,
            Self::Several(mut series) => series.next().unwrap_or_default(),
            Self::Attached(mut attached) => std::mem::take(&mut attached.bytes),
        }
    }

    /// Returns the value, or the packed values with their lengths.
    pub(crate) fn bytes(&self) -> &Bytes {
        match self {
            Self::One(bytes) => bytes,
            Self::Several(series) => &series.bytes,
            Self::Attached(attached) => &attached.bytes,
        }
    }

    /// Returns the total size of the values in bytes, without their lengths.
    pub(crate) fn size(&self) -> usize {
        match self {
            Self::One(bytes) => bytes.len(),
            Self::Several(series) => series.bytes.len() - series.count as usize * PREFIX,
            Self::Attached(attached) => attached.bytes.len(),
        }
    }
}

impl Payload {
    /// Returns the number of values, at least one.
    pub(crate) fn count(&self) -> u32 {
        match self {
            Self::One(_) | Self::Attached(_) => 1,
            Self::Several(series) => series.count,
        }
    }

    /// Returns the values one by one, without one that names others: the bytes alone are not that value.
    #[cfg(feature = "checkpoint")]
    pub(crate) fn values(self) -> impl Iterator<Item = Bytes> {
        let (one, several) = match self {
            Self::One(bytes) => (Some(bytes), None),
            Self::Several(series) => (None, Some(series)),
            Self::Attached(mut attached) => match attached.named {
                Some(_) => (None, None),
                None => (Some(std::mem::take(&mut attached.bytes)), None),
            },
        };
        one.into_iter().chain(several.into_iter().flatten())
    }

    /// Splits off the first `count` values, fewer than there are.
    pub(crate) fn split_front(&mut self, count: u32) -> Self {
        match self {
            Self::One(bytes) => Self::One(std::mem::take(bytes)),
            Self::Several(series) => {
                let front = series.split_front(count);
                *self = Self::new(series.count, std::mem::take(&mut series.bytes));
                Self::new(count, front)
            }
            Self::Attached(_) => std::mem::replace(self, Self::NONE),
        }
    }

    /// Detaches the value from the buffer it is part of, because it will be kept for a while.
    pub(crate) fn detach(&mut self) {
        match self {
            Self::One(bytes) => detach(bytes),
            Self::Attached(attached) => detach(&mut attached.bytes),
            Self::Several(_) => {}
        }
    }
}

/// Copies a value that will be kept for a while into memory of its own, unless it is large and has that
/// already.
pub(crate) fn detach(bytes: &mut Bytes) {
    if bytes.len() < LARGE {
        *bytes = Bytes::copy_from_slice(bytes);
    }
}

impl Packed {
    pub(crate) fn new(count: u32, bytes: Bytes) -> Self {
        Self { count, bytes }
    }

    /// Returns the number of values.
    pub(crate) fn len(&self) -> u32 {
        self.count
    }

    /// Returns the values, each preceded by its length.
    pub(crate) fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    fn split_front(&mut self, count: u32) -> Bytes {
        let mut at = 0;
        for _ in 0..count {
            at += PREFIX + length(&self.bytes[at..]).unwrap_or_default();
        }
        self.count -= count;
        self.bytes.split_to(at)
    }

    /// Passes the next value to `read` in place. The value counts as taken even if `read` panics.
    pub(crate) fn read<R>(&mut self, read: impl FnOnce(&[u8]) -> R) -> Option<R> {
        struct Taken<'a>(&'a mut Packed, usize);

        impl Drop for Taken<'_> {
            fn drop(&mut self) {
                self.0.bytes.advance(self.1);
                self.0.count -= 1;
            }
        }

        let end = PREFIX + length(&self.bytes)?;
        let taken = Taken(self, end);
        Some(read(&taken.0.bytes[PREFIX..end]))
    }
}

/// Iterates over the values, without their lengths.
impl Iterator for Packed {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        let length = length(&self.bytes)?;
        self.bytes.advance(PREFIX);
        self.count -= 1;
        Some(self.bytes.split_to(length))
    }
}

/// Returns the length of the first packed value.
pub(crate) fn length(bytes: &[u8]) -> Option<usize> {
    let prefix = u32::from_le_bytes(*bytes.first_chunk::<PREFIX>()?);
    Some(if prefix < MARK {
        prefix
    } else {
        prefix & !MARK
    } as usize)
}

/// Reserves space for a length, before a value is written. Returns where the value begins.
pub(crate) fn begin(buffer: &mut Vec<u8>) -> usize {
    buffer.extend_from_slice(&[0; PREFIX]);
    buffer.len()
}

/// Writes the length of the value that begins at `begun`.
pub(crate) fn end(buffer: &mut [u8], begun: usize) {
    let length = u32::try_from(buffer.len() - begun).expect("the limit is below 4 GiB");
    buffer[begun - PREFIX..begun].copy_from_slice(&length.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(values: &[&[u8]]) -> Payload {
        let mut buffer = Vec::new();
        for value in values {
            let begun = begin(&mut buffer);
            buffer.extend_from_slice(value);
            end(&mut buffer, begun);
        }
        Payload::new(values.len() as u32, Bytes::from(buffer))
    }

    fn values(payload: Payload) -> Vec<Bytes> {
        match payload {
            Payload::Several(series) => series.collect(),
            one => vec![one.into_one()],
        }
    }

    #[test]
    fn a_split_payload_keeps_all_values() {
        let all: [&[u8]; 5] = [b"a", b"", b"bcd", b"ef", b"g"];
        for count in 1..5 {
            let mut rest = payload(&all);
            assert_eq!((rest.count(), rest.size()), (5, 7));
            let front = rest.split_front(count);
            assert_eq!((front.count(), rest.count()), (count, 5 - count));
            assert_eq!(front.size() + rest.size(), 7);
            let parted = [values(front), values(rest)].concat();
            assert_eq!(parted, all);
        }
    }

    #[test]
    fn a_value_counts_as_taken_if_reading_panics() {
        let Payload::Several(mut series) = payload(&[b"a", b"b"]) else {
            panic!("there are two");
        };
        let refused = std::panic::AssertUnwindSafe(|| series.read(|_| panic!("unreadable")));
        assert!(std::panic::catch_unwind(refused).is_err());
        assert_eq!(series.len(), 1);
        assert_eq!(series.read(<[u8]>::to_vec), Some(b"b".to_vec()));
    }

    #[test]
    fn a_single_value_has_no_length_prefix() {
        assert_eq!(payload(&[b"abc"]).into_one(), &b"abc"[..]);
    }
}
