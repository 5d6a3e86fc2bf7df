//! Sums up a run while its records arrive. The memory that this takes depends on the number of functions and
//! of calls that have not ended, and not on the number of those that have.

use std::time::{Duration, SystemTime};

use super::super::attempts::{Span, Tracker, WorkerKey, Workers};
use super::super::failures::{End, Groups, OpenCalls};
use super::buckets::Rate;
use super::timeline::{Tally, Timeline};
use crate::api::call_id::CallNumber;
use crate::api::context::AttemptOutcome;
use crate::api::events::{CallOutcome, Event, EventKind, Record};
use crate::api::histogram::Histogram;
use crate::api::run::RunId;

/// Number of the slowest calls that are kept.
const SLOWEST: usize = 20;

/// The run that is summed up.
#[derive(Clone, Debug)]
pub(super) struct Head {
    pub(super) run: RunId,
    pub(super) host: &'static str,
    pub(super) begun: SystemTime,
}

/// The calls and workers of one function or service.
#[derive(Debug)]
pub(super) struct Function {
    pub(super) name: &'static str,
    pub(super) succeeded: u64,
    pub(super) after_retry: u64,
    pub(super) failed: u64,
    pub(super) cancelled: u64,
    pub(super) retried: u64,
    pub(super) tally: Tally,
    /// The time that all attempts took together, as far as it was measured.
    pub(super) busy: Duration,
    pub(super) times: Histogram<32>,
    /// The workers that became ready, and the total time of their starts.
    pub(super) workers: u32,
    pub(super) set_up: Duration,
    /// The workers that did not become ready.
    pub(super) failed_starts: u64,
    /// The workers that died while they were executing.
    pub(super) lost: u64,
}

impl Function {
    fn new(name: &'static str) -> Self {
        Self {
            name,
            succeeded: 0,
            after_retry: 0,
            failed: 0,
            cancelled: 0,
            retried: 0,
            tally: Tally::default(),
            busy: Duration::ZERO,
            times: Histogram::default(),
            workers: 0,
            set_up: Duration::ZERO,
            failed_starts: 0,
            lost: 0,
        }
    }

    /// Returns the number of calls that have ended.
    pub(super) fn ended(&self) -> u64 {
        self.succeeded + self.failed + self.cancelled
    }
}

/// The sums over all functions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Totals {
    pub(super) ended: u64,
    pub(super) succeeded: u64,
    pub(super) after_retry: u64,
    pub(super) failed: u64,
    pub(super) cancelled: u64,
    pub(super) retried: u64,
    pub(super) workers: u64,
    pub(super) failed_starts: u64,
    pub(super) lost: u64,
    /// Calls that have not ended.
    pub(super) pending: u64,
}

/// The longest attempt of one of the slowest calls.
#[derive(Clone, Debug)]
pub(super) struct Slow {
    call: CallNumber,
    pub(super) ran: Duration,
    pub(super) subject: String,
    pub(super) attempt: u32,
    pub(super) worker: WorkerKey,
    pub(super) outcome: &'static str,
}

/// A call that a worker has and that has not ended.
#[derive(Clone, Debug)]
pub(super) struct Unfinished {
    pub(super) subject: String,
    pub(super) attempt: u32,
    pub(super) worker: WorkerKey,
    pub(super) since: Duration,
}

/// A run, summed up.
#[derive(Debug, Default)]
pub(super) struct Aggregate {
    head: Option<Head>,
    /// The time of the last event.
    elapsed: Duration,
    functions: Vec<Function>,
    /// Whether each worker is counted as lost.
    workers: Workers<bool>,
    tracker: Tracker,
    spans: Vec<Span>,
    rate: Rate,
    timeline: Timeline,
    open: OpenCalls,
    /// The calls that ended without a result.
    failures: Groups,
    /// The attempts that were repeated.
    retries: Groups,
    /// The slowest calls, the slowest one first.
    slowest: Vec<Slow>,
}

impl Aggregate {
    /// Begins with the run whose records will arrive.
    pub(super) fn of(head: Head) -> Self {
        Self {
            head: Some(head),
            ..Self::default()
        }
    }

    pub(super) fn add(&mut self, record: &Record) {
        let event = &record.event;
        let at = event.at.elapsed;
        self.elapsed = self.elapsed.max(at);
        self.head.get_or_insert_with(|| Head {
            run: event.run,
            host: event.host,
            begun: event.at.wall.checked_sub(at).unwrap_or(event.at.wall),
        });
        let mut spans = std::mem::take(&mut self.spans);
        self.tracker.take_in(record, &mut spans);
        for span in spans.drain(..) {
            self.add_span(span);
        }
        self.spans = spans;
        match event.call.map(|call| call.number) {
            Some(call) => self.add_call(record, call),
            None => self.add_worker(event),
        }
    }

    fn add_call(&mut self, record: &Record, call: CallNumber) {
        let event = &record.event;
        let (at, count) = (event.at.elapsed, u64::from(record.count));
        match &event.kind {
            EventKind::AttemptFailed { outcome, .. } => {
                self.open.add(event, call);
                let worker = WorkerKey::of(event);
                if let (AttemptOutcome::Crashed(_), Some(worker)) = (outcome, worker) {
                    self.lose(worker, event.function);
                }
            }
            EventKind::Retrying { delay, .. } => {
                if let Some(last) = self.open.repeat(call, *delay) {
                    self.retries.add_retry(event, last);
                }
                self.rate.at(at).retried += count;
                self.function(event.function).retried += count;
            }
            EventKind::Finished { outcome, .. } => {
                let attempts = self.open.end(call);
                match (outcome, End::of(event)) {
                    (CallOutcome::Cancelled, _) => self.function(event.function).cancelled += count,
                    (_, None) => self.succeed(event, count),
                    (_, Some(end)) => {
                        self.failures.add_call(event, count, &end, &attempts);
                        self.rate.at(at).failed += count;
                        self.function(event.function).failed += count;
                    }
                }
            }
            _ => {}
        }
    }

    fn succeed(&mut self, event: &Event, count: u64) {
        self.rate.at(event.at.elapsed).succeeded += count;
        let function = self.function(event.function);
        function.succeeded += count;
        if event.attempt.unwrap_or(1) > 1 {
            function.after_retry += count;
        }
    }

    fn add_worker(&mut self, event: &Event) {
        let Some(worker) = WorkerKey::of(event) else {
            return;
        };
        let (name, at) = (event.function, event.at.elapsed);
        match &event.kind {
            EventKind::WorkerStarting => {
                self.timeline.begin(worker, name);
            }
            EventKind::WorkerUp { set_up } => {
                let function = self.function(name);
                function.workers += 1;
                function.set_up += *set_up;
                self.timeline.start(worker, name, at, *set_up);
            }
            EventKind::WorkerDown { .. } => {
                self.workers.end(worker);
                self.timeline.end(worker);
            }
            EventKind::SetUpFailed { elapsed, .. } => {
                self.function(name).failed_starts += 1;
                self.timeline.fail_start(worker, name, at, *elapsed);
            }
            _ => {}
        }
    }

    /// Counts a worker that has died while it was executing, once for all of its attempts.
    fn lose(&mut self, key: WorkerKey, function: &'static str) {
        let is_lost = self.workers.get_or_insert(key, || false);
        if !std::mem::replace(is_lost, true) {
            self.function(function).lost += 1;
        }
    }

    fn add_span(&mut self, span: Span) {
        let count = u64::from(span.count);
        let function = self.function(span.function);
        function.tally.merge(&Tally::of(&span));
        if span.is_measured {
            function.busy += span.ran;
            let mean = span.ran / span.count.max(1);
            function.times.add(mean, count);
            // The time of one of several attempts is not known.
            let shortest = self.slowest.last().map_or(Duration::ZERO, |slow| slow.ran);
            if span.count == 1 && (self.slowest.len() < SLOWEST || span.ran > shortest) {
                self.add_slow(&span);
            }
        }
        self.timeline.add(span);
    }

    fn add_slow(&mut self, span: &Span) {
        let known = self.slowest.iter().position(|slow| slow.call == span.call);
        match known {
            Some(known) if self.slowest[known].ran >= span.ran => return,
            Some(known) => {
                self.slowest.remove(known);
            }
            None => {}
        }
        let place = self.slowest.partition_point(|slow| slow.ran >= span.ran);
        let failure = span.failure.as_ref();
        let slow = Slow {
            call: span.call,
            ran: span.ran,
            subject: span.subject(),
            attempt: span.attempt,
            worker: span.worker,
            outcome: failure.map_or("succeeded", |(outcome, _)| outcome.name()),
        };
        self.slowest.insert(place, slow);
        self.slowest.truncate(SLOWEST);
    }

    fn function(&mut self, name: &'static str) -> &mut Function {
        let known = self.functions.iter().position(|known| known.name == name);
        let place = known.unwrap_or_else(|| {
            self.functions.push(Function::new(name));
            self.functions.len() - 1
        });
        &mut self.functions[place]
    }

    pub(super) fn head(&self) -> Option<&Head> {
        self.head.as_ref()
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.elapsed
    }

    pub(super) fn functions(&self) -> &[Function] {
        &self.functions
    }

    pub(super) fn rate(&self) -> &Rate {
        &self.rate
    }

    pub(super) fn timeline(&self) -> &Timeline {
        &self.timeline
    }

    pub(super) fn failures(&self) -> &Groups {
        &self.failures
    }

    pub(super) fn retries(&self) -> &Groups {
        &self.retries
    }

    pub(super) fn slowest(&self) -> &[Slow] {
        &self.slowest
    }

    pub(super) fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for function in &self.functions {
            totals.ended += function.ended();
            totals.succeeded += function.succeeded;
            totals.after_retry += function.after_retry;
            totals.failed += function.failed;
            totals.cancelled += function.cancelled;
            totals.retried += function.retried;
            totals.workers += u64::from(function.workers);
            totals.failed_starts += function.failed_starts;
            totals.lost += function.lost;
        }
        let pending = self.tracker.pending();
        totals.pending = pending.map(|(_, pending)| u64::from(pending.count)).sum();
        totals
    }

    /// Returns the calls that workers have had for longest.
    pub(super) fn unfinished(&self) -> Vec<Unfinished> {
        let mut unfinished: Vec<_> = self
            .tracker
            .pending()
            .filter_map(|(_, pending)| {
                Some(Unfinished {
                    subject: pending.subject(),
                    attempt: pending.attempt,
                    worker: pending.worker?,
                    since: pending.since,
                })
            })
            .collect();
        unfinished.sort_by_key(|one| one.since);
        unfinished.truncate(SLOWEST);
        unfinished
    }

    /// Returns the number of the parts that are kept.
    #[cfg(test)]
    pub(super) fn footprint(&self) -> usize {
        let pending = self.tracker.pending().count();
        let timeline = self.timeline.footprint();
        let failures = self.failures.len() + self.retries.len() + self.open.len();
        let workers = self.workers.keys().len();
        self.functions.len() + workers + self.slowest.len() + pending + timeline + failures
    }
}
