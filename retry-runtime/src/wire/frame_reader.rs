//! What has come out of a stream, message by message.
//!
//! Small messages are taken off a buffer that they share. A large one is read into memory of its
//! own, as large as it is, which then becomes the value that it carries where that is bytes.

use std::collections::VecDeque;
use std::mem::replace;

use bytes::{Buf, Bytes, BytesMut};

use super::ring::{CAPACITY, Corrupt};
use super::stream::Reader;
use crate::codec::buffers::{LARGE, RECEIVED};
use crate::codec::payload::MARK;
use crate::sys;

/// Where more is there than this, a large message may be what comes next.
const SEVERAL: usize = 4096;

/// How many times as much as has come of a message may come, before more room is made for it. What
/// is not filled is address space and no memory; to move what has come to larger room costs both.
const BELIEVED: usize = 15;

/// How many buffers are kept of which somebody has a part.
const PARTED: usize = 8;

/// How large buffers are that are made for more than there is to be read: at first, and in the end.
const FIRST: usize = 4 * 1024;
const SHARED: usize = 32 * 1024;

/// What has been read and not been taken.
#[derive(Debug, Default)]
pub(crate) struct FrameReader {
    buffer: BytesMut,
    /// Whether it was made larger than one is that is kept.
    is_large: bool,
    /// Those before it, the oldest first: their memory is used again once nobody has a part of it.
    parted: VecDeque<BytesMut>,
    /// How large the next one is made at least.
    least: usize,
    /// The large message whose header is all that is in the buffer.
    large: Option<Large>,
}

/// The payload of a large message, as far as it has come.
#[derive(Debug)]
struct Large {
    payload: Vec<u8>,
    length: usize,
}

impl FrameReader {
    /// Whether what was read last is no more than a part of a large message.
    pub(crate) fn is_within_large(&self) -> bool {
        self.large.as_ref().is_some_and(|large| large.missing() > 0)
    }

    /// Reads more, and says how many bytes. To be called when no whole message is left, with the
    /// size of a header, how long a message may be, and how much room is made for one that only
    /// says that it is that long. To be followed by a look at [`Reader::wakes`].
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

    /// Makes room for so many bytes in the buffer, which is another one if somebody has a part of it.
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
            // A message that comes bit by bit is not to be moved for each of them.
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

    /// Makes room for the message at the front if it is a large one that is not there as a whole.
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

    /// The header of the next message, which need not be there as a whole.
    pub(crate) fn header(&self, length: usize) -> Option<&[u8]> {
        self.buffer.get(..length)
    }

    /// Takes the next message off, if it is there as a whole: its payload.
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

    /// The messages that share a buffer, unless the next one is large.
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

    /// Reads more of it: half a ring at most, so that a writer who sleeps is woken in time.
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
