//! The output of workers: splits it into lines, assigns these to calls, and keeps the last lines of standard
//! error for error reports.

use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::event::epoll::{self, EventData, EventFlags};

use crate::api::call_id::CallNumber;
use crate::api::excerpt::excerpt;
use crate::job::caller::Caller;

/// The number of lines of standard error that are kept.
const TAIL_LINES: usize = 20;

/// The number of bytes kept of each such line; of a longer one, the beginning and the end.
const TAIL_WIDTH: usize = 400;

/// The maximum length of a line in bytes, without its newline. A longer line is passed on in pieces.
const LONGEST_LINE: usize = 64 * 1024;

/// The maximum number of calls whose output positions are kept. A pipe holds no more bytes than this, unless
/// it was enlarged.
const MOST_ENDS: usize = 1024 * 1024;

/// The number of bytes read per turn. It is limited so that one chatty worker does not keep the others
/// waiting.
const PER_TURN: usize = 1024 * 1024;

/// One output stream of a worker.
pub(super) struct Output<R> {
    pipe: Option<R>,
    /// Bytes that have been read and not passed on yet.
    pending: Vec<u8>,
    /// The number of bytes read so far.
    read: u64,
    /// The positions at which the output of answered calls ends, as far as that output has not been passed
    /// on.
    ends: VecDeque<OutputEnd>,
    /// `true` if the worker reports these positions.
    reports_ends: bool,
    /// Set while reading has stopped for lack of room.
    full: bool,
    /// Set while the pipe is removed from the I/O thread's epoll.
    put_off: bool,
}

/// The end of a call's output.
#[derive(Clone, Debug)]
pub(super) struct OutputEnd {
    /// The position in the stream, in bytes.
    pub(super) at: u64,
    pub(super) of: Of,
    /// `true` if a line that is unfinished there will stay unfinished.
    pub(super) last: bool,
}

/// The call that a line belongs to, where that is certain.
#[derive(Clone, Debug, Default)]
pub(super) struct Of {
    pub(super) call: Option<CallNumber>,
    pub(super) index: Option<u64>,
    /// The caller that has made the call.
    pub(super) caller: Option<Caller>,
}

/// Selects the lines to pass on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Lines {
    Whole,
    /// Also the last line if it is unfinished.
    All,
}

impl<R: AsFd> Output<R> {
    /// Creates the stream. `pipe` must not block.
    pub(super) fn new(pipe: Option<R>) -> Self {
        Self {
            pipe,
            pending: Vec::new(),
            read: 0,
            ends: VecDeque::new(),
            reports_ends: false,
            full: false,
            put_off: false,
        }
    }

    pub(super) fn pipe(&self) -> Option<&R> {
        self.pipe.as_ref()
    }

    /// Reads available output with `read` as long as there is room for it. At the end of the stream, removes
    /// the pipe from `epoll`: closing it would not do so if a child that this process has forked has the
    /// descriptor as well.
    pub(super) fn drain(
        &mut self,
        epoll: &OwnedFd,
        mut has_room: impl FnMut() -> bool,
        mut read: impl FnMut(&R, &mut Vec<u8>) -> rustix::io::Result<usize>,
    ) {
        let Some(pipe) = &self.pipe else {
            return;
        };
        // Usually there is little to read.
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

    /// Records that the worker reports from now on where output ends.
    pub(super) fn expect_ends(&mut self) {
        self.reports_ends = true;
    }

    /// Returns whether the worker reports where output ends, so that each line can be assigned to a call.
    pub(super) fn reports_ends(&self) -> bool {
        self.reports_ends
    }

    /// Records that the output of the next answered call ends here.
    pub(super) fn push_end(&mut self, end: OutputEnd) {
        if !self.reports_ends {
            return;
        }
        let is_full = self.ends.len() >= MOST_ENDS;
        match self.ends.back_mut() {
            // The call has printed nothing.
            Some(last) if last.at == end.at => last.last |= end.last,
            // Ignore a position that goes backwards: the worker's reports cannot be trusted.
            Some(last) if last.at > end.at || is_full => {}
            _ => self.ends.push_back(end),
        }
    }

    /// Returns whether output that belongs to an answer already received has not been read yet.
    pub(super) fn is_behind(&self) -> bool {
        self.ends.back().is_some_and(|last| self.read < last.at)
    }

    /// Passes on the output that belongs to answers already received.
    pub(super) fn pass_ended(&mut self, mut take: impl FnMut(&Of, &[u8])) {
        while let Some(end) = self.ends.pop_front_if(|end| end.at <= self.read) {
            let behind = usize::try_from(self.read - end.at).unwrap_or(usize::MAX);
            let length = self.pending.len().saturating_sub(behind);
            let lines = if end.last { Lines::All } else { Lines::Whole };
            self.pass(length, lines, |line| take(&end.of, line));
        }
    }

    /// Passes on the rest of what has been read.
    pub(super) fn pass_rest(&mut self, lines: Lines, take: impl FnMut(&[u8])) {
        let ended = self.pipe.is_none();
        let lines = if ended { Lines::All } else { lines };
        self.pass(self.pending.len(), lines, take);
        if self.pending.is_empty() && self.pending.capacity() > LONGEST_LINE {
            self.pending = Vec::new();
        }
    }

    /// Passes on the lines, including their newlines, of the first `length` bytes.
    fn pass(&mut self, length: usize, lines: Lines, mut take: impl FnMut(&[u8])) {
        let mut passed = 0;
        for line in self.pending[..length].split_inclusive(|byte| *byte == b'\n') {
            let mut rest = line;
            while !rest.is_empty() {
                let text = rest.strip_suffix(b"\n").unwrap_or(rest);
                let is_long = text.len() > LONGEST_LINE;
                let (piece, more) = rest.split_at(if is_long { LONGEST_LINE } else { rest.len() });
                // A line of the maximum length is not whole yet: its newline may follow.
                if is_long || piece.ends_with(b"\n") || lines == Lines::All {
                    take(piece);
                    passed += piece.len();
                }
                rest = more;
            }
        }
        self.pending.drain(..passed);
    }

    /// Returns whether any output has been read and not passed on.
    pub(super) fn is_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Removes the pipe from `epoll` if there was no room for more output, because it would be reported as
    /// readable again and again. Returns true if the pipe is removed.
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

    /// Adds the pipe to `epoll` again.
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
    /// The call that has printed the last line, where that is certain.
    last: Option<CallNumber>,
    text: Option<Arc<str>>,
}

impl Tail {
    pub(super) fn push(&mut self, of: &Of, line: &[u8]) {
        self.last = of.call;
        let line = String::from_utf8_lossy(line);
        if self.lines.len() == TAIL_LINES {
            self.lines.pop_front();
        }
        self.lines
            .push_back(excerpt(line.trim_end(), TAIL_WIDTH).into_owned());
        self.text = None;
    }

    /// Returns the last line and the call that has printed it, if that is certain.
    pub(super) fn last(&self) -> Option<(CallNumber, &str)> {
        Some((self.last?, self.lines.back()?))
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
        output.expect_ends();
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
    fn lines_are_assigned_to_calls_by_position() {
        let mut output = output(b"one\ntwo\nhalf");
        for (at, index) in [(4, 0), (9, 1), (30, 2)] {
            let (of, last) = (of(index), true);
            output.push_end(OutputEnd { at, of, last });
        }
        let expected = [(Some(0), "one\n".to_owned()), (Some(1), "two\n".to_owned())];
        // The ninth byte is the first of the second call's unfinished line.
        let half = (Some(1), "h".to_owned());
        let mut all = expected.to_vec();
        all.push(half);
        assert_eq!(passed(&mut output), all);
        assert!(output.is_behind());
        assert_eq!(output.pending, b"alf");
    }

    #[test]
    fn the_last_line_belongs_to_the_call_that_has_printed_it() {
        let mut tail = Tail::default();
        assert_eq!(tail.last(), None);
        let of = Of {
            call: Some(CallNumber(7)),
            ..Of::default()
        };
        tail.push(&of, b"page 3 of 9\n");
        assert_eq!(tail.last(), Some((CallNumber(7), "page 3 of 9")));
        tail.push(&Of::default(), b"of some call\n");
        assert_eq!(tail.last(), None);
    }

    #[test]
    fn impossible_positions_are_ignored() {
        let mut output = output(b"one\n");
        for at in [4, 2, 4] {
            let (of, last) = (of(at), false);
            output.push_end(OutputEnd { at, of, last });
        }
        assert_eq!(passed(&mut output), [(Some(4), "one\n".to_owned())]);
        output.pending.clear();
        let (of, last) = (of(1), true);
        output.push_end(OutputEnd { at: 0, of, last });
        assert_eq!(passed(&mut output), []);
    }

    #[test]
    fn a_line_that_another_call_may_continue_is_kept() {
        let mut output = output(b"one\nhalf");
        let (of, last) = (of(0), false);
        output.push_end(OutputEnd { at: 8, of, last });
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

    #[test]
    fn a_line_of_the_maximum_length_is_one_line() {
        let mut output = output(&[b'x'; LONGEST_LINE]);
        let pass = |output: &mut Output<OwnedFd>, lines| {
            let mut pieces = Vec::new();
            let length = output.pending.len();
            output.pass(length, lines, |line| pieces.push(line.len()));
            pieces
        };
        assert!(pass(&mut output, Lines::Whole).is_empty());
        output.pending.extend(b"\ny\n");
        assert_eq!(pass(&mut output, Lines::Whole), [LONGEST_LINE + 1, 2]);

        output.pending = vec![b'x'; 2 * LONGEST_LINE];
        assert_eq!(pass(&mut output, Lines::Whole), [LONGEST_LINE]);
        assert_eq!(pass(&mut output, Lines::All), [LONGEST_LINE]);
    }
}
