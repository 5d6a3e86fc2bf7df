//! The backend whose workers are threads of this process, for debuggers and coverage.
//!
//! Everything else works as with processes: arguments and results go through the codec, and
//! retries, deadlines and limits apply. Without a process, a function that is stopped keeps its
//! thread until it returns, and a crash ends the program.

use std::cell::Cell;
use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::api::failure::{ExitCause, Startup};
use crate::function::current::{self, Current};
use crate::function::driver::{Driver, Ends};
use crate::function::invocation::{Input, Invocation, Output, State};
use crate::function::registry::{self, Run};
use crate::function::{on_start, panics, reporting};
use crate::local::LocalEngine;
use crate::local::answer::decode_answer;
use crate::local::backend::{Backend, StartRequest};
use crate::local::core::Core;
use crate::local::link::{Link, executing};
use crate::scheduler::{Answer, AnswerReport, Executing, ExitReport, Inbound, Progress, WorkerKey};
use crate::sys::{self, Mark, attributes};
use crate::wait::spin::Spin;
use crate::wait::{AnswerSource, Waiter};
use crate::wire::Corrupt;
use crate::wire::LONGEST_PAUSE;
use crate::wire::frame::{self, AnswerHeader, CallHeader, Kind, Order};

/// The call that an inline worker executes.
#[derive(Clone, Copy)]
struct CurrentCall {
    /// The address of its engine: another engine may have a worker with the same key.
    engine: usize,
    worker: WorkerKey,
    ticket: u64,
    mark: Mark,
}

thread_local! {
    static CURRENT: Cell<Option<CurrentCall>> = const { Cell::new(None) };
}

fn address(engine: &LocalEngine) -> usize {
    std::ptr::from_ref(engine).addr()
}

/// Returns the worker of an engine that this thread is, and the ticket that it executes. In a child process
/// that the function has forked, returns none.
fn worker_here(engine: &LocalEngine) -> Option<(WorkerKey, u64)> {
    let execution = CURRENT.get()?;
    let is_here = execution.engine == address(engine) && execution.mark.is_current();
    is_here.then_some((execution.worker, execution.ticket))
}

/// The state that a worker thread and its link share.
#[derive(Default)]
struct SharedCalls {
    state: Mutex<Calls>,
    changed: Condvar,
    /// The total time, in nanoseconds, for which the program has been suspended.
    suspended: AtomicU64,
}

#[derive(Default)]
struct Calls {
    calls: VecDeque<(CallHeader, Bytes)>,
    claimed: u64,
    executing: Option<ClaimedCall>,
    /// Set once no further calls will come.
    closed: bool,
}

/// The call that the thread is executing.
struct ClaimedCall {
    ticket: u64,
    /// The call as its function sees it.
    current: Current,
    started: u64,
    /// The total time that failure reports had taken when the call began, in nanoseconds.
    reported: u64,
}

impl ClaimedCall {
    fn shown(&self) -> Executing {
        executing((self.ticket, self.started + self.paused()))
    }

    /// Returns how many nanoseconds of the call's time do not count.
    fn paused(&self) -> u64 {
        let reported = reporting::total().saturating_sub(self.reported);
        reported.min(LONGEST_PAUSE)
    }
}

impl SharedCalls {
    fn lock(&self) -> MutexGuard<'_, Calls> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the running time in nanoseconds.
    fn now(&self) -> u64 {
        let suspended = self.suspended.load(Ordering::Acquire);
        sys::monotonic_nanos().saturating_sub(suspended)
    }

    /// Waits for the next call and claims it. Returns none once no further calls will come.
    fn next(&self) -> Option<(CallHeader, Bytes, Current)> {
        let mut inbox = self.lock();
        loop {
            if let Some((header, input)) = inbox.calls.pop_front() {
                let current = Current::inline(&header);
                inbox.claimed = header.ticket;
                inbox.executing = Some(ClaimedCall {
                    ticket: header.ticket,
                    current,
                    started: self.now(),
                    reported: reporting::total(),
                });
                return Some((header, input, current));
            }
            if inbox.closed {
                return None;
            }
            inbox = self
                .changed
                .wait(inbox)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

struct InlineLink(Arc<SharedCalls>);

impl Link for InlineLink {
    fn send(&mut self, header: &CallHeader, input: &Bytes) -> bool {
        if header.order == Order::Run {
            let calls = frame::calls(*header, input.clone());
            let mut inbox = self.0.lock();
            let claimed = inbox.claimed;
            // A ticket that was recalled before it was sent must not run.
            let calls = calls.filter(|(header, _)| header.ticket > claimed);
            inbox.calls.extend(calls);
            drop(inbox);
            self.0.changed.notify_one();
        }
        false
    }

    fn flush(&mut self) -> Result<bool, Corrupt> {
        Ok(false)
    }

    fn recall(&mut self, last: u64) -> Option<u64> {
        let mut inbox = self.0.lock();
        inbox.calls.clear();
        Some(std::mem::replace(&mut inbox.claimed, last))
    }

    fn ask(&self, ticket: u64) {
        let inbox = self.0.lock();
        if let Some(call) = inbox.executing.as_ref().filter(|one| one.ticket == ticket) {
            call.current.ask_inline();
        }
    }

    fn progress(&self) -> Progress {
        let inbox = self.0.lock();
        Progress {
            claimed: inbox.claimed,
            is_sending: false,
            executing: inbox.executing.iter().map(ClaimedCall::shown).collect(),
            polled: None,
        }
    }

    fn memory(&self) -> u64 {
        0
    }

    fn terminate(&self) {}

    fn kill(&mut self) -> Option<ExitReport> {
        let mut inbox = self.0.lock();
        inbox.closed = true;
        inbox.calls.clear();
        // The thread cannot be killed, but its function may stop by itself.
        if let Some(call) = &inbox.executing {
            call.current.ask_inline();
        }
        self.0.changed.notify_one();
        Some(report(inbox.claimed))
    }

    fn retire(&mut self) {
        self.0.lock().closed = true;
        self.0.changed.notify_one();
    }

    fn set_suspended(&mut self, total: Duration) {
        let nanos = sys::nanos_of(total);
        self.0.suspended.store(nanos, Ordering::Release);
    }
}

fn report(claimed: u64) -> ExitReport {
    ExitReport {
        cause: ExitCause::Unknown,
        claimed,
        has_outlived_lease: false,
        panic: None,
        stderr_tail: None,
    }
}

/// The inline backend: worker threads, and the thread that runs the timers.
pub(crate) struct Inline(Arc<TimerBell>);

impl Inline {
    pub(crate) fn new() -> Self {
        Self(Arc::default())
    }
}

/// The bell that wakes the thread that runs the timers.
#[derive(Default)]
struct TimerBell {
    is_rung: Mutex<bool>,
    rung: Condvar,
}

impl TimerBell {
    fn ring(&self) {
        *self.lock() = true;
        self.rung.notify_one();
    }

    /// Waits until the bell rings or the time has come.
    fn wait(&self, until: Option<Instant>) {
        let mut is_rung = self.lock();
        while !std::mem::take(&mut *is_rung) {
            is_rung = match until {
                None => self
                    .rung
                    .wait(is_rung)
                    .unwrap_or_else(PoisonError::into_inner),
                Some(until) => {
                    let left = until.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return;
                    }
                    let waited = self.rung.wait_timeout(is_rung, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }

    fn lock(&self) -> MutexGuard<'_, bool> {
        self.is_rung.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Backend for Inline {
    fn start(&self, engine: &Arc<LocalEngine>) -> io::Result<()> {
        let (engine, clock) = (Arc::clone(engine), Arc::clone(&self.0));
        std::thread::Builder::new()
            .name("retry-clock".to_owned())
            .spawn(move || {
                // Inline workers inherit them from this thread.
                attributes::adopt();
                while !engine.is_drained() {
                    engine.step(|core, now| core.scheduler.tick(now, Inbound::Drained));
                    let until = engine.step(|core, _| core.arm());
                    clock.wait(until);
                }
            })?;
        Ok(())
    }

    /// Adds the worker's link at once; its thread starts soon after.
    fn start_worker(&self, core: &mut Core, request: StartRequest) {
        let shared = Arc::new(SharedCalls::default());
        let link = Box::new(InlineLink(Arc::clone(&shared)));
        let (worker, now) = (request.worker, core.now());
        core.adopt(now, worker, std::process::id(), link);
        let thread = std::thread::Builder::new()
            .name("retry-inline".to_owned())
            .stack_size(sys::main_stack_size());
        if let Err(error) = thread.spawn(move || serve(&request, &shared)) {
            core.unlink(worker);
            core.abandon(now, worker, &error);
        }
    }

    fn may_start_workers(&self) -> bool {
        true
    }

    fn wake(&self) {
        self.0.ring();
    }

    fn close(&self) {}

    fn is_closed(&self) -> bool {
        true
    }

    fn current(&self, engine: &LocalEngine) -> Option<(WorkerKey, u64)> {
        worker_here(engine)
    }

    fn poll_answers(
        &self,
        _: &LocalEngine,
        _: &[Arc<dyn AnswerSource>],
        spin: &mut Spin,
        enough: &mut dyn FnMut() -> bool,
    ) {
        spin.look_until(enough);
    }

    fn park_at(
        &self,
        _: &LocalEngine,
        _: &Arc<dyn AnswerSource>,
        _: Option<Instant>,
        _: &dyn Waiter,
        _: &mut Spin,
    ) -> bool {
        false
    }

    fn hand_over(&self, _: Arc<dyn AnswerSource>) {}
}

fn serve(request: &StartRequest, shared: &SharedCalls) {
    let StartRequest { engine, worker, .. } = request;
    let worker = *worker;
    panics::install();
    let ends = Ends;
    // `init` has run them, but inline workers do not require it.
    let set_up = on_start::run()
        .and_then(|()| {
            let served = registry::served(request.function);
            served.map_err(|error| error.message(request.function))
        })
        .and_then(|served| {
            let config = request.config.as_deref().unwrap_or_default();
            match panics::catch(|| served.set_up(config)) {
                Ok(state) => Ok((served, State::new(state?))),
                Err(payload) => {
                    let panic = panics::caught(payload, engine.max_message());
                    Err(format!("panicked: {}", panic.in_full()))
                }
            }
        });
    let (served, state) = match set_up {
        Ok(ready) => ready,
        Err(reason) => {
            engine.step(|core, _| {
                let startup = Startup::SetUp(reason.into());
                core.scheduler.fail_start(worker, startup);
            });
            return;
        }
    };
    // The set-up may have installed a panic hook of its own.
    panics::install();
    engine.step(|core, now| core.scheduler.mark_ready(now, worker));
    let driver = Driver::existing();
    let entered = driver.as_ref().map(|driver| driver.enter());
    while let Some((header, input, call)) = shared.next() {
        let Some(run) = served.run(header.method) else {
            break;
        };
        CURRENT.set(Some(CurrentCall {
            engine: address(engine),
            worker,
            ticket: header.ticket,
            mark: Mark::current(),
        }));
        let entered = enter_spans(engine, worker, &header);
        current::enter(call);
        let (kind, output) = invoke(engine, run, input, &state);
        current::leave();
        drop(entered);
        CURRENT.set(None);
        let executed = shared.lock().executing.take();
        call.end_inline();
        let duration = executed.map_or(0, |one| {
            // Under the engine's lock, so that a suspension that is just over is known.
            let now = engine.running_time();
            let passed =
                now.saturating_duration_since(sys::past_instant_of(one.started).unwrap_or(now));
            let nanos = sys::nanos_of(passed);
            nanos.saturating_sub(one.paused())
        });
        answer(engine, worker, header.ticket, duration, kind, output);
    }
    drop(entered);
    drop(driver);
    let _ = catch_unwind(AssertUnwindSafe(move || {
        let _ends = ends;
        served.tear_down(state);
    }));
    engine.step(|core, now| {
        core.unlink(worker);
        let report = report(shared.lock().claimed);
        core.scheduler.handle_exit(now, worker, report);
    });
}

/// Makes the span of an attempt that of this thread, if the caller has a subscriber.
fn enter_spans(engine: &LocalEngine, worker: WorkerKey, header: &CallHeader) -> Option<impl Sized> {
    let tracer = engine.tracer()?;
    let find = |core: &mut Core, _| {
        let call = core.scheduler.call_of(worker, header.ticket);
        call.map(|(id, _, job)| (id, job.spans.clone()))
    };
    // The step also waits for the one that has sent the call: it tells the tracer of the attempt.
    let (call, context) = engine.step(find)?;
    Some(tracer.enter(call, &context))
}

fn invoke(engine: &LocalEngine, run: Run, input: Bytes, state: &State) -> (Kind, Output) {
    let limit = engine.max_message();
    let mut invocation = Invocation::new(Input::Alone(input), state.clone(), limit);
    panics::forget();
    let ran = panics::catch(|| match run {
        Run::Blocking(run) => {
            run(&mut invocation);
            invocation
        }
        Run::Async(start) => Driver::get().block_on(start(invocation)),
        Run::Batch(run) => {
            run(std::slice::from_mut(&mut invocation));
            invocation
        }
    });
    let answer = match ran {
        Ok(invocation) => (invocation.kind(), invocation.into_output()),
        Err(payload) => {
            let mut output = Output::default();
            panics::encode(&panics::caught(payload, limit), output.instead());
            (Kind::Panicked, output)
        }
    };
    panics::forget();
    answer
}

fn answer(
    engine: &LocalEngine,
    worker: WorkerKey,
    ticket: u64,
    duration: u64,
    kind: Kind,
    output: Output,
) {
    let error = output.text().map(Into::into);
    let objects = output.objects().clone();
    let output = output.into_bytes();
    let header = AnswerHeader {
        length: 0,
        kind,
        used_up: false,
        ticket,
        duration,
    };
    let Ok(mut answer) = decode_answer(&header, output, engine.max_message()) else {
        return;
    };
    if let Answer::Ok(value) = answer {
        answer = Answer::Ok(objects.payload(value));
    }
    engine.step(|core, now| {
        let report = AnswerReport {
            answer,
            duration: Duration::from_nanos(duration),
            timed: 1,
            used_up: false,
            error,
            stderr_tail: None,
        };
        // The ticket is unknown if the call was stopped meanwhile.
        if let Ok(Some(function)) = core.scheduler.handle_answer(now, worker, ticket, report) {
            core.scheduler.dispatch(now, function);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_recalled_before_it_was_sent_does_not_run() {
        let shared = Arc::new(SharedCalls::default());
        let mut link = InlineLink(Arc::clone(&shared));
        let header = CallHeader {
            count: 1,
            ticket: 1,
            ..CallHeader::default()
        };
        assert_eq!(link.recall(1), Some(0));
        link.send(&header, &Bytes::new());
        link.send(
            &CallHeader {
                ticket: 2,
                ..header
            },
            &Bytes::new(),
        );
        link.retire();
        let run = std::iter::from_fn(|| shared.next()).map(|(header, ..)| header.ticket);
        assert_eq!(run.collect::<Vec<_>>(), [2]);
    }
}
