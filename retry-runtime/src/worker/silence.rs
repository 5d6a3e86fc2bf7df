//! Which functions have certainly printed nothing.
//!
//! What a function has printed is passed on before its answer, so that the parent looks into the
//! worker's pipes first, which takes longer than all else that it does about a quick call. But who
//! prints makes a system call, and a function that took less time than that has made none.

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
    /// Times how long it takes to write a byte to a pipe.
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
    let (_reader, writer) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).ok()?;
    (0..TIMED)
        .map(|_| {
            let begun = sys::monotonic_nanos();
            let written = rustix::io::write(&writer, b"x");
            let took = sys::monotonic_nanos().saturating_sub(begun);
            written.ok().map(|_| took)
        })
        .min()?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_prints_is_not_silent() {
        let mut silence = Silence::default();
        assert!(!silence.is_certain(0), "nothing is known yet");
        silence.measure();
        let (_reader, writer) = pipe_with(PipeFlags::NONBLOCK).unwrap();
        for _ in 0..1000 {
            let begun = sys::monotonic_nanos();
            rustix::io::write(&writer, b"x").unwrap();
            assert!(!silence.is_certain(sys::monotonic_nanos() - begun));
        }
        assert!(!silence.is_certain(u64::MAX));
    }
}
