//! Sends answers to the parent.

use std::cell::RefCell;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::nested::Upstream;
use super::{STRANGER, exit};
use crate::function::invocation::Output;
use crate::spans::forwarder;
use crate::wait::end::End;
use crate::wait::spin::Patience;
use crate::wire::Corrupt;
use crate::wire::frame::{self, ANSWER_HEADER, AnswerHeader, Kind, PRINTED, Printed};
use crate::wire::ring::{Mapped, PIECE};
use crate::wire::stream::Writer;
use crate::wire::{bell, socket};

/// Answers that may accumulate before a sleeping parent is woken, as long as more calls are queued here.
const MOST_DEFERRED: usize = 2048;

/// The same limit in bytes.
const MOST_DEFERRED_BYTES: usize = 32 * 1024;

/// Consecutive answers that may have a short header before one must have a full header.
const SHORT_IN_A_ROW: u32 = 255;

/// Total execution time that consecutive answers with short headers may cover, in nanoseconds.
const LONGEST_UNTOLD: u64 = 1_000_000;

/// The worker's end of the answer stream. An answer is visible to the parent as soon as it is written, even
/// if this process dies afterwards: an input that was answered never runs again because of the next one.
/// Waking a sleeping parent is deferred until it pays off: for many answers, or when the worker has nothing
/// left to do.
pub(crate) struct ResultWriter {
    writing: RefCell<Writing>,
    kept: Arc<Kept>,
}

/// Remarks about the worker that accompany an answer.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Remarks {
    /// The worker asks to be replaced.
    pub(super) used_up: bool,
}

struct Writing {
    writer: Writer,
    /// Limits the spinning for room in the stream.
    patience: Patience,
    /// Bytes written since the parent was last woken.
    bytes: usize,
    /// The last ticket that was answered.
    answered: u64,
    /// Execution time of the answers with short headers since the last full header.
    untold: u64,
    /// Number of those answers.
    short: u32,
}

/// Answers that are written but for which the parent has not been woken, shared with the watchdog.
pub(super) struct Kept {
    socket: Arc<OwnedFd>,
    /// Wakes the parent. `None` if the kernel wakes it on every write: then no wake-up is deferred.
    parent: Option<End<Mapped>>,
    /// Number of those answers. Both threads write it without synchronising updates. An update may be lost,
    /// but an answer that is not counted was visible before the parent was woken for others.
    answers: AtomicUsize,
    /// Set once the watchdog has been told that a wake-up is deferred.
    watched: AtomicBool,
}

impl ResultWriter {
    pub(super) fn new(socket: Arc<OwnedFd>, writer: Writer) -> Self {
        let kept = Kept {
            socket,
            parent: writer.reader_end(),
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

    /// Returns the state that the watchdog shares.
    pub(super) fn kept(&self) -> Arc<Kept> {
        Arc::clone(&self.kept)
    }

    /// Sends a message that is not an answer, and wakes the parent at once.
    pub(crate) fn tell(&self, kind: Kind, payload: &[u8]) {
        self.answer(kind, 0, 0, Remarks::default(), payload);
        self.flush();
    }

    /// Answers a ticket with a value while the next input of its chunk is about to run. Uses a short header
    /// if possible, which omits the duration; the next full header includes it. Returns whether there was
    /// room at once.
    pub(super) fn value(&self, ticket: u64, duration: u64, payload: &[u8]) -> bool {
        forwarder::flush();
        let mut writing = self.writing.borrow_mut();
        let untold = writing.untold + duration;
        let fits = payload.len() <= frame::MAX_SHORT_VALUE
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

    /// Answers with a function's output, preceded by the text of its error if there is one.
    pub(super) fn answer_with(
        &self,
        kind: Kind,
        ticket: u64,
        duration: u64,
        remarks: Remarks,
        output: &Output,
    ) {
        if !output.objects().is_empty()
            && let Some(upstream) = Upstream::get()
        {
            upstream.offer_for_answer(ticket, output.objects());
        }
        if let Some(text) = output.text() {
            let text = text.as_bytes();
            self.answer(Kind::ErrText, ticket, 0, Remarks::default(), text);
        }
        self.answer(kind, ticket, duration, remarks, output);
    }

    /// Writes an answer. Returns whether there was room at once, without waiting.
    pub(super) fn answer(
        &self,
        kind: Kind,
        ticket: u64,
        duration: u64,
        remarks: Remarks,
        payload: &[u8],
    ) -> bool {
        forwarder::flush();
        let mut writing = self.writing.borrow_mut();
        let untold = std::mem::take(&mut writing.untold);
        writing.short = 0;
        writing.answered = ticket;
        let header = AnswerHeader {
            length: u32::try_from(payload.len()).expect("the limit is below 4 GiB"),
            kind,
            used_up: remarks.used_up,
            ticket,
            // A failure reports only its own duration.
            duration: duration + if kind == Kind::Ok { untold } else { 0 },
        };
        self.write::<ANSWER_HEADER>(&mut writing, &header.encode(), payload)
    }

    /// Tells the parent where the output of the next answered call ends. Does not count as an answer.
    #[cold]
    pub(super) fn send_printed(&self, ticket: u64, printed: Printed) {
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

    /// Writes bytes that are not a valid message.
    #[cfg(feature = "testing")]
    pub(crate) fn garble(&self) {
        self.write(&mut self.writing.borrow_mut(), &[0xff; 64], &[]);
        self.flush();
    }

    /// Wakes the parent if it sleeps while answers are there for it.
    pub(super) fn flush(&self) {
        self.writing.borrow_mut().bytes = 0;
        self.kept.flush();
    }

    /// Returns whether a wake-up is deferred that the watchdog does not know of yet, and marks it as known.
    /// The caller must then ring the watchdog.
    pub(super) fn start_watch(&self) -> bool {
        let kept = &self.kept;
        let needs = !kept.watched.load(Ordering::Relaxed) && kept.any();
        if needs {
            kept.watched.store(true, Ordering::Relaxed);
        }
        needs
    }

    /// Writes a message. It becomes visible as a whole unless it is larger than the ring; in that case its
    /// input counts as executing until all of it is written. Returns whether there was room at once.
    fn write<const H: usize>(
        &self,
        writing: &mut Writing,
        header: &[u8; H],
        payload: &[u8],
    ) -> bool {
        let whole = H + payload.len() <= PIECE
            && self
                .kept
                .unwrap_write(writing.writer.write_whole(header, payload));
        if !whole {
            self.write_pieces(writing, header, payload);
        }
        writing.writer.show();
        let answers = self.kept.answers.load(Ordering::Relaxed) + 1;
        // Release: a thread that reads the count must also see the answers that were made visible before it.
        self.kept.answers.store(answers, Ordering::Release);
        writing.bytes += H + payload.len();
        if answers >= MOST_DEFERRED || writing.bytes >= MOST_DEFERRED_BYTES {
            writing.bytes = 0;
            self.kept.flush();
        }
        whole
    }

    /// Writes a large message, or one for which there is not enough room, in pieces.
    fn write_pieces(&self, writing: &mut Writing, header: &[u8], payload: &[u8]) {
        let Writing {
            writer, patience, ..
        } = writing;
        writer.show();
        for mut part in [header, payload] {
            while !part.is_empty() {
                let piece = &part[..part.len().min(PIECE)];
                let written = self.kept.unwrap_write(writer.write(piece));
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
                    if !spin.look_until(&mut || self.kept.unwrap_write(writer.has_room())) {
                        self.kept.unwrap_write(writer.sleep_for_room());
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

    /// Wakes the parent if it sleeps and answers are there for it.
    pub(super) fn flush(&self) {
        // An answer that is counted after the `swap` either was made visible before the parent's sleep state
        // is read, or is found by a later flush.
        if let Some(parent) = &self.parent
            && self.answers.swap(0, Ordering::AcqRel) > 0
            && parent.wake()
        {
            self.ring();
        }
    }

    /// Flushes on behalf of the watchdog. Returns whether there was anything to flush.
    pub(super) fn flush_watched(&self) -> bool {
        let any = self.any();
        self.flush();
        any
    }

    /// Marks the watchdog as no longer watching, so that the next deferred wake-up rings it again.
    pub(super) fn stop_watch(&self) {
        self.watched.store(false, Ordering::Release);
    }

    fn ring(&self) {
        if !bell::ring(&self.socket) {
            // The parent would never hear of further answers.
            exit(STRANGER);
        }
    }

    /// Unwraps the result of a write. The parent runs this same program and writes no invalid counts, so an
    /// error means that the parent has exited or that a function has closed the socket.
    fn unwrap_write<T>(&self, result: Result<T, Corrupt>) -> T {
        result.unwrap_or_else(|_| {
            if socket::is_hung_up(&self.socket) {
                super::end();
            }
            exit(STRANGER)
        })
    }
}
