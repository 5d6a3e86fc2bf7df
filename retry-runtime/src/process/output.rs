//! What workers print: passed on line by line, and the last lines kept for error reports.

use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::event::epoll::{self, EventData, EventFlags};

use crate::api::context::CallId;
use crate::api::excerpt::excerpt;
use crate::job::caller::Caller;

/// How many lines of standard error are kept.
const TAIL_LINES: usize = 20;

/// How many bytes of each of them: of a longer one the beginning and the end.
const TAIL_WIDTH: usize = 400;

/// A line that is longer is passed on in pieces.
const LONGEST_LINE: usize = 64 * 1024;

/// How many calls may have printed what is in a pipe: a pipe holds no more bytes, unless it was made larger.
const MOST_ENDS: usize = 1024 * 1024;

/// How much is read at a turn, so that one chatty worker does not keep the others waiting.
const PER_TURN: usize = 1024 * 1024;

/// One output stream of a worker.
pub(super) struct Output<R> {
    pipe: Option<R>,
    /// What was read and not passed on yet.
    pending: Vec<u8>,
    /// How many bytes were read.
    read: u64,
    /// Where the output ends of calls whose answers have come, as far as it was not passed on.
    ends: VecDeque<End>,
    /// Set if the worker tells where that is.
    told: bool,
    /// There was more to read than is taken.
    full: bool,
    /// The I/O thread does not hear of it.
    put_off: bool,
}

/// Where the output of a call ends.
#[derive(Clone, Debug)]
pub(super) struct End {
    /// Behind how many bytes.
    pub(super) at: u64,
    pub(super) of: Of,
    /// Set if a line that is not finished there will remain so.
    pub(super) last: bool,
}

/// What a line belongs to, where it is certain.
#[derive(Clone, Debug, Default)]
pub(super) struct Of {
    pub(super) call: Option<CallId>,
    pub(super) index: Option<u64>,
    /// Who has made the call.
    pub(super) caller: Option<Caller>,
}

/// Which lines are passed on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Lines {
    Whole,
    /// Also the last one, which is not finished.
    All,
}

impl<R: AsFd> Output<R> {
    /// `pipe` does not block.
    pub(super) fn new(pipe: Option<R>) -> Self {
        Self {
            pipe,
            pending: Vec::new(),
            read: 0,
            ends: VecDeque::new(),
            told: false,
            full: false,
            put_off: false,
        }
    }

    pub(super) fn pipe(&self) -> Option<&R> {
        self.pipe.as_ref()
    }

    /// Reads what is there, with `read`, as long as there is room for it. At the end of the stream it takes
    /// the pipe off the list of `epoll`: to close it does not, where a child that this process has forked
    /// has it as well.
    pub(super) fn drain(
        &mut self,
        epoll: &OwnedFd,
        mut has_room: impl FnMut() -> bool,
        mut read: impl FnMut(&R, &mut Vec<u8>) -> rustix::io::Result<usize>,
    ) {
        let Some(pipe) = &self.pipe else {
            return;
        };
        // Most of the time there is little.
        let mut room = 1024;
        let mut total = 0;
        self.full = false;
        let ended = loop {
            if !has_room() {
                self.full = true;
                break false;
            }
            self.pending.reserve(room);
            match read(pipe, &mut self.pending) {
                Ok(0) => break true,
                Ok(bytes) => {
                    self.read += bytes as u64;
                    total += bytes;
                    if total >= PER_TURN {
                        break false;
                    }
                    if bytes >= room {
                        room = LONGEST_LINE;
                    }
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => break false,
                Err(_) => break true,
            }
        };
        if ended {
            let _ = epoll::delete(epoll, pipe);
            self.pipe = None;
        }
    }

    /// The worker tells where output ends from now on.
    pub(super) fn is_told(&mut self) {
        self.told = true;
    }

    /// Returns whether it is known to which call a line belongs.
    pub(super) fn tells(&self) -> bool {
        self.told
    }

    /// The output of a call that is answered next ends here.
    pub(super) fn ends(&mut self, end: End) {
        if !self.told {
            return;
        }
        let is_full = self.ends.len() >= MOST_ENDS;
        match self.ends.back_mut() {
            // It has printed nothing.
            Some(last) if last.at == end.at => last.last |= end.last,
            // What a worker says need not make sense.
            Some(last) if last.at > end.at || is_full => {}
            _ => self.ends.push_back(end),
        }
    }

    /// Returns whether something was printed for an answer that has come, and was not read.
    pub(super) fn is_behind(&self) -> bool {
        self.ends.back().is_some_and(|last| self.read < last.at)
    }

    /// Passes on what belongs to answers that have come.
    pub(super) fn pass_ended(&mut self, mut take: impl FnMut(&Of, &[u8])) {
        while let Some(end) = self.ends.pop_front_if(|end| end.at <= self.read) {
            let behind = usize::try_from(self.read - end.at).unwrap_or(usize::MAX);
            let length = self.pending.len().saturating_sub(behind);
            let lines = if end.last { Lines::All } else { Lines::Whole };
            self.pass(length, lines, |line| take(&end.of, line));
        }
    }

    /// Passes on the rest of what was read.
    pub(super) fn pass_rest(&mut self, lines: Lines, take: impl FnMut(&[u8])) {
        let ended = self.pipe.is_none();
        let lines = if ended { Lines::All } else { lines };
        self.pass(self.pending.len(), lines, take);
        if self.pending.is_empty() && self.pending.capacity() > LONGEST_LINE {
            self.pending = Vec::new();
        }
    }

    /// Passes on lines, newlines included, up to a place.
    fn pass(&mut self, length: usize, lines: Lines, mut take: impl FnMut(&[u8])) {
        let mut passed = 0;
        for line in self.pending[..length].split_inclusive(|byte| *byte == b'\n') {
            for piece in line.chunks(LONGEST_LINE) {
                let whole = piece.len() == LONGEST_LINE || piece.ends_with(b"\n");
                if whole || lines == Lines::All {
                    take(piece);
                    passed += piece.len();
                }
            }
        }
        self.pending.drain(..passed);
    }

    /// Returns whether anything was read and not passed on.
    pub(super) fn is_pending(&self) -> bool {
        !self.pending.is_empty()
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

#[cfg(test)]
mod tests {
    use super::*;

    fn of(index: u64) -> Of {
        Of {
            index: Some(index),
            ..Of::default()
        }
    }

    fn output(pending: &[u8]) -> Output<OwnedFd> {
        let mut output = Output::new(None);
        output.pending = pending.to_vec();
        output.read = pending.len() as u64;
        output.is_told();
        output
    }

    fn passed(output: &mut Output<OwnedFd>) -> Vec<(Option<u64>, String)> {
        let mut passed = Vec::new();
        output.pass_ended(|of, line| {
            passed.push((of.index, String::from_utf8(line.to_vec()).unwrap()));
        });
        passed
    }

    #[test]
    fn lines_go_to_the_call_within_whose_end_they_are() {
        let mut output = output(b"one\ntwo\nhalf");
        for (at, index) in [(4, 0), (9, 1), (30, 2)] {
            let (of, last) = (of(index), true);
            output.ends(End { at, of, last });
        }
        let expected = [(Some(0), "one\n".to_owned()), (Some(1), "two\n".to_owned())];
        // The ninth byte is the first of what the second call has not finished.
        let half = (Some(1), "h".to_owned());
        let mut all = expected.to_vec();
        all.push(half);
        assert_eq!(passed(&mut output), all);
        assert!(output.is_behind());
        assert_eq!(output.pending, b"alf");
    }

    #[test]
    fn an_end_that_cannot_be_is_passed_over() {
        let mut output = output(b"one\n");
        for at in [4, 2, 4] {
            let (of, last) = (of(at), false);
            output.ends(End { at, of, last });
        }
        assert_eq!(passed(&mut output), [(Some(4), "one\n".to_owned())]);
        output.pending.clear();
        let (of, last) = (of(1), true);
        output.ends(End { at: 0, of, last });
        assert_eq!(passed(&mut output), []);
    }

    #[test]
    fn a_line_that_another_call_goes_on_with_is_kept() {
        let mut output = output(b"one\nhalf");
        let (of, last) = (of(0), false);
        output.ends(End { at: 8, of, last });
        assert_eq!(passed(&mut output), [(Some(0), "one\n".to_owned())]);
        assert!(output.is_pending());
        let long = vec![b'x'; LONGEST_LINE + 5];
        output.pending = long;
        let mut pieces = Vec::new();
        output.pass(LONGEST_LINE + 5, Lines::Whole, |line| {
            pieces.push(line.len())
        });
        assert_eq!((pieces, output.pending.len()), (vec![LONGEST_LINE], 5));
    }
}
