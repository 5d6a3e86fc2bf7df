//! Answers on their way to the parent.

use std::cell::RefCell;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::{STRANGER, exit};
use crate::function::invocation::Output;
use crate::wait::spin::Patience;
use crate::wire::frame::{self, ANSWER_HEADER, AnswerHeader, Kind, PRINTED, Printed};
use crate::wire::ring::{Corrupt, PIECE, Sleeper};
use crate::wire::stream::Writer;
use crate::wire::{bell, socket};

/// How many answers lie there before a parent that sleeps is woken, while there is more to do.
const KEPT: usize = 2048;

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
pub(crate) struct ResultWriter {
    writing: RefCell<Writing>,
    kept: Arc<Kept>,
}

/// What is said with an answer about the worker.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Remarks {
    /// It asks to be replaced.
    pub(super) used_up: bool,
}

struct Writing {
    writer: Writer,
    /// How long room is looked for.
    patience: Patience,
    /// How many bytes the parent has not been woken for.
    bytes: usize,
    /// The last ticket that was answered.
    answered: u64,
    /// How long those took that were answered in short since the last answer in full.
    untold: u64,
    /// How many these are.
    short: u32,
}

/// What was answered and what the parent has not been woken for, as the watchdog sees it.
pub(super) struct Kept {
    socket: Arc<OwnedFd>,
    /// What wakes the parent, unless the kernel does: then nothing is kept.
    parent: Option<Sleeper>,
    /// How many answers these are. Both sides write it without regard for the other: an answer
    /// that is not counted has been shown before the parent was woken for others.
    answers: AtomicUsize,
    /// Whether the watchdog has been told that something is kept.
    watched: AtomicBool,
}

impl ResultWriter {
    pub(super) fn new(socket: Arc<OwnedFd>, writer: Writer) -> Self {
        let kept = Kept {
            socket,
            parent: writer.sleeper(),
            answers: AtomicUsize::new(0),
            watched: AtomicBool::new(false),
        };
        Self {
            writing: RefCell::new(Writing {
                writer,
                patience: Patience::new(),
                bytes: 0,
                answered: 0,
                untold: 0,
                short: 0,
            }),
            kept: Arc::new(kept),
        }
    }

    /// What the watchdog looks after.
    pub(super) fn kept(&self) -> Arc<Kept> {
        Arc::clone(&self.kept)
    }

    /// Says something that is no answer, at once.
    pub(crate) fn tell(&self, kind: Kind, payload: &[u8]) {
        self.answer(kind, 0, 0, Remarks::default(), payload);
        self.flush();
    }

    /// A value for a ticket after which more are to be executed at once. Where it can it is said
    /// in short; then the next answer that is not tells how long they took. Whether it was there at
    /// once.
    pub(super) fn value(&self, ticket: u64, duration: u64, payload: &[u8]) -> bool {
        let mut writing = self.writing.borrow_mut();
        let untold = writing.untold + duration;
        let fits = payload.len() <= frame::SHORT
            && ticket == writing.answered + 1
            && writing.short < SHORT_IN_A_ROW
            && untold < LONGEST_UNTOLD;
        if !fits {
            drop(writing);
            return self.answer(Kind::Ok, ticket, duration, Remarks::default(), payload);
        }
        writing.untold = untold;
        writing.short += 1;
        writing.answered = ticket;
        self.write(&mut writing, &frame::short_header(payload), payload)
    }

    /// Answers with what a function has returned, behind the text of its error.
    pub(super) fn answer_with(
        &self,
        kind: Kind,
        ticket: u64,
        duration: u64,
        remarks: Remarks,
        output: &Output,
    ) {
        if let Some(text) = output.text() {
            let text = text.as_bytes();
            self.answer(Kind::ErrText, ticket, 0, Remarks::default(), text);
        }
        self.answer(kind, ticket, duration, remarks, output);
    }

    /// Whether it was there at once, without a wait for room.
    pub(super) fn answer(
        &self,
        kind: Kind,
        ticket: u64,
        duration: u64,
        remarks: Remarks,
        payload: &[u8],
    ) -> bool {
        let mut writing = self.writing.borrow_mut();
        let untold = std::mem::take(&mut writing.untold);
        writing.short = 0;
        writing.answered = ticket;
        let header = AnswerHeader {
            length: u32::try_from(payload.len()).expect("the limit is below 4 GiB"),
            kind,
            used_up: remarks.used_up,
            ticket,
            // A failure is to be told of with its own.
            duration: duration + if kind == Kind::Ok { untold } else { 0 },
        };
        self.write::<ANSWER_HEADER>(&mut writing, &header.encode(), payload)
    }

    /// Tells where the output ends of what is answered next. It counts as no answer.
    #[cold]
    pub(super) fn printed(&self, ticket: u64, printed: Printed) {
        let header = AnswerHeader {
            length: PRINTED as u32,
            kind: Kind::Printed,
            used_up: false,
            ticket,
            duration: 0,
        };
        let mut writing = self.writing.borrow_mut();
        self.write::<ANSWER_HEADER>(&mut writing, &header.encode(), &printed.encode());
    }

    /// Says what is no message.
    #[cfg(feature = "testing")]
    pub(crate) fn garble(&self) {
        self.write(&mut self.writing.borrow_mut(), &[0xff; 64], &[]);
        self.flush();
    }

    /// Wakes the parent if it sleeps over something that is there for it.
    pub(super) fn flush(&self) {
        self.writing.borrow_mut().bytes = 0;
        self.kept.flush();
    }

    /// Whether something is kept that nobody watches yet; the caller is to have it watched.
    pub(super) fn needs_watching(&self) -> bool {
        let kept = &self.kept;
        let needs = !kept.watched.load(Ordering::Relaxed) && kept.any();
        if needs {
            kept.watched.store(true, Ordering::Relaxed);
        }
        needs
    }

    /// Writes a message. It is shown as a whole, unless it is larger than the ring: until all of
    /// that is written its input counts as being executed. Whether there was room for it at once.
    fn write<const H: usize>(
        &self,
        writing: &mut Writing,
        header: &[u8; H],
        payload: &[u8],
    ) -> bool {
        let whole = H + payload.len() <= PIECE
            && self
                .kept
                .written(writing.writer.write_whole(header, payload));
        if !whole {
            self.write_pieces(writing, header, payload);
        }
        writing.writer.show();
        let answers = self.kept.answers.load(Ordering::Relaxed) + 1;
        // Whoever sees the count is to see what was shown before it.
        self.kept.answers.store(answers, Ordering::Release);
        writing.bytes += H + payload.len();
        if answers >= KEPT || writing.bytes >= KEPT_BYTES {
            writing.bytes = 0;
            self.kept.flush();
        }
        whole
    }

    /// Writes a large message, or one for which there is not enough room.
    fn write_pieces(&self, writing: &mut Writing, header: &[u8], payload: &[u8]) {
        let Writing {
            writer, patience, ..
        } = writing;
        writer.show();
        for mut part in [header, payload] {
            while !part.is_empty() {
                let piece = &part[..part.len().min(PIECE)];
                let written = self.kept.written(writer.write(piece));
                part = &part[written..];
                if part.is_empty() {
                    break;
                }
                if writer.publish() {
                    self.kept.ring();
                }
                if written < piece.len() {
                    let mut spin = patience.spin();
                    spin.found_part();
                    if !spin.look_until(&mut || self.kept.written(writer.has_room())) {
                        self.kept.written(writer.sleep_for_room());
                    }
                    patience.learn(&spin);
                }
            }
        }
    }
}

impl Kept {
    fn any(&self) -> bool {
        self.parent.is_some() && self.answers.load(Ordering::Relaxed) > 0
    }

    /// Wakes the parent, if it sleeps, for what is there.
    pub(super) fn flush(&self) {
        // What is counted later was shown before the parent is looked at, or is counted after.
        if let Some(parent) = &self.parent
            && self.answers.swap(0, Ordering::AcqRel) > 0
            && parent.wakes()
        {
            self.ring();
        }
    }

    /// Called by the watchdog now and then: does that, and says whether there was anything.
    pub(super) fn flush_watched(&self) -> bool {
        let any = self.any();
        self.flush();
        any
    }

    /// The watchdog is about to stop watching.
    pub(super) fn try_arm_bell(&self) {
        self.watched.store(false, Ordering::Release);
    }

    fn ring(&self) {
        if !bell::ring(&self.socket) {
            // Nobody would hear of its answers any more.
            exit(STRANGER);
        }
    }

    /// What came of writing. The parent is this very program and writes no numbers that cannot be:
    /// it is gone, or a function has closed the socket.
    fn written<T>(&self, result: Result<T, Corrupt>) -> T {
        result.unwrap_or_else(|_| {
            if socket::is_hung_up(&self.socket) {
                super::end();
            }
            exit(STRANGER)
        })
    }
}
