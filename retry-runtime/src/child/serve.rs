//! The worker's main loop: take a call, run it, answer.

use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;

use super::call_reader::CallReader;
use super::faults;
#[cfg(feature = "tracing")]
use super::nested::Upstream;
use super::printed;
use super::result_writer::{Remarks, ResultWriter};
use super::stopwatch::Stopwatch;
use super::watchdog::Watchdog;
use super::{Orders, PANICKED, ParentLink, STRANGER, exit, flush_stdout, refuse};
use crate::api::excerpt::excerpt;
use crate::function::current::{self, Current};
use crate::function::driver::{Driver, Ends};
use crate::function::invocation::Input;
use crate::function::invocation::{Invocation, State};
use crate::function::on_start;
use crate::function::panics;
use crate::function::registry::{self, Run, Served};
use crate::function::reporting;
use crate::spans::forwarder;
#[cfg(feature = "tracing")]
use crate::spans::forwarder::Hooks;
use crate::sys::exit_if_forked;
use crate::sys::memory;
use crate::sys::{self, Mark};
use crate::wire::ControlBlock;
use crate::wire::frame::{CallHeader, Kind, Order};
use crate::wire::handshake::Hello;

pub(super) struct Server {
    pub(super) socket: Arc<OwnedFd>,
    pub(super) control: Arc<ControlBlock>,
    pub(super) results: Rc<ResultWriter>,
    pub(super) printed: printed::Output,
    pub(super) limit: usize,
    function: String,
    config: Vec<u8>,
    fails: bool,
    /// The most verbose level of events that the program recorded when it started this worker.
    #[cfg_attr(
        not(feature = "tracing"),
        expect(dead_code, reason = "nothing is recorded")
    )]
    level: u8,
    pub(super) calls: CallReader,
    /// Already running if there was time to start it before the orders arrived.
    watchdog: Option<Watchdog>,
    parent: u32,
    /// Identifies this process: user code may return in a child that it has forked.
    pub(super) mark: Mark,
}

impl Server {
    pub(super) fn new(
        link: ParentLink,
        control: ControlBlock,
        orders: Orders,
        watchdog: Option<Watchdog>,
    ) -> Self {
        let ParentLink { socket, parent } = link;
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
            level: orders.level,
            watchdog,
            parent,
            mark: Mark::current(),
        }
    }

    pub(super) fn run(mut self) -> ! {
        // Send this first, so that the parent wakes up while this thread does the rest.
        let hello = Hello {
            fingerprint: registry::fingerprint(),
        };
        self.results.tell(Kind::Hello, &hello.encode());
        let start = || Watchdog::start(Arc::clone(&self.socket), self.parent);
        let watchdog = self.watchdog.take().map_or_else(start, Ok);
        let watchdog = watchdog.unwrap_or_else(|error| {
            refuse(format_args!(
                "there is no thread or descriptor for it: {error}"
            ))
        });
        watchdog.look_after(self.results.kept());
        reporting::install(Arc::clone(&self.control));
        panics::install();
        current::install(Arc::clone(&self.control));
        let (served, state) = match self.prepare() {
            Ok(prepared) => prepared,
            Err(message) => {
                flush_stdout();
                let message = excerpt(&message, self.limit);
                self.results.tell(Kind::SetUpFailed, message.as_bytes());
                // The parent has the reason; the code only ends the process.
                exit(1);
            }
        };
        // Discard what the panic hook recorded during set-up. The set-up may also have installed its own
        // hook.
        panics::forget();
        panics::install();
        forwarder::install();
        reporting::set_slots(served.spec().at_once());
        flush_stdout();
        self.printed.begin(&self.results);
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
        // The hook has printed a panic by now, and the connection is closed: there is no further report to
        // make.
        let ended = catch_unwind(AssertUnwindSafe(|| {
            let _ends = Ends;
            served.tear_down(state);
        }));
        exit_if_forked(self.mark, if ended.is_ok() { 0 } else { PANICKED });
        exit(0)
    }

    /// Runs calls one after the other, until the parent closes the connection.
    fn serve(&mut self, watchdog: &Watchdog, served: &Served, state: &State) {
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
        let mut stopwatch = Stopwatch::new(Arc::clone(control));
        // When the current input began, by the processor's counter.
        let mut begun = None;
        // One `Invocation` for all calls: moving it would stall on the stores that have just written it.
        let mut invocation = Invocation::new(Input::default(), state.clone(), self.limit);
        let spec = served.spec();
        invocation.keep_output(spec.memory.is_none() && spec.max_rss_growth.is_none());
        // Begin once, not for each call.
        let _telling = panics::Telling::begin();
        while let Some(header) = next_call(calls, &mut invocation, results, watchdog) {
            let (ticket, fault) = (header.ticket, header.fault);
            forwarder::raise(header.level);
            // A function that does not yield learns of requests to stop from the control block.
            if header.order != Order::Run || !control.claim_ahead(0, ticket) {
                // The recalled input may be the last one for a long time.
                stopwatch.stop();
                continue;
            }
            let Some(Run::Blocking(run)) = served.run(header.method) else {
                exit(STRANGER);
            };
            current::enter(Current::new(header, 0));
            // Start the clock last: claiming is slow if the parent has just read the control block.
            control.set_start(0, stopwatch.begin());
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
            // Output that precedes the result must be written before the result is sent.
            flush_stdout();
            let goes_on = kind == Kind::Ok
                && calls.is_within_chunk()
                && !growth.is_limited()
                && invocation.output().objects().is_empty();
            let now = sys::ticks();
            let took = now.wrapping_sub(since);
            if goes_on {
                let duration = stopwatch.lap();
                let looked = printed.report_end(results, ticket, took, true);
                begun = (!looked).then_some(now);
                let had_room = results.value(ticket, duration, invocation.output());
                if looked || !had_room {
                    // The time spent waiting for room must not count towards the next input.
                    stopwatch.stop();
                }
            } else {
                let duration = stopwatch.end().saturating_sub(control.paused(0));
                printed.report_end(results, ticket, took, false);
                let remarks = Remarks {
                    used_up: growth.check(),
                };
                results.answer_with(kind, ticket, duration, remarks, invocation.output());
            }
            control.clear_slot(0);
            if !printed.is_measured() {
                // Measure only after the first answer is on its way, so that no caller waits for the
                // measurement.
                results.flush();
                printed.measure();
                begun = None;
                // The first call may have installed its own panic hook.
                panics::install();
                stopwatch.stop();
            }
            invocation.clear();
        }
        current::leave();
    }

    /// Runs the program's `#[on_start]` functions, looks up the function or service to serve and runs its
    /// set-up.
    fn prepare(&self) -> Result<(Served, State), String> {
        let started = on_start::run();
        exit_if_forked(self.mark, if started.is_ok() { 0 } else { PANICKED });
        started?;
        let served = registry::served(&self.function);
        let served = served.map_err(|error| error.message(&self.function))?;
        if self.fails {
            return Err(crate::job::faults::MESSAGE.to_owned());
        }
        self.prepare_spans(&served);
        let set_up = forwarder::during_set_up(|| panics::catch(|| served.set_up(&self.config)));
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

#[cfg(feature = "tracing")]
impl Server {
    /// Prepares the subscriber that sends spans and events to the parent.
    fn prepare_spans(&self, served: &Served) {
        let (control, slots) = (Arc::clone(&self.control), served.spec().at_once());
        let hooks = Hooks {
            send: |batch| {
                if let Some(upstream) = Upstream::get() {
                    upstream.send_spans(batch);
                }
            },
            ticket: Box::new(move || {
                let here = current::current().map(|current| current.ticket());
                here.unwrap_or_else(|| {
                    // Another thread works for the one call that is executing, if there is just one.
                    let mut executing = control.executing(slots).map(|(ticket, _)| ticket);
                    let first = executing.next();
                    first.filter(|_| executing.next().is_none()).unwrap_or(0)
                })
            }),
        };
        forwarder::prepare(hooks, self.level);
    }
}

#[cfg(not(feature = "tracing"))]
impl Server {
    fn prepare_spans(&self, _: &Served) {}
}

/// Waits for the next call. Returns `None` if the parent has closed the connection.
#[inline]
fn next_call<'a>(
    calls: &'a mut CallReader,
    invocation: &mut Invocation,
    results: &ResultWriter,
    watchdog: &Watchdog,
) -> Option<&'a CallHeader> {
    while !calls.take_into(invocation.input()) {
        // Release the previous input before waiting: it may hold a large buffer.
        *invocation.input() = Input::default();
        results.flush();
        if !calls.wait(Some(invocation)) {
            return None;
        }
    }
    // Otherwise the parent would not be woken for earlier answers until this call ends.
    if results.start_watch() && !watchdog.ring() {
        results.flush();
    }
    Some(calls.header())
}

/// Tracks whether this process has grown by more than `max_rss_growth` since its first call.
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

    /// Measures the memory and returns whether the growth exceeds the limit. The first call records the
    /// baseline, so call it after each input.
    pub(super) fn check(&mut self) -> bool {
        let Some(most) = self.most else { return false };
        let now = memory::own();
        let baseline = *self.baseline.get_or_insert(now);
        now.saturating_sub(baseline) > most
    }
}
