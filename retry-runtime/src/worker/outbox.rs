//! Answers on their way to the parent.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{STRANGER, exit};
use crate::spin::Patience;
use crate::transport::bell;
use crate::transport::frame::{self, ANSWER_HEADER, AnswerHeader, Kind};
use crate::transport::ring::{Corrupt, PIECE, Writer};

/// How many answers lie there before a parent that sleeps is woken, while there is more to do.
const KEPT: usize = 1024;

/// The same in bytes.
const KEPT_BYTES: usize = 32 * 1024;

/// How many answers are said in short before one is said in full.
const SHORT_IN_A_ROW: u32 = 255;

/// How long those may have taken together that are said in short, in nanoseconds.
const LONGEST_UNTOLD: u64 = 1_000_000;

/// The worker's end of the way that answers take. An answer is there as soon as it is given, also
/// after this process has died: an input that was answered never runs again because of the one
/// after it. To wake a parent that sleeps is worth it for many answers, or when there is nothing
/// more to do.
pub(crate) struct Outbox {
    socket: Arc<OwnedFd>,
    kept: Mutex<Kept>,
    /// Whether the watchdog has been told that something is kept.
    watched: AtomicBool,
}

struct Kept {
    writer: Writer,
    /// How long room is looked for.
    patience: Patience,
    /// What the parent has not been woken for.
    answers: usize,
    bytes: usize,
    /// The last ticket that was answered.
    answered: u64,
    /// How long those took that were answered in short since the last answer in full.
    untold: u64,
    /// How many these are.
    short: u32,
}

impl Outbox {
    pub(super) fn new(socket: Arc<OwnedFd>, writer: Writer) -> Self {
        Self {
            socket,
            kept: Mutex::new(Kept {
                writer,
                patience: Patience::new(),
                answers: 0,
                bytes: 0,
                answered: 0,
                untold: 0,
                short: 0,
            }),
            watched: AtomicBool::new(false),
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

    /// A value for a ticket after which more are to be executed at once. Where it can it is said
    /// in short; then the next answer that is not tells how long they took.
    pub(super) fn value(&self, ticket: u64, duration: u64, payload: &[u8]) {
        let mut kept = self.lock();
        let untold = kept.untold + duration;
        let fits = payload.len() <= frame::SHORT
            && ticket == kept.answered + 1
            && kept.short < SHORT_IN_A_ROW
            && untold < LONGEST_UNTOLD;
        if !fits {
            drop(kept);
            return self.answer(Kind::Ok, ticket, duration, false, payload);
        }
        kept.untold = untold;
        kept.short += 1;
        kept.answered = ticket;
        self.write(&mut kept, &frame::short_header(payload), payload);
        self.keep(
            &mut kept,
            frame::short_header(payload).len() + payload.len(),
        );
    }

    pub(super) fn answer(
        &self,
        kind: Kind,
        ticket: u64,
        duration: u64,
        used_up: bool,
        payload: &[u8],
    ) {
        let mut kept = self.lock();
        let untold = std::mem::take(&mut kept.untold);
        kept.short = 0;
        kept.answered = ticket;
        let header = AnswerHeader {
            length: u32::try_from(payload.len()).expect("the limit is below 4 GiB"),
            kind,
            used_up,
            ticket,
            // A failure is to be told of with its own.
            duration: duration + if kind == Kind::Ok { untold } else { 0 },
        }
        .encode();
        self.write(&mut kept, &header, payload);
        self.keep(&mut kept, ANSWER_HEADER + payload.len());
    }

    /// Another answer lies there.
    fn keep(&self, kept: &mut Kept, bytes: usize) {
        kept.answers += 1;
        kept.bytes += bytes;
        if kept.answers >= KEPT || kept.bytes >= KEPT_BYTES {
            self.wake(kept);
        }
    }

    /// Says what is no message.
    #[cfg(feature = "testing")]
    pub(crate) fn garble(&self) {
        let mut kept = self.lock();
        self.write(&mut kept, &[0xff; 64], &[]);
        kept.answers += 1;
        self.wake(&mut kept);
    }

    /// Wakes the parent if it sleeps over something that is there for it.
    pub(super) fn flush(&self) {
        self.wake(&mut self.lock());
    }

    /// Whether something is kept that nobody watches yet; the caller is to watch it.
    pub(super) fn needs_watching(&self) -> bool {
        if self.watched.load(Ordering::Relaxed) {
            return false;
        }
        let needs = self.lock().answers > 0;
        if needs {
            self.watched.store(true, Ordering::Relaxed);
        }
        needs
    }

    /// Called by the watchdog now and then: does what [`flush`](Self::flush) does, and says
    /// whether there was anything to do it for.
    pub(super) fn flush_watched(&self) -> bool {
        // Who holds the lock may wait for room, and the watchdog must not wait with it.
        let Ok(mut kept) = self.kept.try_lock() else {
            return true;
        };
        let anything = kept.answers > 0;
        self.wake(&mut kept);
        anything
    }

    /// The watchdog stops watching, unless something is kept.
    pub(super) fn stop_watching(&self) -> bool {
        // As above.
        let Ok(kept) = self.kept.try_lock() else {
            return false;
        };
        let watched = kept.answers > 0;
        self.watched.store(watched, Ordering::Relaxed);
        !watched
    }

    fn wake(&self, kept: &mut Kept) {
        if kept.answers > 0 {
            kept.answers = 0;
            kept.bytes = 0;
            if kept.writer.wakes() {
                self.ring();
            }
        }
    }

    fn ring(&self) {
        if !bell::ring(&self.socket) {
            // Nobody would hear of its answers any more.
            exit(STRANGER);
        }
    }

    /// Writes a message. It is shown as a whole, unless it is a large one: until all of that is
    /// written its input counts as being executed.
    fn write(&self, kept: &mut Kept, header: &[u8], payload: &[u8]) {
        for mut part in [header, payload] {
            while !part.is_empty() {
                let piece = &part[..part.len().min(PIECE)];
                let written = sound(kept.writer.write(piece));
                part = &part[written..];
                if part.is_empty() {
                    break;
                }
                if kept.writer.publish() {
                    self.ring();
                }
                if written < piece.len() {
                    self.wait_for_room(kept);
                }
            }
        }
        kept.writer.show();
    }

    fn wait_for_room(&self, kept: &mut Kept) {
        let mut spin = kept.patience.spin();
        if !spin.look_until(&mut || sound(kept.writer.has_room())) {
            sound(kept.writer.sleep_for_room());
        }
        kept.patience.learn(&spin);
    }
}

/// The parent is this very program: it writes no numbers that cannot be.
fn sound<T>(result: Result<T, Corrupt>) -> T {
    result.unwrap_or_else(|_| exit(STRANGER))
}
