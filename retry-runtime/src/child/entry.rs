//! The worker check, which determines if this process is a worker and if it may start workers.

use std::io::Write;
use std::sync::Once;

use super::origin::Origin;
use crate::config::start;
use crate::function::{on_start, registry};
use crate::job::caller::Caller;
use crate::job::capture;
use crate::sys::children;
use crate::wire::KEY_VARIABLE;
use crate::wire::launch::{self, Entry, MARK};

/// Turns this process into a worker if it was started as one; otherwise allows it to start workers, and runs what has to
/// run at the start.
pub(crate) fn init() {
    enter(Entry::Main);
    on_start::run_or_exit();
}

/// Does the same in a test: a worker is the test binary, told to run only this test. The caller
/// must keep the returned value until the test ends.
pub fn enter_test(path: &'static str) -> impl Sized {
    // The test harness names tests without the crate name.
    let name = path.split_once("::").map_or(path, |(_, name)| name);
    enter(Entry::Test(name.to_owned()));
    on_start::run_or_panic();
    capture::begin(|| Caller::thread().0)
}

fn enter(entry: Entry) {
    static ENTERED: Once = Once::new();
    // Serve outside of `call_once`: a function may run code that calls `init`.
    let mut link = None;
    ENTERED.call_once(|| {
        children::keep();
        match Origin::find() {
            Origin::Program if matches!(entry, Entry::Main) => start::begin(registry::descriptions),
            Origin::Program => {}
            Origin::Worker(found) => link = Some(found),
            Origin::Unfit(problem) => super::refuse(format_args!(
                "{problem}. If it is a program of its own, start it without {KEY_VARIABLE}"
            )),
        }
        launch::enter(entry);
    });
    if let Some(link) = link {
        if launch::marks_output() {
            let mut stdout = std::io::stdout().lock();
            let _ = stdout.write_all(MARK).and_then(|()| stdout.flush());
        }
        super::serve(link);
    }
}
