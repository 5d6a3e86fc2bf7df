//! CallReader on their way from the parent.

use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::{STRANGER, exit};
use crate::codec::buffers;
use crate::codec::payload::{self, PREFIX};
use crate::function::invocation::Input;
use crate::wait::spin::{Patience, Spin};
use crate::wire::bell::{self, Heard};
use crate::wire::frame::{CALL_HEADER, CallHeader};
use crate::wire::frame_reader::FrameReader;
use crate::wire::ring::{self, Sleep};
use crate::wire::stream::Reader;

/// How long a worker that has nothing to do keeps memory for large messages: over the pauses between
/// its calls, and not after them.
const PAUSE: Duration = Duration::from_millis(100);

/// The inputs that are left of several calls that came together.
#[derive(Debug, Default)]
struct Rest {
    left: u32,
    inputs: Option<Rc<Bytes>>,
    at: usize,
}

impl Rest {
    fn new(count: u32, inputs: Bytes) -> Self {
        Self {
            left: count,
            inputs: Some(Rc::new(inputs)),
            at: 0,
        }
    }

    /// Makes `input` the next one. False if nothing is left.
    fn take(&mut self, input: &mut Input) -> bool {
        let Some(inputs) = &self.inputs else {
            return false;
        };
        let start = self.at + PREFIX;
        let Some(length) = payload::length(&inputs[self.at..]) else {
            // The parent is this very program.
            exit(STRANGER);
        };
        self.at = start + length;
        input.become_part(inputs, start..self.at);
        self.left -= 1;
        if self.left == 0 {
            // The last one has the memory for itself: it may be large.
            self.inputs = None;
        }
        true
    }
}

/// The worker's end of the way that calls take.
pub(super) struct CallReader {
    socket: Arc<OwnedFd>,
    reader: Reader,
    input: FrameReader,
    /// The last one that was taken.
    header: CallHeader,
    /// What is left of its message.
    rest: Rest,
    patience: Patience,
    /// The last look for more, until more has come.
    spin: Option<Spin>,
}

impl CallReader {
    pub(super) fn new(socket: Arc<OwnedFd>, reader: Reader) -> Self {
        Self {
            socket,
            reader,
            input: FrameReader::default(),
            header: CallHeader::default(),
            rest: Rest::default(),
            patience: Patience::new(),
            spin: None,
        }
    }

    /// The next one that has come.
    pub(super) fn take(&mut self) -> Option<(CallHeader, Input)> {
        let mut input = Input::default();
        self.take_into(&mut input).then_some((self.header, input))
    }

    /// The same for who takes one after the other: its arguments take the place of the last one's,
    /// its [header](Self::header) stays here. False if none has come.
    #[inline]
    pub(super) fn take_into(&mut self, input: &mut Input) -> bool {
        if self.rest.take(input) {
            self.header.follow();
            return true;
        }
        loop {
            if let Some((header, payload)) = CallHeader::take(&mut self.input) {
                self.header = CallHeader { count: 1, ..header };
                if header.count > 1 {
                    self.rest = Rest::new(header.count, payload);
                    self.rest.take(input);
                } else {
                    *input = Input::Alone(payload);
                }
                return true;
            }
            if !self.read() {
                return false;
            }
        }
    }

    /// What the last one is that was taken.
    pub(super) fn header(&self) -> &CallHeader {
        &self.header
    }

    /// Whether more has come than was taken, but for a part of a message.
    pub(super) fn has_more(&self) -> bool {
        self.is_within_chunk() || !self.reader.is_empty()
    }

    /// Whether more has come with the last one that was taken.
    pub(super) fn is_within_chunk(&self) -> bool {
        self.rest.left > 0
    }

    fn read(&mut self) -> bool {
        // The parent is this very program: it sends what it says it does.
        let (reader, longest) = (&mut self.reader, usize::MAX);
        match self.input.read(reader, CALL_HEADER, longest, longest) {
            Ok(0) => false,
            Ok(_) => {
                if let Some(spin) = self.spin.take() {
                    self.patience.learn(&spin);
                }
                if self.reader.wakes() && !bell::ring(&self.socket) {
                    super::end();
                }
                true
            }
            // The parent is this very program.
            Err(ring::Corrupt) => exit(STRANGER),
        }
    }

    /// Looks for more for a moment; whether more has come.
    pub(super) fn look(&mut self) -> bool {
        let spin = self.spin.insert(self.patience.spin());
        if self.input.is_within_large() {
            spin.found_part();
        }
        spin.look_until(&mut || !self.reader.is_empty())
    }

    /// Waits until more comes; false when the parent has ended the connection.
    pub(super) fn wait(&mut self) -> bool {
        self.look() || self.sleep()
    }

    fn sleep(&self) -> bool {
        // The parent is gone, or a function has closed all that it found: then nobody would hear of
        // the parent's end, and the parent not of answers.
        if self.hear() == Heard::End && !self.is_closed() {
            super::end();
        }
        while self.sleeps_at(Sleep::Here) {
            let keeps = buffers::retains_any();
            self.reader.sleep(keeps.then_some(PAUSE));
            if keeps && self.reader.is_empty() {
                buffers::free();
            }
        }
        !self.reader.is_empty()
    }

    fn sleeps_at(&self, how: Sleep) -> bool {
        self.reader.sleeps(how) && !self.is_closed()
    }

    /// Waits until more comes, but no longer than the given time; false if nothing has come, or
    /// nothing will.
    pub(super) fn wait_until(&self, until: Instant) -> bool {
        while self.sleeps_at(Sleep::Here) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                self.reader.disarm();
                break;
            }
            self.reader.sleep(Some(left));
        }
        !self.reader.is_empty()
    }

    /// Says that this side is about to sleep until the bell rings. False if something has come,
    /// or nothing will.
    pub(super) fn sleeps(&self) -> bool {
        buffers::free();
        self.sleeps_at(Sleep::Bell)
    }

    /// Whether the parent has ended the connection.
    pub(super) fn is_closed(&self) -> bool {
        let closed = self.reader.is_closed();
        if closed && self.reader.is_lost() {
            super::end();
        }
        closed
    }

    /// What the parent has said through the socket. Frames are left there.
    pub(super) fn hear(&self) -> Heard {
        self.reader.hear(&self.socket)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(input: &Input) -> &[u8] {
        match input {
            Input::Alone(bytes) => bytes,
            Input::Part(all, part) => &all[part.clone()],
        }
    }

    #[test]
    fn what_came_together_is_given_back_with_the_last_of_it() {
        let mut buffer = Vec::new();
        for input in [&b"a"[..], b"bc"] {
            let begun = payload::begin(&mut buffer);
            buffer.extend_from_slice(input);
            payload::end(&mut buffer, begun);
        }
        let mut rest = Rest::new(2, Bytes::from(buffer));
        let all = Rc::downgrade(rest.inputs.as_ref().unwrap());
        let mut input = Input::default();
        assert!(rest.take(&mut input));
        assert_eq!(bytes(&input), b"a");
        assert!(rest.take(&mut input));
        assert_eq!(bytes(&input), b"bc");
        assert!(!rest.take(&mut input));
        drop(input);
        assert!(all.upgrade().is_none());
    }
}
