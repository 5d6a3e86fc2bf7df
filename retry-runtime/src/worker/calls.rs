//! Calls on their way from the parent.

use std::ops::Range;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::{STRANGER, exit, watchdog};
use crate::parcel::{self, PREFIX};
use crate::recycle;
use crate::spin::{Patience, Spin};
use crate::transport::bell::{self, Heard};
use crate::transport::frame::{CALL_HEADER, CallHeader};
use crate::transport::intake::Intake;
use crate::transport::ring::{self, Sleep};
use crate::transport::stream::Reader;

/// How long a worker that has nothing to do keeps memory for large messages: over the pauses between
/// its calls, and not after them.
const PAUSE: Duration = Duration::from_millis(100);

/// The arguments of one call.
#[derive(Debug)]
pub(crate) enum Input {
    Alone(Bytes),
    /// A part of what came together, in the memory of all of it: to share that costs less than to
    /// part it.
    Part(Rc<Bytes>, Range<usize>),
}

impl Default for Input {
    fn default() -> Self {
        Self::Alone(Bytes::new())
    }
}

/// What is left of several calls that came together.
#[derive(Debug, Default)]
struct Rest {
    next: CallHeader,
    left: u32,
    inputs: Rc<Bytes>,
    at: usize,
}

impl Rest {
    fn take(&mut self) -> Option<(CallHeader, Input)> {
        self.left = self.left.checked_sub(1)?;
        let start = self.at + PREFIX;
        // The parent is this very program.
        let length = parcel::length(&self.inputs[self.at..])?;
        self.at = start + length;
        let header = self.next;
        self.next.follow();
        // The last one takes the memory along: it may be large.
        let inputs = match self.left {
            0 => std::mem::take(&mut self.inputs),
            _ => Rc::clone(&self.inputs),
        };
        Some((header, Input::Part(inputs, start..self.at)))
    }
}

/// The worker's end of the way that calls take.
pub(super) struct Calls {
    socket: Arc<OwnedFd>,
    reader: Reader,
    input: Intake,
    /// What is left of the last message.
    rest: Rest,
    patience: Patience,
    /// The last look for more, until more has come.
    spin: Option<Spin>,
}

impl Calls {
    pub(super) fn new(socket: Arc<OwnedFd>, reader: Reader) -> Self {
        Self {
            socket,
            reader,
            input: Intake::default(),
            rest: Rest::default(),
            patience: Patience::new(),
            spin: None,
        }
    }

    /// The next one that has come.
    pub(super) fn take(&mut self) -> Option<(CallHeader, Input)> {
        loop {
            if let Some(call) = self.rest.take() {
                return Some(call);
            }
            if let Some((header, payload)) = CallHeader::take(&mut self.input) {
                if header.count <= 1 {
                    return Some((header, Input::Alone(payload)));
                }
                self.rest = Rest {
                    next: CallHeader { count: 1, ..header },
                    left: header.count,
                    inputs: Rc::new(payload),
                    at: 0,
                };
            } else if !self.read() {
                return None;
            }
        }
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
                    watchdog::end();
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
            watchdog::end();
        }
        while self.sleeps_at(Sleep::Here) {
            let keeps = recycle::keeps_any();
            self.reader.sleep(keeps.then_some(PAUSE));
            if keeps && self.reader.is_empty() {
                recycle::free();
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
                self.reader.is_awake();
                break;
            }
            self.reader.sleep(Some(left));
        }
        !self.reader.is_empty()
    }

    /// Says that this side is about to sleep until the bell rings. False if something has come,
    /// or nothing will.
    pub(super) fn sleeps(&self) -> bool {
        recycle::free();
        self.sleeps_at(Sleep::Bell)
    }

    /// Whether the parent has ended the connection.
    pub(super) fn is_closed(&self) -> bool {
        let closed = self.reader.is_closed();
        if closed && self.reader.is_lost() {
            watchdog::end();
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
            let begun = parcel::begin(&mut buffer);
            buffer.extend_from_slice(input);
            parcel::end(&mut buffer, begun);
        }
        let inputs = Rc::new(Bytes::from(buffer));
        let all = Rc::downgrade(&inputs);
        let mut rest = Rest {
            left: 2,
            inputs,
            ..Rest::default()
        };
        assert_eq!(bytes(&rest.take().unwrap().1), b"a");
        let (_, last) = rest.take().unwrap();
        assert_eq!(bytes(&last), b"bc");
        drop(last);
        assert!(all.upgrade().is_none());
        assert!(rest.take().is_none());
    }
}
