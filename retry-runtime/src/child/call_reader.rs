//! Receives calls from the parent.

use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::{STRANGER, exit};
use crate::codec::payload::{self, PREFIX};
use crate::function::invocation::{Input, Invocation};
use crate::wait::end::Sleep;
use crate::wait::spin::{Patience, Spin};
use crate::wire::Corrupt;
use crate::wire::bell::{self, Heard};
use crate::wire::frame::{CALL_HEADER, CallHeader};
use crate::wire::frame_reader::FrameReader;
use crate::wire::stream::Reader;

/// Time for which an idle worker keeps memory for large results: across the pauses between its calls, but not after the
/// last one.
const IDLE_MEMORY_TIME: Duration = Duration::from_millis(100);

/// The remaining inputs of a message that carries several calls.
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

    /// Moves the next input into `input`. Returns false if none is left.
    fn take(&mut self, input: &mut Input) -> bool {
        let Some(inputs) = &self.inputs else {
            return false;
        };
        let start = self.at + PREFIX;
        let Some(length) = payload::length(&inputs[self.at..]) else {
            // The parent runs this same program, so this is a bug.
            exit(STRANGER);
        };
        self.at = start + length;
        input.become_part(inputs, start..self.at);
        self.left -= 1;
        if self.left == 0 {
            // Drop this reference, so that the last input is the only owner of the memory: it may be large.
            self.inputs = None;
        }
        true
    }
}

/// The worker's end of the call stream.
pub(super) struct CallReader {
    socket: Arc<OwnedFd>,
    reader: Reader,
    input: FrameReader,
    /// Header of the last call that was taken.
    header: CallHeader,
    /// The rest of its message.
    rest: Rest,
    patience: Patience,
    /// The last spin for more calls, until more have arrived.
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

    /// Takes the next call that has arrived.
    pub(super) fn take(&mut self) -> Option<(CallHeader, Input)> {
        let mut input = Input::default();
        self.take_into(&mut input).then_some((self.header, input))
    }

    /// Takes the next call that has arrived, for a loop that runs one call after the other: the arguments
    /// replace those in `input`, and the [header](Self::header) stays here. Returns false if none has
    /// arrived.
    #[inline]
    pub(super) fn take_into(&mut self, input: &mut Input) -> bool {
        if self.rest.take(input) {
            self.header.follow();
            return true;
        }
        loop {
            if let Some((header, payload)) = self.input.take_call() {
                self.header = CallHeader { count: 1, ..header };
                if header.count > 1 {
                    self.rest = Rest::new(header.count, payload);
                    self.rest.take(input);
                } else if header.is_staged {
                    *input = Input::Staged(payload);
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

    /// Returns the header of the last call that was taken.
    pub(super) fn header(&self) -> &CallHeader {
        &self.header
    }

    /// Returns whether more data has arrived, apart from a partial message that is already buffered.
    pub(super) fn has_more(&self) -> bool {
        self.is_within_chunk() || !self.reader.is_empty()
    }

    /// Returns whether more calls remain of the last message.
    pub(super) fn is_within_chunk(&self) -> bool {
        self.rest.left > 0
    }

    fn read(&mut self) -> bool {
        // The parent runs this same program, so its lengths need no limit.
        let (reader, longest) = (&mut self.reader, usize::MAX);
        match self.input.read(reader, CALL_HEADER, longest, longest) {
            Ok(0) => false,
            Ok(_) => {
                if let Some(spin) = self.spin.take() {
                    self.patience.learn(&spin);
                }
                if self.reader.wake_writer() && !bell::ring(&self.socket) {
                    super::end();
                }
                true
            }
            // The parent runs this same program, so this is a bug.
            Err(Corrupt) => exit(STRANGER),
        }
    }

    /// Spins for a moment. Returns whether more has arrived.
    pub(super) fn look(&mut self) -> bool {
        let spin = self.spin.insert(self.patience.spin());
        if self.input.is_within_large() {
            spin.found_part();
        }
        spin.look_until(&mut || !self.reader.is_empty())
    }

    /// Waits until more arrives. If that takes a while, has memory released that is kept for the next call. Returns false
    /// if the parent has closed the connection.
    pub(super) fn wait(&mut self, invocation: Option<&mut Invocation>) -> bool {
        self.look() || self.sleep(invocation)
    }

    fn sleep(&self, invocation: Option<&mut Invocation>) -> bool {
        // Either the parent has exited, or a function has closed every descriptor it found: then this worker
        // would not notice the parent's end, and the parent would not hear of answers.
        if self.hear() == Heard::End && !self.is_closed() {
            super::end();
        }
        let mut keeping = invocation.filter(|invocation| invocation.keeps_memory());
        while self.arm(Sleep::Here) {
            self.reader
                .sleep(keeping.is_some().then_some(IDLE_MEMORY_TIME));
            if self.reader.is_empty()
                && let Some(invocation) = keeping.take()
            {
                invocation.release_memory();
            }
        }
        !self.reader.is_empty()
    }

    fn arm(&self, how: Sleep) -> bool {
        self.reader.try_arm(how) && !self.is_closed()
    }

    /// Waits until more arrives or the given time is reached. Returns whether there is something to read.
    pub(super) fn wait_until(&self, until: Instant) -> bool {
        while self.arm(Sleep::Here) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                self.reader.disarm();
                break;
            }
            self.reader.sleep(Some(left));
        }
        !self.reader.is_empty()
    }

    /// Arms the bell: announces that this thread is about to sleep until the parent rings. Returns false if
    /// something has arrived or nothing more will.
    pub(super) fn arm_bell(&self) -> bool {
        self.arm(Sleep::Bell)
    }

    /// Returns whether the parent has closed the connection.
    pub(super) fn is_closed(&self) -> bool {
        let closed = self.reader.is_closed();
        if closed && self.reader.is_lost() {
            super::end();
        }
        closed
    }

    /// Reads what the parent has sent through the socket, apart from frames, which stay there.
    pub(super) fn hear(&self) -> Heard {
        self.reader.hear(&self.socket)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(input: &Input) -> &[u8] {
        match input {
            Input::Alone(bytes) | Input::Staged(bytes) => bytes,
            Input::Part(all, part) => &all[part.clone()],
        }
    }

    #[test]
    fn the_last_input_frees_the_message() {
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
