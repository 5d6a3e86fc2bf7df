//! Answers on their way to the parent.

use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::transport::Board;
use crate::transport::board::OUTBOX_CAPACITY;
use crate::transport::frame::{ANSWER_HEADER, AnswerHeader, Kind};
use crate::transport::outgoing;

/// How many answers are kept back while there is more to do.
const KEPT: usize = 128;

/// How many bytes of answers are kept back.
const KEPT_BYTES: usize = 32 * 1024;

/// Collects answers so that one system call sends many. They lie on the [`Board`] meanwhile, so
/// that none is lost when the process dies: an input that was answered never runs again because
/// of the one after it.
pub(crate) struct Outbox {
    socket: Arc<OwnedFd>,
    board: Arc<Board>,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    answers: usize,
    length: usize,
    /// Whether the watchdog has been told that something is kept.
    watched: bool,
}

impl Outbox {
    pub(super) fn new(socket: Arc<OwnedFd>, board: Arc<Board>) -> Self {
        Self {
            socket,
            board,
            kept: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says something that is no answer, at once.
    pub(crate) fn tell(&self, kind: Kind, payload: &[u8]) {
        self.answer(kind, 0, 0, false, payload);
        self.flush();
    }

    pub(super) fn answer(
        &self,
        kind: Kind,
        ticket: u64,
        duration: u64,
        used_up: bool,
        payload: &[u8],
    ) {
        let header = AnswerHeader {
            length: u32::try_from(payload.len()).expect("the limit is below 4 GiB"),
            kind,
            used_up,
            ticket,
            duration,
        }
        .encode();
        let size = ANSWER_HEADER + payload.len();
        let mut kept = self.lock();
        if kept.length + size > OUTBOX_CAPACITY {
            self.send_kept(&mut kept);
        }
        if size > OUTBOX_CAPACITY {
            // Too large to keep: until it is sent, its input counts as being executed.
            self.send(&header, payload);
            return;
        }
        kept.length = self.board.keep(kept.length, [&header, payload]);
        kept.answers += 1;
        if kept.answers >= KEPT || kept.length >= KEPT_BYTES {
            self.send_kept(&mut kept);
        }
    }

    /// Sends what is no message.
    #[cfg(feature = "testing")]
    pub(crate) fn garble(&self) {
        self.flush();
        self.send(&[0xff; 64], &[]);
    }

    /// Sends what is kept.
    pub(super) fn flush(&self) {
        self.send_kept(&mut self.lock());
    }

    /// Whether something is kept that nobody watches yet; the caller is to watch it.
    pub(super) fn needs_watching(&self) -> bool {
        let mut kept = self.lock();
        let needs = kept.length > 0 && !kept.watched;
        kept.watched |= needs;
        needs
    }

    /// Called by the watchdog now and then: sends what is kept, and says whether that was
    /// anything.
    pub(super) fn flush_watched(&self) -> bool {
        let mut kept = self.lock();
        let anything = kept.length > 0;
        self.send_kept(&mut kept);
        anything
    }

    /// The watchdog stops watching, unless something is kept.
    pub(super) fn stop_watching(&self) -> bool {
        let mut kept = self.lock();
        kept.watched = kept.length > 0;
        !kept.watched
    }

    fn send_kept(&self, kept: &mut Kept) {
        if kept.length > 0 {
            self.board
                .with_outbox(kept.length, |bytes| self.send(bytes, &[]));
            // If the process dies before this line the parent sees these answers twice and
            // ignores the second.
            self.board.commit(0);
            kept.length = 0;
            kept.answers = 0;
        }
    }

    fn send(&self, first: &[u8], second: &[u8]) {
        // The parent is gone if this fails, which the watchdog deals with.
        let _ = outgoing::send_all(&self.socket, first, second);
    }
}
