//! Triggers the faults that a test has planned.

#[cfg(not(feature = "testing"))]
mod absent {
    use crate::child::result_writer::ResultWriter;

    pub(crate) fn act(_: u16, _: &ResultWriter) {}
}

#[cfg(feature = "testing")]
mod present {
    use std::time::Duration;

    use rustix::process::{Signal, getpid, kill_process};

    use crate::child::result_writer::ResultWriter;
    use crate::job::faults::MESSAGE;
    use crate::job::faults::testing::KIND;
    use crate::wire::frame::Kind;

    /// Triggers a fault on the worker's thread.
    ///
    /// # Panics
    ///
    /// Panics if the planned fault is a panic.
    pub(crate) fn act(code: u16, results: &ResultWriter) {
        let amount = code & ((1 << KIND) - 1);
        match code >> KIND {
            1 => {
                let signal = Signal::from_named_raw(i32::from(amount)).unwrap_or(Signal::KILL);
                // Repeat it: Rust's own handler of SIGSEGV lets the first one pass.
                loop {
                    let _ = kill_process(getpid(), signal);
                }
            }
            2 => std::process::exit(i32::from(amount)),
            3 => panic!("{MESSAGE}"),
            4 => hang(),
            5 => std::thread::sleep(Duration::from_millis(10) * u32::from(amount)),
            6 => {
                results.garble();
                hang();
            }
            7 => {
                results.tell(Kind::OutOfMemory, &[]);
                hang();
            }
            _ => {}
        }
    }

    fn hang() -> ! {
        loop {
            std::thread::sleep(Duration::from_secs(3600));
        }
    }
}

#[cfg(not(feature = "testing"))]
pub(super) use absent::act;
#[cfg(feature = "testing")]
pub(super) use present::act;
