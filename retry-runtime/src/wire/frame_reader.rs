//! Splits the bytes of a stream into messages.
//!
//! Small messages are split off a buffer that they share. A large message is read into an allocation of its
//! own, which then becomes the payload without a copy where the value is bytes.

use std::collections::VecDeque;
use std::mem::replace;
use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};

use super::Corrupt;
use super::frame::{ANSWER_HEADER, AnswerHeader, CALL_HEADER, CallHeader, short_length};
use super::ring::CAPACITY;
use super::stream::Reader;
use crate::codec::buffers::{BufferPool, LARGE};
use crate::codec::payload::{MARK, PREFIX, Payload};
use crate::sys;

/// If more bytes than this are available, the next message may be a large one.
const SEVERAL: usize = 4096;

/// The room allocated for the rest of a message, as a multiple of the bytes that have arrived. Unfilled room
/// costs address space but no memory; moving the bytes to a larger allocation costs both.
const BELIEVED: usize = 15;

/// The maximum number of buffers kept while parts of them are still in use.
const PARTED: usize = 8;

/// The minimum size of a new shared buffer, in bytes: of the first one, and the limit up to which it doubles.
const FIRST: usize = 4 * 1024;
const SHARED: usize = 32 * 1024;

/// Bytes that have been read and not yet taken as messages.
#[derive(Default)]
pub(crate) struct FrameReader {
    buffer: BytesMut,
    /// True if the buffer is larger than those that are kept for reuse.
    is_large: bool,
    /// Earlier buffers, the oldest first. Their memory is reused once no message refers to it any more.
    parted: VecDeque<BytesMut>,
    /// The minimum size of the next buffer.
    least: usize,
    /// The large message in progress. The buffer then holds only its header.
    large: Option<Large>,
    /// The pool of memory for large messages, if there is one.
    pool: Option<Arc<BufferPool>>,
}

/// The payload of a large message, as far as it has arrived.
#[derive(Debug)]
struct Large {
    payload: Vec<u8>,
    length: usize,
}

impl FrameReader {
    /// Creates a reader that takes the memory for large messages from a pool.
    pub(crate) fn new(pool: Arc<BufferPool>) -> Self {
        Self {
            pool: Some(pool),
            ..Self::default()
        }
    }

    /// Returns whether the last bytes read are part of an incomplete large message.
    pub(crate) fn is_within_large(&self) -> bool {
        self.large.as_ref().is_some_and(|large| large.missing() > 0)
    }

    /// Reads more bytes and returns how many. Call it when no whole message is left. `header` is the size of
    /// a header, `longest` the maximum length of a message, and `room` how much is allocated for a message on
    /// the strength of its announced length alone. The caller must call [`Reader::wake_writer`] afterwards.
    pub(crate) fn read(
        &mut self,
        reader: &mut Reader,
        header: usize,
        longest: usize,
        room: usize,
    ) -> Result<usize, Corrupt> {
        let available = reader.available()?;
        let mut read = 0;
        if self.large.is_none() {
            if available > SEVERAL && self.buffer.len() < header {
                let rest = header - self.buffer.len();
                self.make_room(rest);
                read = reader.read_into(&mut self.buffer, rest)?;
            }
            self.large = self.begin(header, longest);
        }
        let left = available - read;
        read += match &mut self.large {
            Some(large) => large.read(reader, left, room)?,
            None => {
                self.make_room(left);
                reader.read_into(&mut self.buffer, left)?
            }
        };
        Ok(read)
    }

    /// Makes room for `bytes` more bytes. Switches to another buffer if messages still refer to the current
    /// one.
    fn make_room(&mut self, bytes: usize) {
        if self.buffer.try_reclaim(bytes) {
            return;
        }
        let needed = self.buffer.len() + bytes;
        let free = self
            .parted
            .iter_mut()
            .position(|parted| parted.try_reclaim(needed));
        let known = free.and_then(|place| self.parted.remove(place));
        let is_large = known.is_none() && needed > LARGE;
        let mut buffer = known.unwrap_or_else(|| {
            // Round up, so that a message that arrives bit by bit is not moved for every piece.
            let size = needed.next_power_of_two().max(self.least).max(FIRST);
            self.least = (2 * size).min(SHARED);
            BytesMut::with_capacity(size)
        });
        buffer.extend_from_slice(&self.buffer);
        let mut before = replace(&mut self.buffer, buffer);
        if !replace(&mut self.is_large, is_large) {
            before.clear();
            if self.parted.len() == PARTED {
                self.parted.pop_front();
            }
            self.parted.push_back(before);
        }
    }

    /// Allocates a payload for the message at the front if it is a large one that has not arrived as a whole.
    fn begin(&mut self, header: usize, longest: usize) -> Option<Large> {
        // Every header begins with its payload's length.
        let length = u32::from_le_bytes(*self.buffer.first_chunk()?);
        let length = (length < MARK).then_some(length as usize)?;
        let begun = self.buffer.get(header..)?;
        if !(LARGE..=longest).contains(&length) || begun.len() >= length {
            return None;
        }
        let found = self.pool.as_ref().and_then(|pool| pool.find(length));
        let mut payload = found.unwrap_or_default();
        payload.extend_from_slice(begun);
        self.buffer.truncate(header);
        Some(Large { payload, length })
    }

    /// Takes a whole message from the parent, if there is one.
    pub(crate) fn take_call(&mut self) -> Option<(CallHeader, Bytes)> {
        let header = CallHeader::decode(self.buffer.get(..CALL_HEADER)?);
        let payload = self.take(CALL_HEADER, header.length as usize)?;
        Some((header, payload))
    }

    /// Takes a whole message from a worker, if there is one, once no whole short value is
    /// [left](Self::take_short). The bytes may be anything: an impossible header is an error.
    pub(crate) fn take_answer(
        &mut self,
        limit: usize,
    ) -> Result<Option<(AnswerHeader, Bytes)>, String> {
        let Some(header) = self.buffer.get(..ANSWER_HEADER) else {
            return Ok(None);
        };
        let Some(header) = AnswerHeader::decode(header, limit)? else {
            // A short value that has not arrived as a whole, because there was no room yet.
            return Ok(None);
        };
        let payload = self.take(ANSWER_HEADER, header.length as usize);
        Ok(payload.map(|payload| (header, payload)))
    }

    /// Takes the values that a worker has answered in short form: each follows its length, which carries the
    /// mark. They belong to the tickets after that of the last answer. The next full answer states how long
    /// all of them took.
    pub(crate) fn take_short(&mut self) -> Option<Payload> {
        if self.large.is_some() {
            return None;
        }
        let mut end = 0;
        let mut count = 0;
        while let Some(prefix) = self
            .buffer
            .get(end..)
            .and_then(<[u8]>::first_chunk::<PREFIX>)
            && let Some(length) = short_length(u32::from_le_bytes(*prefix))
            && end + PREFIX + length <= self.buffer.len()
        {
            end += PREFIX + length;
            count += 1;
        }
        (count > 0).then(|| Payload::new(count, self.buffer.split_to(end).freeze()))
    }

    /// Takes the payload of the next message if it has arrived as a whole.
    fn take(&mut self, header: usize, length: usize) -> Option<Bytes> {
        let payload = match self.large.take_if(|large| large.missing() == 0) {
            Some(large) => Bytes::from(large.payload),
            None if self.large.is_some() || self.buffer.len() - header < length => return None,
            None => {
                self.buffer.advance(header);
                return Some(self.buffer.split_to(length).freeze());
            }
        };
        self.buffer.clear();
        Some(payload)
    }

    #[cfg(test)]
    pub(crate) fn of(bytes: &[u8]) -> Self {
        Self {
            buffer: bytes.into(),
            ..Self::default()
        }
    }
}

impl Large {
    fn missing(&self) -> usize {
        self.length - self.payload.len()
    }

    /// Reads more of the payload: at most half a ring, so that a writer waiting for room is woken in time.
    fn read(
        &mut self,
        reader: &mut Reader,
        available: usize,
        room: usize,
    ) -> Result<usize, Corrupt> {
        let most = available.min(self.missing()).min(CAPACITY / 2);
        let payload = &mut self.payload;
        if payload.capacity() - payload.len() < most {
            let missing = self.length - payload.len();
            let believed = room.max(payload.len().saturating_mul(BELIEVED));
            payload.reserve_exact(missing.min(believed));
            sys::fills(payload.spare_capacity_mut());
        }
        reader.read_into(payload, most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::payload;
    use crate::wire::frame::{Kind, MAX_SHORT_VALUE, Order, short_header};

    #[test]
    fn headers_round_trip_and_wait_for_their_payload() {
        let header = CallHeader {
            length: 3,
            attempt: 2,
            ticket: 9,
            call: 7,
            index: None,
            order: Order::Run,
            count: 1,
            method: 5,
            fault: 6,
            level: 3,
            is_staged: true,
        };
        let mut buffer = FrameReader::of(&header.encode());
        assert_eq!(buffer.take_call(), None);
        buffer.buffer.extend_from_slice(b"abcd");
        assert_eq!(
            buffer.take_call(),
            Some((header, Bytes::from_static(b"abc")))
        );
        assert_eq!(&buffer.buffer[..], b"d");
    }

    #[test]
    fn a_short_value_may_arrive_in_pieces() {
        let value = vec![200; MAX_SHORT_VALUE];
        let mut whole = short_header(&value).to_vec();
        whole.extend_from_slice(&value);
        for piece in [1, PREFIX, ANSWER_HEADER, ANSWER_HEADER + 1, whole.len() - 1] {
            let mut reader = FrameReader::of(&whole[..piece]);
            assert!(reader.take_short().is_none());
            assert_eq!(reader.take_answer(usize::MAX), Ok(None));
            let rest = &whole[piece..];
            reader.buffer.extend_from_slice(rest);
            let taken = reader.take_short().unwrap();
            assert_eq!(taken.into_one(), value);
        }
    }

    #[test]
    fn short_answers_are_taken_together_up_to_a_full_one() {
        let full = AnswerHeader {
            length: 1,
            kind: Kind::Ok,
            used_up: false,
            ticket: 3,
            duration: 5,
        };
        let mut bytes = Vec::new();
        for value in [&b"abc"[..], b""] {
            bytes.extend_from_slice(&short_header(value));
            bytes.extend_from_slice(value);
        }
        bytes.extend_from_slice(&full.encode());
        bytes.extend_from_slice(b"z");
        for end in 0..=bytes.len() {
            let mut buffer = FrameReader::of(&bytes[..end]);
            let whole = [7, 11].iter().filter(|whole| end >= **whole).count();
            let values = match buffer.take_short() {
                None => Vec::new(),
                Some(Payload::Several(values)) => values.collect(),
                Some(one) => vec![one.into_one()],
            };
            assert_eq!(values, [&b"abc"[..], b""][..whole]);
            if end == bytes.len() {
                let answer = buffer.take_answer(10).unwrap();
                assert_eq!(answer, Some((full, Bytes::from_static(b"z"))));
            }
        }
    }

    #[test]
    fn an_overlong_short_answer_is_rejected_by_its_header() {
        let length = MARK | (MAX_SHORT_VALUE as u32 + 1);
        let mut bytes = length.to_le_bytes().to_vec();
        bytes.extend_from_slice(&[Kind::Ok as u8; ANSWER_HEADER]);
        let mut buffer = FrameReader::of(&bytes);
        assert!(buffer.take_short().is_none());
        assert!(buffer.take_answer(payload::MAX_VALUE_BYTES).is_err());
        // It is not accepted after it has arrived either.
        bytes.extend_from_slice(&[0; 2 * MAX_SHORT_VALUE]);
        assert!(FrameReader::of(&bytes).take_short().is_none());
    }

    #[test]
    fn arbitrary_bytes_from_a_worker_never_panic() {
        let mut random = fastrand::Rng::with_seed(3);
        for _ in 0..100_000 {
            let mut bytes = vec![0u8; random.usize(0..64)];
            random.fill(&mut bytes);
            if random.bool() && bytes.len() > 4 {
                bytes[2..4].fill(0);
                bytes[4] %= 15;
            }
            if random.u8(0..4) == 0 && bytes.len() > 4 {
                bytes[1..3].fill(0);
                bytes[3] = 0xff;
            }
            let mut buffer = FrameReader::of(&bytes);
            loop {
                if let Some(values) = buffer.take_short() {
                    assert!(values.size() <= bytes.len());
                    continue;
                }
                match buffer.take_answer(1000) {
                    Ok(Some((header, payload))) => {
                        assert_eq!(header.length as usize, payload.len());
                    }
                    Ok(None) | Err(_) => break,
                }
            }
        }
    }
}
