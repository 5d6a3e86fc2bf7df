//! The worker's loop: take a call, run it, answer.

use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;

use super::call_reader::CallReader;
use super::faults;
use super::printed;
use super::result_writer::{Remarks, ResultWriter};
use super::stopwatch::Stopwatch;
use super::watchdog::Watchdog;
use super::{Link, Orders, PANICKED, STRANGER, exit, flush_stdout, refuse};
use crate::api::excerpt::excerpt;
use crate::codec::buffers::RetainGuard;
use crate::function::current::{self, Current};
use crate::function::driver::{Driver, Ends};
use crate::function::invocation::Input;
use crate::function::invocation::{Invocation, State};
use crate::function::panics;
use crate::function::registry::{self, NotFound, Run, Served};
use crate::function::reporting;
use crate::sys::exit_if_forked;
use crate::sys::memory;
use crate::sys::{self, Mark};
use crate::wire::ControlBlock;
use crate::wire::frame::{CallHeader, Kind, Order};

pub(super) struct Server {
    pub(super) socket: Arc<OwnedFd>,
    pub(super) control: Arc<ControlBlock>,
    pub(super) results: Rc<ResultWriter>,
    pub(super) printed: printed::Output,
    pub(super) limit: usize,
    function: String,
    config: Vec<u8>,
    fails: bool,
    pub(super) calls: CallReader,
    /// There already, where there was time to start it.
    watchdog: Option<Watchdog>,
    parent: u32,
    /// This process: user code may come back in a child that it has forked.
    pub(super) mark: Mark,
}

impl Server {
    pub(super) fn new(
        link: Link,
        control: ControlBlock,
        orders: Orders,
        watchdog: Option<Watchdog>,
    ) -> Self {
        let Link { socket, parent } = link;
        let limit = usize::try_from(orders.limit).unwrap_or(usize::MAX);
        let (writer, reader) = control.worker_ends(&socket);
        let control = Arc::new(control);
        Self {
            results: Rc::new(ResultWriter::new(Arc::clone(&socket), writer)),
            calls: CallReader::new(Arc::clone(&socket), reader),
            socket,
            printed: printed::Output::new(Arc::clone(&control)),
            control,
            limit,
            function: orders.function,
            config: orders.config,
            fails: orders.fails,
            watchdog,
            parent,
            mark: Mark::current(),
        }
    }

    pub(super) fn run(mut self) -> ! {
        // First this, so that the parent wakes up while the rest is done.
        let fingerprint = registry::fingerprint().to_le_bytes();
        self.results.tell(Kind::Hello, &fingerprint);
        let start = || Watchdog::start(Arc::clone(&self.socket), self.parent);
        let watchdog = self.watchdog.take().map_or_else(start, Ok);
        let watchdog = watchdog.unwrap_or_else(|error| {
            refuse(format_args!(
                "there is no thread or descriptor for it: {error}"
            ))
        });
        watchdog.sends(self.results.kept());
        reporting::install(Arc::clone(&self.control));
        panics::install();
        current::install(Arc::clone(&self.control));
        let (served, state) = match self.prepare() {
            Ok(prepared) => prepared,
            Err(message) => {
                flush_stdout();
                let message = excerpt(&message, self.limit);
                self.results.tell(Kind::SetUpFailed, message.as_bytes());
                // The parent has the reason; this only ends the process.
                exit(1);
            }
        };
        // What the set-up has caught. It may have installed a hook of its own.
        panics::forget();
        panics::install();
        reporting::serves(served.spec().at_once());
        flush_stdout();
        self.printed.begins(&self.results);
        self.results.tell(Kind::Ready, &[]);
        match (Driver::existing(), served.run(0)) {
            (Some(driver), _) if served.is_async() => {
                super::concurrent::serve(&mut self, &served, &state, &driver);
            }
            (driver, Some(Run::Batch(run))) => {
                let _entered = driver.as_ref().map(|driver| driver.enter());
                super::batch::serve(&mut self, &served, run, &state);
            }
            (driver, _) => {
                let _entered = driver.as_ref().map(|driver| driver.enter());
                self.serve(&watchdog, &served, &state);
            }
        }
        self.results.flush();
        // A panic has been printed, and there is nobody left to tell.
        let ended = catch_unwind(AssertUnwindSafe(|| {
            let _ends = Ends;
            served.tear_down(state);
        }));
        exit_if_forked(self.mark, if ended.is_ok() { 0 } else { PANICKED });
        exit(0)
    }

    /// Runs calls one after the other, until the parent ends the connection.
    fn serve(&mut self, watchdog: &Watchdog, served: &Served, state: &State) {
        // Where memory is limited none is kept.
        let limited = served.spec().memory.is_some() || served.spec().max_rss_growth.is_some();
        let _guard = (!limited).then(RetainGuard::new);
        let Self {
            calls,
            control,
            results,
            printed,
            mark,
            ..
        } = self;
        let mark = *mark;
        let mut growth = Growth::new(served);
        let mut stopwatch = Stopwatch::new();
        // When the input was begun, by the counter of the processor.
        let mut begun = None;
        // The same one for all: what is moved after it was written is waited for.
        let mut invocation = Invocation::new(Input::default(), state.clone(), self.limit);
        // Not anew for each call.
        let _telling = panics::Telling::begin();
        while let Some(header) = next_call(calls, invocation.input(), results, watchdog) {
            let (ticket, fault, timed) = (header.ticket, header.fault, header.timed);
            // What a function that does not yield is to know stands on the control block.
            if header.order != Order::Run || !control.claim_ahead(0, ticket) {
                // What was taken back may have been the last for a long time.
                stopwatch.stop();
                continue;
            }
            let Some(Run::Blocking(run)) = served.run(header.method) else {
                exit(STRANGER);
            };
            current::enter(Current::new(header, 0));
            // After what takes its time where the parent has just looked at the control block.
            control.starts(0, stopwatch.begin());
            let since = begun.take().unwrap_or_else(sys::ticks);
            let ran = catch_unwind(AssertUnwindSafe(|| {
                faults::act(fault, results);
                run(&mut invocation);
            }));
            exit_if_forked(mark, if ran.is_ok() { 0 } else { PANICKED });
            if let Err(payload) = ran {
                invocation.panicked(payload);
            }
            panics::forget();
            let kind = invocation.kind();
            // What was printed before the result is to be out before the result is.
            flush_stdout();
            let goes_on = kind == Kind::Ok && calls.is_within_chunk() && !growth.is_limited();
            let now = sys::ticks();
            let took = now.wrapping_sub(since);
            if goes_on {
                let duration = stopwatch.lap(timed);
                let looked = printed.ended(results, ticket, took, true);
                begun = (!looked).then_some(now);
                let had_room = results.value(ticket, duration, invocation.output());
                if looked || !had_room {
                    // A wait for room is not the next one's time.
                    stopwatch.stop();
                }
            } else {
                let duration = stopwatch.end().saturating_sub(control.paused(0));
                printed.ended(results, ticket, took, false);
                let remarks = Remarks {
                    used_up: growth.is_exceeded(),
                };
                results.answer_with(kind, ticket, duration, remarks, invocation.output());
            }
            control.done(0);
            if !printed.is_measured() {
                // Not before the first answer is on its way, so that nobody waits for it.
                results.flush();
                printed.measure();
                begun = None;
                // The first call may have installed a hook of its own.
                panics::install();
                stopwatch.stop();
            }
            invocation.clear();
        }
        current::leave();
    }

    /// Finds what is to be served and runs its set-up.
    fn prepare(&self) -> Result<(Served, State), String> {
        let served = registry::served(&self.function).map_err(|error| match error {
            NotFound::Duplicate(places) => {
                format!("`{}` is registered twice, {places}", self.function)
            }
            NotFound::Missing(message) => message,
        })?;
        if self.fails {
            return Err(crate::job::faults::MESSAGE.to_owned());
        }
        let set_up = panics::told(|| served.set_up(&self.config));
        exit_if_forked(self.mark, if set_up.is_ok() { 0 } else { PANICKED });
        match set_up {
            Ok(state) => Ok((served, State::new(state?))),
            Err(payload) => Err(format!(
                "panicked: {}",
                panics::caught(payload, self.limit).in_full()
            )),
        }
    }
}

/// The next call, waiting for it; `None` when the parent has ended the connection.
#[inline]
fn next_call<'a>(
    calls: &'a mut CallReader,
    input: &mut Input,
    results: &ResultWriter,
    watchdog: &Watchdog,
) -> Option<&'a CallHeader> {
    while !calls.take_into(input) {
        // Its memory may be large.
        *input = Input::default();
        results.flush();
        if !calls.wait() {
            return None;
        }
    }
    // What is kept would else be kept for as long as this one runs.
    if results.needs_watching() && !watchdog.ring() {
        results.flush();
    }
    Some(calls.header())
}

/// Whether this process has grown by more than it may since its first call.
pub(super) struct Growth {
    most: Option<u64>,
    baseline: Option<u64>,
}

impl Growth {
    pub(super) fn new(served: &Served) -> Self {
        Self {
            most: served.spec().max_rss_growth,
            baseline: None,
        }
    }

    pub(super) fn is_limited(&self) -> bool {
        self.most.is_some()
    }

    /// Called after each call.
    pub(super) fn is_exceeded(&mut self) -> bool {
        let Some(most) = self.most else { return false };
        let now = memory::own();
        let baseline = *self.baseline.get_or_insert(now);
        now.saturating_sub(baseline) > most
    }
}
