//! What workers print: passed on line by line, and the last lines kept for error reports.

use std::collections::VecDeque;
use std::io::Read;
use std::sync::Arc;

use crate::events::Stream;

/// How many lines of standard error are kept.
const TAIL_LINES: usize = 20;

/// How many bytes of each of them.
const TAIL_WIDTH: usize = 400;

/// A line that is longer is passed on in pieces.
const LONGEST_LINE: usize = 64 * 1024;

/// How much is read at a turn, so that one chatty worker does not keep the others waiting.
const PER_TURN: usize = 1024 * 1024;

/// One output stream of a worker.
pub(super) struct Output<R> {
    pipe: Option<R>,
    line: Vec<u8>,
}

impl<R: Read> Output<R> {
    /// `pipe` does not block.
    pub(super) fn new(pipe: Option<R>) -> Self {
        Self {
            pipe,
            line: Vec::new(),
        }
    }

    pub(super) fn pipe(&self) -> Option<&R> {
        self.pipe.as_ref()
    }

    /// Reads what is there and calls `take` with each line, newline included. True when the
    /// stream has ended.
    pub(super) fn drain(&mut self, mut take: impl FnMut(&[u8])) -> bool {
        let Some(pipe) = &mut self.pipe else {
            return false;
        };
        let mut buffer = [0; 16 * 1024];
        let mut total = 0;
        let ended = loop {
            match pipe.read(&mut buffer) {
                Ok(0) => break true,
                Ok(read) => {
                    total += read;
                    for piece in buffer[..read].split_inclusive(|byte| *byte == b'\n') {
                        self.line.extend_from_slice(piece);
                        if piece.ends_with(b"\n") || self.line.len() >= LONGEST_LINE {
                            take(&self.line);
                            self.line.clear();
                        }
                    }
                    if total >= PER_TURN {
                        break false;
                    }
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break false,
                Err(_) => break true,
            }
        };
        if ended {
            self.pipe = None;
            self.finish(take);
        }
        ended
    }

    /// Passes on a last line without a newline.
    pub(super) fn finish(&mut self, mut take: impl FnMut(&[u8])) {
        if !self.line.is_empty() {
            self.line.push(b'\n');
            take(&self.line);
            self.line.clear();
        }
    }
}

/// Passes a line on to this program's own stream: to the descriptor itself, since the program may
/// hold the lock of its standard output for as long as it waits for a call. That the stream is
/// closed, or full and not to be waited for, is no failure of ours.
pub(super) fn forward(stream: Stream, mut line: &[u8]) {
    let _room = crate::progress::make_room();
    let file = match stream {
        Stream::Stdout => rustix::stdio::stdout(),
        Stream::Stderr => rustix::stdio::stderr(),
    };
    while !line.is_empty() {
        match rustix::io::write(file, line) {
            Ok(written) => line = &line[written..],
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return,
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
        let line = &line[..line.len().min(TAIL_WIDTH)];
        if self.lines.len() == TAIL_LINES {
            self.lines.pop_front();
        }
        self.lines
            .push_back(String::from_utf8_lossy(line).trim_end().to_owned());
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
