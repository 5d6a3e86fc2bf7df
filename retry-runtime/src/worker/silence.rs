//! Which functions have certainly printed nothing.
//!
//! What a function has printed is passed on before its answer, so that the parent looks into the
//! worker's pipes first, which takes longer than all else that it does about a quick call. But who
//! prints makes a system call, and a function that took less time than that has made none.

use std::os::fd::OwnedFd;

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::pipe::{PipeFlags, pipe_with};

use crate::sys;

/// How often a print is timed: the first ones are slower than they have to be.
const TIMED: usize = 8;

/// How many times as fast as the fastest one was a print may be at another moment: the core may have
/// been slow while that was timed. A real print takes several times as long besides, since the parent
/// waits for what comes out of its pipe.
const FASTER: u64 = 2;

/// How long it takes at least to print anything, once there was time to measure it.
#[derive(Default)]
pub(super) struct Silence {
    shortest_print: Option<u64>,
}

impl Silence {
    /// Times how long it takes to write a byte to a pipe that is watched, as those of a worker are.
    pub(super) fn measure(&mut self) {
        self.shortest_print = Some(shortest_write().map_or(0, |nanos| nanos / FASTER));
    }

    pub(super) fn is_measured(&self) -> bool {
        self.shortest_print.is_some()
    }

    /// Whether a function that ran for so many nanoseconds has printed nothing.
    pub(super) fn is_certain(&self, duration: u64) -> bool {
        self.shortest_print
            .is_some_and(|shortest| duration < shortest)
    }
}

fn shortest_write() -> Option<u64> {
    let (_watch, _reader, writer) = watched_pipe().ok()?;
    (0..TIMED)
        .map(|_| {
            let begun = sys::monotonic_nanos();
            let written = rustix::io::write(&writer, b"x");
            let took = sys::monotonic_nanos().saturating_sub(begun);
            written.ok().map(|_| took)
        })
        .min()?
}

/// A pipe, and what watches it, as a parent does.
fn watched_pipe() -> rustix::io::Result<(OwnedFd, OwnedFd, OwnedFd)> {
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
    let watch = epoll::create(CreateFlags::CLOEXEC)?;
    epoll::add(&watch, &reader, EventData::new_u64(0), EventFlags::IN)?;
    Ok((watch, reader, writer))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_prints_is_not_silent() {
        let mut silence = Silence::default();
        assert!(!silence.is_certain(0), "nothing is known yet");
        silence.measure();
        let (_watch, _reader, writer) = watched_pipe().unwrap();
        for _ in 0..1000 {
            let begun = sys::monotonic_nanos();
            rustix::io::write(&writer, b"x").unwrap();
            assert!(!silence.is_certain(sys::monotonic_nanos() - begun));
        }
        assert!(!silence.is_certain(u64::MAX));
    }
}
