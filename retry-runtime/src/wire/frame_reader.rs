//! Splits the bytes of a stream into messages.
//!
//! Small messages are split off a buffer that they share. A large message is read into an allocation of its
//! own, which then becomes the payload without a copy where the value is bytes.

use std::collections::VecDeque;
use std::mem::replace;

use bytes::{Buf, Bytes, BytesMut};

use super::ring::{CAPACITY, Corrupt};
use super::stream::Reader;
use crate::codec::buffers::{LARGE, RECEIVED};
use crate::codec::payload::MARK;
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
#[derive(Debug, Default)]
pub(crate) struct FrameReader {
    buffer: BytesMut,
    /// Whether the buffer is larger than those that are kept for reuse.
    is_large: bool,
    /// Earlier buffers, the oldest first. Their memory is reused once no message refers to it any more.
    parted: VecDeque<BytesMut>,
    /// The minimum size of the next buffer.
    least: usize,
    /// The large message in progress. The buffer then holds only its header.
    large: Option<Large>,
}

/// The payload of a large message, as far as it has arrived.
#[derive(Debug)]
struct Large {
    payload: Vec<u8>,
    length: usize,
}

impl FrameReader {
    /// Returns whether the last bytes read are part of an incomplete large message.
    pub(crate) fn is_within_large(&self) -> bool {
        self.large.as_ref().is_some_and(|large| large.missing() > 0)
    }

    /// Reads more bytes and returns how many. Call it when no whole message is left. `header` is the size of
    /// a header, `longest` the maximum length of a message, and `room` how much is allocated for a message on
    /// the strength of its announced length alone. The caller must call [`Reader::wakes`] afterwards.
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
        let mut payload = RECEIVED.find(length).unwrap_or_default();
        payload.extend_from_slice(begun);
        self.buffer.truncate(header);
        Some(Large { payload, length })
    }

    /// Returns the header of the next message, whose payload may still be incomplete.
    pub(crate) fn header(&self, length: usize) -> Option<&[u8]> {
        self.buffer.get(..length)
    }

    /// Takes the payload of the next message if it has arrived as a whole.
    pub(crate) fn take(&mut self, header: usize, length: usize) -> Option<Bytes> {
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

    /// Returns the buffer that small messages share, unless the next message is large.
    pub(crate) fn small(&mut self) -> Option<&mut BytesMut> {
        match self.large {
            Some(_) => None,
            None => Some(&mut self.buffer),
        }
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
