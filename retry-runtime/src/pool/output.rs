//! What workers print: passed on line by line, and the last lines kept for error reports.

use std::collections::VecDeque;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::event::epoll::{self, EventData, EventFlags};

use crate::excerpt::excerpt;

/// How many lines of standard error are kept.
const TAIL_LINES: usize = 20;

/// How many bytes of each of them: of a longer one the beginning and the end.
const TAIL_WIDTH: usize = 400;

/// A line that is longer is passed on in pieces.
const LONGEST_LINE: usize = 64 * 1024;

/// How much is read at a turn, so that one chatty worker does not keep the others waiting.
const PER_TURN: usize = 1024 * 1024;

/// One output stream of a worker.
pub(super) struct Output<R> {
    pipe: Option<R>,
    line: Vec<u8>,
    /// There was more to read than is taken.
    full: bool,
    /// The I/O thread does not hear of it.
    put_off: bool,
}

impl<R: AsFd> Output<R> {
    /// `pipe` does not block.
    pub(super) fn new(pipe: Option<R>) -> Self {
        Self {
            pipe,
            line: Vec::new(),
            full: false,
            put_off: false,
        }
    }

    pub(super) fn pipe(&self) -> Option<&R> {
        self.pipe.as_ref()
    }

    /// Reads what is there, as long as there is room for it, and calls `take` with each line,
    /// newline included, and without one at the end of the stream. Then it takes the pipe off the list
    /// of `epoll`: to close it does not, where a child that this process has forked has it as well.
    pub(super) fn drain(
        &mut self,
        epoll: &OwnedFd,
        mut has_room: impl FnMut() -> bool,
        mut take: impl FnMut(&[u8]),
    ) {
        let Some(pipe) = &mut self.pipe else {
            return;
        };
        // Most of the time there is nothing, and the stack may be that of a small thread.
        let mut little = [MaybeUninit::uninit(); 1024];
        let mut much = Vec::new();
        let mut total = 0;
        self.full = false;
        let ended = loop {
            if !has_room() {
                self.full = true;
                break false;
            }
            let buffer = if much.is_empty() {
                &mut little[..]
            } else {
                &mut much[..]
            };
            match rustix::io::read(&*pipe, &mut *buffer) {
                Ok(([], _)) => break true,
                Ok((read, rest)) => {
                    total += read.len();
                    let more = rest.is_empty();
                    for piece in read.split_inclusive(|byte| *byte == b'\n') {
                        self.line.extend_from_slice(piece);
                        if piece.ends_with(b"\n") || self.line.len() >= LONGEST_LINE {
                            take(&self.line);
                            self.line.clear();
                        }
                    }
                    if total >= PER_TURN {
                        break false;
                    }
                    if more {
                        much.resize(LONGEST_LINE, MaybeUninit::uninit());
                    }
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => break false,
                Err(_) => break true,
            }
        };
        if ended {
            let _ = epoll::delete(epoll, &*pipe);
            self.pipe = None;
            self.finish(take);
        }
    }

    /// Takes it off the list of what is waited for, if there was no room for more: it would be
    /// reported again and again. True if it is off the list.
    pub(super) fn put_off(&mut self, epoll: &OwnedFd) -> bool {
        if let Some(pipe) = &self.pipe
            && self.full
            && !self.put_off
        {
            let _ = epoll::delete(epoll, pipe);
            self.put_off = true;
        }
        self.put_off
    }

    /// Puts it back on the list.
    pub(super) fn take_up(&mut self, epoll: &OwnedFd, data: u64) {
        if let Some(pipe) = &self.pipe
            && std::mem::take(&mut self.put_off)
        {
            let _ = epoll::add(epoll, pipe, EventData::new_u64(data), EventFlags::IN);
        }
    }

    pub(super) fn is_unfinished(&self) -> bool {
        !self.line.is_empty()
    }

    /// Passes on a line that is not finished, without a newline.
    pub(super) fn finish(&mut self, mut take: impl FnMut(&[u8])) {
        if !self.line.is_empty() {
            take(&self.line);
            self.line.clear();
        }
    }
}

/// The last lines of a worker's standard error.
#[derive(Default)]
pub(super) struct Tail {
    lines: VecDeque<String>,
    text: Option<Arc<str>>,
}

impl Tail {
    pub(super) fn push(&mut self, line: &[u8]) {
        let line = String::from_utf8_lossy(line);
        if self.lines.len() == TAIL_LINES {
            self.lines.pop_front();
        }
        self.lines
            .push_back(excerpt(line.trim_end(), TAIL_WIDTH).into_owned());
        self.text = None;
    }

    pub(super) fn text(&mut self) -> Option<Arc<str>> {
        if self.lines.is_empty() {
            return None;
        }
        let lines = &self.lines;
        Some(Arc::clone(self.text.get_or_insert_with(|| {
            lines.iter().cloned().collect::<Vec<_>>().join("\n").into()
        })))
    }
}
