//! Calls on their way from the parent.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use super::{STRANGER, exit, watchdog};
use crate::spin::{Patience, Spin};
use crate::transport::bell::{self, Heard};
use crate::transport::frame::{CALL_HEADER, CallHeader, Chunk};
use crate::transport::intake::Intake;
use crate::transport::ring::{self, Reader, Sleep};

/// The worker's end of the way that calls take.
pub(super) struct Calls {
    socket: Arc<OwnedFd>,
    reader: Reader,
    input: Intake,
    /// What is left of the last message.
    chunk: Chunk,
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
            chunk: Chunk::empty(),
            patience: Patience::new(),
            spin: None,
        }
    }

    /// The next one that has come.
    pub(super) fn take(&mut self) -> Option<(CallHeader, Bytes)> {
        loop {
            if let Some(call) = self.chunk.next() {
                return Some(call);
            }
            if let Some((header, payload)) = CallHeader::take(&mut self.input) {
                self.chunk = Chunk::new(header, payload);
            } else if !self.read() {
                return None;
            }
        }
    }

    /// Whether more has come than was taken.
    pub(super) fn has_more(&self) -> bool {
        self.is_within_chunk() || !self.input.is_empty() || !self.reader.is_empty()
    }

    /// Whether more has come with the last one that was taken.
    pub(super) fn is_within_chunk(&self) -> bool {
        self.chunk.has_more()
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
        spin.look_until(&mut || !self.reader.is_empty())
    }

    /// Waits until more comes; false when the parent has ended the connection.
    pub(super) fn wait(&mut self) -> bool {
        self.look() || self.sleep()
    }

    fn sleep(&self) -> bool {
        // The parent is gone, or a function has closed all that it found: then nobody would hear of
        // the parent's end, and the parent not of answers.
        if bell::look(&self.socket) == Heard::End && !self.reader.is_closed() {
            watchdog::end();
        }
        while self.sleeps_at(Sleep::Here) {
            self.reader.sleep(None);
        }
        !self.reader.is_empty()
    }

    fn sleeps_at(&self, how: Sleep) -> bool {
        self.reader.sleeps(how) && !self.reader.is_closed()
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
        self.sleeps_at(Sleep::Bell)
    }

    /// Whether the parent has ended the connection.
    pub(super) fn is_closed(&self) -> bool {
        self.reader.is_closed()
    }
}
