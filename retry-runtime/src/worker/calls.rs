//! Calls on their way from the parent.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{STRANGER, exit};
use crate::spin::Patience;
use crate::transport::bell::{self, Heard};
use crate::transport::frame::{self, CALL_HEADER, CallHeader};
use crate::transport::ring::{self, Reader};

/// The worker's end of the way that calls take.
pub(super) struct Calls {
    socket: Arc<OwnedFd>,
    reader: Reader,
    input: BytesMut,
    /// How long a message may be.
    limit: usize,
    patience: Patience,
}

impl Calls {
    pub(super) fn new(socket: Arc<OwnedFd>, reader: Reader, limit: usize) -> Self {
        Self {
            socket,
            reader,
            input: BytesMut::new(),
            limit,
            patience: Patience::new(),
        }
    }

    /// The next one that has come.
    pub(super) fn take(&mut self) -> Option<(CallHeader, Bytes)> {
        loop {
            let large = self.input.len() > ring::CAPACITY;
            if let Some(message) = CallHeader::take(&mut self.input) {
                // The room for a large message is given back with the message.
                if large && self.input.is_empty() {
                    self.input = BytesMut::new();
                }
                return Some(message);
            }
            if !self.read() {
                return None;
            }
        }
    }

    /// Whether more has come than was taken.
    pub(super) fn has_more(&self) -> bool {
        !self.input.is_empty() || !self.reader.is_empty()
    }

    fn read(&mut self) -> bool {
        let missing = frame::wanted(&self.input, CALL_HEADER, 0, self.limit);
        self.input.reserve(missing);
        match self.reader.read_into(&mut self.input) {
            Ok(0) => false,
            Ok(_) => {
                if self.reader.wakes() {
                    bell::ring(&self.socket);
                }
                true
            }
            // The parent is this very program.
            Err(ring::Corrupt) => exit(STRANGER),
        }
    }

    /// Waits until more comes; false when the parent has ended the connection.
    pub(super) fn wait(&mut self) -> bool {
        let mut spin = self.patience.spin();
        loop {
            if !self.reader.is_empty() {
                break;
            }
            if !spin.goes_on() {
                if !self.sleep() {
                    return false;
                }
                break;
            }
        }
        self.patience.learn(&spin);
        true
    }

    fn sleep(&self) -> bool {
        while self.sleeps() {
            if bell::wait(&self.socket) == Heard::End {
                return !self.reader.is_empty();
            }
        }
        true
    }

    /// Waits until more comes, but no longer than the given time; false if nothing has come, or
    /// nothing will.
    pub(super) fn wait_until(&self, until: Instant) -> bool {
        while self.sleeps() {
            let left = until.saturating_duration_since(Instant::now());
            let mut files = [PollFd::new(&*self.socket, PollFlags::IN)];
            let timeout = Timespec {
                tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: left.subsec_nanos().into(),
            };
            let rung = match poll(&mut files, Some(&timeout)) {
                Ok(0) => false,
                Err(rustix::io::Errno::INTR) => continue,
                Ok(_) => bell::look(&self.socket) != Heard::End,
                Err(_) => false,
            };
            if !rung {
                return !self.reader.is_empty();
            }
        }
        true
    }

    /// Says that this side is about to sleep. False if something has come.
    pub(super) fn sleeps(&self) -> bool {
        self.reader.sleeps()
    }
}
