//! Programs on systems without worker processes.

use std::sync::Once;

use crate::config::start;
use crate::function::{on_start, registry};
use crate::job::caller::Caller;
use crate::job::capture;
use crate::wire::launch::{self, Entry};

/// Checks the environment, and runs what has to run at the start. There are no worker processes on this system.
pub(crate) fn init() {
    static ENTERED: Once = Once::new();
    ENTERED.call_once(|| start::begin(registry::descriptions));
    launch::enter(Entry::Main);
    on_start::run_or_exit();
}

/// Does the same as [`init`] in a test. The caller must keep the returned value until the test ends.
pub fn enter_test(path: &'static str) -> impl Sized {
    launch::enter(Entry::Test(path.to_owned()));
    on_start::run_or_panic();
    capture::begin(|| Caller::thread().0)
}

/// A worker's half of nested calls.
pub(crate) mod nested {
    use std::sync::Arc;

    use crate::api::failure::Rejected;
    use crate::api::options::Options;
    use crate::api::run::RunId;
    use crate::function::callee::Callee;
    use crate::job::Job;
    use crate::job::caller::Caller;
    use crate::job::delivery::Deliver;
    use crate::job::outcome::CallKey;

    /// A worker's connection for nested calls.
    pub(crate) enum Upstream {}

    impl Upstream {
        pub(crate) fn get() -> Option<&'static Self> {
            None
        }

        pub(crate) fn is_foreign(&self) -> bool {
            match *self {}
        }

        pub(crate) fn run(&self) -> RunId {
            match *self {}
        }

        pub(crate) fn max_message(&self) -> usize {
            match *self {}
        }

        pub(crate) fn max_buffered(&self) -> usize {
            match *self {}
        }

        pub(crate) fn options(&self) -> Options {
            match *self {}
        }

        pub(crate) fn submit(&self, _: &Callee, _: Job) -> Result<CallKey, Rejected> {
            match *self {}
        }

        pub(crate) fn cancel(&self, _: CallKey) {
            match *self {}
        }

        pub(crate) fn hold(&self, _: Caller, _: impl FnOnce() -> Option<Option<u64>>) {
            match *self {}
        }

        pub(crate) fn cancel_all(&self, _: &Arc<dyn Deliver>) {
            match *self {}
        }
    }
}
