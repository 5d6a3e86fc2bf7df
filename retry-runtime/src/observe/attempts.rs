//! Turns records into attempts with their beginning and duration, for reports and traces.
//!
//! Records say when an attempt was handed to a worker, when its end became known, and, as the worker has
//! measured it, how long the function ran. A worker gets further calls while it executes one, so the time at
//! which an attempt was handed over is only the earliest one at which it can have begun. An attempt begins when
//! the one before it has ended: that fits all three facts, and keeps attempts of one worker apart.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt;
use std::time::Duration;

use crate::api::call_id::CallNumber;
use crate::api::context::{AttemptOutcome, short_name, subject};
use crate::api::events::{CallOutcome, Event, EventKind, Record, WorkerId};
use crate::api::run;

/// Number of workers that are remembered after their end.
const ENDED: usize = 256;

/// Greatest number of groups of attempts of one worker that wait for their common duration.
const WAITING: usize = 64;

/// Time after its end became known at which an attempt may end by the calculation above. Clocks are read at
/// different moments; beyond that, another attempt must have run at the same time.
const TOLERANCE: Duration = Duration::from_millis(1);

/// A worker. Runtimes of one program count their workers separately, so that a number alone is not enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct WorkerKey {
    pub(super) number: u64,
    pub(super) pid: Option<u32>,
}

impl fmt::Display for WorkerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "w{}", self.number)?;
        match self.pid {
            Some(pid) => write!(f, " pid {pid}"),
            None => Ok(()),
        }
    }
}

impl WorkerKey {
    pub(super) fn of(event: &Event) -> Option<Self> {
        let number = event.worker.map(WorkerId::number)?;
        Some(Self {
            number,
            pid: event.worker_pid,
        })
    }
}

/// The process that made an attempt, as far as it is known: a worker of this program, or one of another machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct AttemptWorker {
    worker: Option<WorkerKey>,
    pid: Option<u32>,
    host: &'static str,
}

impl AttemptWorker {
    pub(super) fn of(event: &Event) -> Self {
        Self {
            worker: WorkerKey::of(event),
            pid: event.worker_pid,
            host: event.host,
        }
    }

    /// Returns a short name: `w3 pid 48121`, or `pid 48121 on host-b`.
    #[cfg(feature = "report")]
    pub(super) fn short(&self) -> Option<String> {
        let name = self.to_string();
        name.strip_prefix("worker ").map(str::to_owned)
    }

    /// Returns what is said of an attempt of which nothing is known.
    #[cfg(test)]
    pub(super) fn unknown() -> Self {
        Self {
            worker: None,
            pid: None,
            host: run::host(),
        }
    }
}

/// `worker w3 pid 48121`, or `worker pid 48121 on host-b`.
impl fmt::Display for AttemptWorker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("worker")?;
        match (self.worker, self.pid) {
            (Some(worker), _) => write!(f, " {worker}")?,
            (None, Some(pid)) => write!(f, " pid {pid}")?,
            (None, None) => {}
        }
        match self.host == run::host() {
            true => Ok(()),
            false => write!(f, " on {}", self.host),
        }
    }
}

/// Facts about each worker. The end of a call may be published after that of its worker, so that the last
/// workers that have ended are remembered.
#[derive(Debug)]
pub(super) struct Workers<T> {
    known: HashMap<WorkerKey, T>,
    /// The workers that have ended, the oldest one first.
    ended: VecDeque<WorkerKey>,
}

impl<T> Default for Workers<T> {
    fn default() -> Self {
        Self {
            known: HashMap::new(),
            ended: VecDeque::new(),
        }
    }
}

impl<T> Workers<T> {
    pub(super) fn get(&self, key: WorkerKey) -> Option<&T> {
        self.known.get(&key)
    }

    pub(super) fn get_mut(&mut self, key: WorkerKey) -> Option<&mut T> {
        self.known.get_mut(&key)
    }

    pub(super) fn get_or_insert(&mut self, key: WorkerKey, new: impl FnOnce() -> T) -> &mut T {
        self.known.entry(key).or_insert_with(new)
    }

    pub(super) fn keys(&self) -> Vec<WorkerKey> {
        self.known.keys().copied().collect()
    }

    /// Notes that a worker has ended.
    pub(super) fn end(&mut self, key: WorkerKey) {
        self.ended.push_back(key);
        if self.ended.len() > ENDED
            && let Some(oldest) = self.ended.pop_front()
        {
            self.known.remove(&oldest);
        }
    }
}

/// An attempt, or several of one function that a worker has made one after the other.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Span {
    pub(super) worker: WorkerKey,
    /// The attempts of a worker that run at the same time have different lanes, counted from zero.
    pub(super) lane: usize,
    pub(super) function: &'static str,
    /// The first call and the position of its input.
    pub(super) call: CallNumber,
    pub(super) index: Option<u64>,
    /// The position of the last input, if it is another one.
    pub(super) last_index: Option<u64>,
    pub(super) count: u32,
    pub(super) attempt: u32,
    pub(super) begun: Duration,
    /// The time that the attempts took together. If it was not measured, the longest that it may have been;
    /// never so long that attempts of a worker overlap that executes one at a time.
    pub(super) ran: Duration,
    pub(super) is_measured: bool,
    /// The failure, if the attempt has failed, and the first line of its text.
    pub(super) failure: Option<(AttemptOutcome, Option<Box<str>>)>,
}

impl Span {
    /// Returns the name of the attempts: `resize`, or in a map `resize[812]` or `resize[812..=815]`.
    pub(super) fn subject(&self) -> String {
        name_of(self.function, self.index, self.last_index)
    }

    /// Returns whether the duration is what the program knows of a worker that could not tell it. It can
    /// contain the end of the attempt before.
    fn is_seen_from_outside(&self) -> bool {
        let failure = self.failure.as_ref().map(|(outcome, _)| outcome);
        !matches!(
            failure,
            None | Some(AttemptOutcome::Failed | AttemptOutcome::Panicked)
        )
    }
}

fn name_of(function: &str, first: Option<u64>, last: Option<u64>) -> String {
    match (first, last) {
        (Some(first), Some(last)) => format!("{}[{first}..={last}]", short_name(function)),
        (first, _) => subject(function, first).to_string(),
    }
}

/// The state of the calls that have not ended.
#[cfg_attr(not(feature = "report"), allow(dead_code))]
#[derive(Clone, Copy, Debug)]
pub(super) struct Pending {
    pub(super) function: &'static str,
    pub(super) index: Option<u64>,
    pub(super) count: u32,
    pub(super) attempt: u32,
    pub(super) worker: Option<WorkerKey>,
    /// The time at which the calls got into this state.
    pub(super) since: Duration,
}

#[cfg(feature = "report")]
impl Pending {
    /// Returns the name of the calls, as that of attempts.
    pub(super) fn subject(&self) -> String {
        let others = u64::from(self.count.saturating_sub(1));
        let last = self.index.map(|index| index.saturating_add(others));
        let last = last.filter(|_| others > 0);
        name_of(self.function, self.index, last)
    }
}

/// The numbers of calls of a function that have not ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Gauge {
    /// Calls that wait for a worker, or for the delay before another attempt.
    pub(super) queued: u64,
    /// Calls that a worker has.
    pub(super) running: u64,
}

/// The calls that have not ended, by their numbers. Consecutive calls in the same state are one entry.
#[derive(Debug, Default)]
struct Calls(BTreeMap<u64, Pending>);

impl Calls {
    /// Takes calls out, and gives each group of them in the same state to `taken`.
    fn take(&mut self, first: u64, count: u32, mut taken: impl FnMut(Pending)) {
        let end = first.saturating_add(u64::from(count));
        let mut from = first;
        while from < end {
            let before = self.0.range(..=from).next_back();
            let covers = |(begin, pending): &(&u64, &Pending)| {
                begin.saturating_add(u64::from(pending.count)) > from
            };
            let Some(begin) = before.filter(covers).map(|(begin, _)| *begin) else {
                // The log began later than these calls.
                let Some((next, _)) = self.0.range(from..end).next() else {
                    return;
                };
                from = *next;
                continue;
            };
            let Some(whole) = self.0.remove(&begin) else {
                return;
            };
            let whole_end = begin.saturating_add(u64::from(whole.count));
            let to = end.min(whole_end);
            self.put_part(begin, whole, begin, from);
            self.put_part(begin, whole, to, whole_end);
            taken(part(begin, whole, from, to));
            from = to;
        }
    }

    fn put_part(&mut self, begin: u64, whole: Pending, from: u64, to: u64) {
        if from < to {
            self.0.insert(from, part(begin, whole, from, to));
        }
    }
}

/// Returns the part of an entry from one call up to another.
fn part(begin: u64, whole: Pending, from: u64, to: u64) -> Pending {
    Pending {
        index: whole.index.map(|index| index.saturating_add(from - begin)),
        count: u32::try_from(to - from).unwrap_or(u32::MAX),
        ..whole
    }
}

/// A worker as far as its attempts tell.
#[derive(Debug, Default)]
struct Worker {
    /// The end of the last attempt in each lane.
    lanes: Vec<Duration>,
    /// Successful attempts whose duration comes with that of a later one, and when their end became known.
    waiting: Vec<(Span, Duration)>,
}

/// Follows the calls of a run.
#[derive(Debug, Default)]
pub(super) struct Tracker {
    calls: Calls,
    gauges: HashMap<&'static str, Gauge>,
    workers: Workers<Worker>,
}

impl Tracker {
    /// Takes in a record, and adds the attempts whose end it makes known to `spans`.
    pub(super) fn take_in(&mut self, record: &Record, spans: &mut Vec<Span>) {
        let event = &record.event;
        match (&event.kind, event.call.map(|call| call.number)) {
            (EventKind::Queued, Some(call)) => self.enter(record, call, None),
            (EventKind::Started { .. }, Some(call)) => {
                self.leave(call, record.count);
                self.enter(record, call, WorkerKey::of(event));
            }
            (
                EventKind::AttemptFailed {
                    outcome,
                    error,
                    ran,
                },
                Some(call),
            ) => {
                let begun = self.leave(call, record.count);
                self.enter(record, call, None);
                let failure = Some((outcome.clone(), error.clone()));
                if let Some(span) = span(record, call, begun, failure) {
                    self.add(span, Some(*ran), event.at.elapsed, spans);
                }
            }
            (EventKind::Finished { outcome, ran, .. }, Some(call)) => {
                let begun = self.leave(call, record.count);
                if *outcome == CallOutcome::Succeeded
                    && let Some(span) = span(record, call, begun, None)
                {
                    self.add(span, *ran, event.at.elapsed, spans);
                }
            }
            (EventKind::WorkerDown { .. }, _) => {
                if let Some(worker) = WorkerKey::of(event) {
                    self.add_waiting(worker, None, spans);
                    self.workers.end(worker);
                }
            }
            _ => {}
        }
    }

    /// Returns the attempts whose duration has not become known.
    pub(super) fn rest(&mut self, spans: &mut Vec<Span>) {
        for worker in self.workers.keys() {
            self.add_waiting(worker, None, spans);
        }
    }

    /// Returns the numbers of calls of a function that have not ended.
    pub(super) fn gauge(&self, function: &str) -> Gauge {
        self.gauges.get(function).copied().unwrap_or_default()
    }

    /// Returns the calls that have not ended, in groups.
    #[cfg(any(test, feature = "report"))]
    pub(super) fn pending(&self) -> impl Iterator<Item = (CallNumber, &Pending)> {
        let calls = self.calls.0.iter();
        calls.map(|(first, pending)| (CallNumber(*first), pending))
    }

    /// Notes that calls wait, or that a worker has them.
    fn enter(&mut self, record: &Record, call: CallNumber, worker: Option<WorkerKey>) {
        let event = &record.event;
        let pending = Pending {
            function: event.function,
            index: event.input_index,
            count: record.count,
            attempt: event.attempt.unwrap_or(1),
            worker,
            since: event.at.elapsed,
        };
        let gauge = self.gauges.entry(event.function).or_default();
        *gauge.of(worker) += u64::from(record.count);
        self.calls.0.insert(call.0, pending);
    }

    /// Notes that calls leave their state. Returns since when a worker has had the first of them.
    fn leave(&mut self, call: CallNumber, count: u32) -> Option<Duration> {
        let gauges = &mut self.gauges;
        let mut begun = None;
        self.calls.take(call.0, count, |pending| {
            if let Some(gauge) = gauges.get_mut(pending.function) {
                let number = gauge.of(pending.worker);
                *number = number.saturating_sub(u64::from(pending.count));
            }
            if begun.is_none() && pending.worker.is_some() {
                begun = Some(pending.since);
            }
        });
        begun
    }

    /// Adds an attempt. Where its duration is known, it is also the mean of those of the same worker that wait
    /// for theirs.
    fn add(
        &mut self,
        mut span: Span,
        ran: Option<Duration>,
        known: Duration,
        spans: &mut Vec<Span>,
    ) {
        let key = span.worker;
        let known_worker = self.workers.get_or_insert(key, Worker::default);
        if let Some((last, at)) = known_worker.waiting.last_mut()
            && continues(last, &span)
        {
            last.count = last.count.saturating_add(span.count);
            last.last_index = span.last_index.or(span.index);
            *at = known;
        } else {
            // A failed attempt has a duration of its own.
            if span.failure.is_some() {
                self.add_waiting(key, None, spans);
            }
            span.begun = match ran {
                _ if span.begun > Duration::ZERO => span.begun,
                // The log began after the attempt.
                Some(ran) => known.saturating_sub(ran),
                None => known,
            };
            let worker = self.workers.get_or_insert(key, Worker::default);
            worker.waiting.push((span, known));
        }
        if ran.is_some() || self.waiting(key) > WAITING {
            self.add_waiting(key, ran, spans);
        }
    }

    /// Returns how many groups of attempts of a worker wait for their duration.
    fn waiting(&self, key: WorkerKey) -> usize {
        let worker = self.workers.get(key);
        worker.map_or(0, |worker| worker.waiting.len())
    }

    /// Adds the attempts of a worker that wait for their duration, with the mean of it if it was measured.
    fn add_waiting(&mut self, key: WorkerKey, mean: Option<Duration>, spans: &mut Vec<Span>) {
        let Some(worker) = self.workers.get_mut(key) else {
            return;
        };
        for (mut span, known) in std::mem::take(&mut worker.waiting) {
            let free = worker.lanes.first().copied().unwrap_or_default();
            span.ran = match mean {
                Some(mean) => mean.saturating_mul(span.count),
                None => known.saturating_sub(span.begun.max(free)),
            };
            span.is_measured = mean.is_some();
            worker.place(&mut span, known);
            spans.push(span);
        }
    }
}

impl Gauge {
    /// Returns the number of the calls that wait, or of those that a worker has.
    fn of(&mut self, worker: Option<WorkerKey>) -> &mut u64 {
        match worker {
            Some(_) => &mut self.running,
            None => &mut self.queued,
        }
    }
}

impl Worker {
    /// Sets the beginning of an attempt: after the one before it in the first lane in which it fits.
    fn place(&mut self, span: &mut Span, known: Duration) {
        if self.lanes.len() < 2 && span.is_seen_from_outside() {
            let free = self.lanes.first().copied().unwrap_or_default();
            let most = known.saturating_sub(span.begun.max(free));
            span.ran = span.ran.min(most);
        }
        let latest = known + TOLERANCE + span.ran / 32;
        let fits = |free: &Duration| span.begun.max(*free) + span.ran <= latest;
        let lane = self.lanes.iter().position(fits);
        let lane = lane.unwrap_or_else(|| {
            self.lanes.push(Duration::ZERO);
            self.lanes.len() - 1
        });
        span.lane = lane;
        span.begun = span.begun.max(self.lanes[lane]);
        self.lanes[lane] = span.begun + span.ran;
    }
}

/// Returns whether attempts are those that follow others of the same kind.
fn continues(last: &Span, next: &Span) -> bool {
    let follows = match (last.last_index.or(last.index), next.index) {
        (Some(last), Some(next)) => last.checked_add(1) == Some(next),
        (last, next) => last == next,
    };
    follows
        && last.function == next.function
        && last.attempt == next.attempt
        && last.failure.is_none()
        && next.failure.is_none()
}

/// Returns the attempts that a record is about.
fn span(
    record: &Record,
    call: CallNumber,
    begun: Option<Duration>,
    failure: Option<(AttemptOutcome, Option<Box<str>>)>,
) -> Option<Span> {
    let event = &record.event;
    let others = u64::from(record.count.saturating_sub(1));
    let last = event.input_index.map(|index| index.saturating_add(others));
    Some(Span {
        worker: WorkerKey::of(event)?,
        lane: 0,
        function: event.function,
        call,
        index: event.input_index,
        last_index: last.filter(|last| Some(*last) != event.input_index),
        count: record.count,
        attempt: event.attempt.unwrap_or(1),
        begun: begun.unwrap_or_default(),
        ran: Duration::ZERO,
        is_measured: false,
        failure,
    })
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;
    use crate::api::events::Timestamp;
    use crate::api::failure::ExitCause;

    /// Returns a record at a time in microseconds.
    pub(in super::super) fn record(micros: u64, call: u64, count: u32, kind: EventKind) -> Record {
        let mut event = Event::new("app::f", kind);
        let at = Duration::from_micros(micros);
        event.at = Timestamp::new(UNIX_EPOCH + Duration::from_secs(1_764_425_191) + at, at);
        event.call = Some(CallNumber(call).of(event.run));
        event.input_index = Some(call - 1);
        Record { event, count }
    }

    /// Returns the record of an attempt that worker 1 has.
    pub(in super::super) fn of_worker(
        micros: u64,
        call: u64,
        count: u32,
        kind: EventKind,
    ) -> Record {
        let mut record = record(micros, call, count, kind);
        record.event.attempt = Some(1);
        record.event.worker = Some(WorkerId::new(1));
        record.event.worker_pid = Some(77);
        record
    }

    pub(in super::super) fn started() -> EventKind {
        EventKind::Started {
            queued: Duration::ZERO,
        }
    }

    pub(in super::super) fn succeeded(ran: Option<u64>, ran_of: u32) -> EventKind {
        EventKind::Finished {
            outcome: CallOutcome::Succeeded,
            reason: None,
            ran: ran.map(Duration::from_micros),
            ran_of,
            details: None,
        }
    }

    fn crashed(ran: u64) -> EventKind {
        EventKind::AttemptFailed {
            outcome: AttemptOutcome::Crashed(ExitCause::Code(3)),
            error: None,
            ran: Duration::from_micros(ran),
        }
    }

    fn spans(records: impl IntoIterator<Item = Record>) -> Vec<Span> {
        let mut tracker = Tracker::default();
        let mut spans = Vec::new();
        for record in records {
            tracker.take_in(&record, &mut spans);
        }
        tracker.rest(&mut spans);
        spans
    }

    /// Returns names, beginnings and durations in microseconds, and lanes.
    fn places(spans: &[Span]) -> Vec<(String, u128, u128, usize)> {
        let place = |span: &Span| {
            let (begun, ran) = (span.begun.as_micros(), span.ran.as_micros());
            (span.subject(), begun, ran, span.lane)
        };
        spans.iter().map(place).collect()
    }

    #[test]
    fn attempts_of_a_worker_follow_each_other() {
        // Both are handed over at once, and their ends become known at once.
        let found = spans([
            of_worker(1000, 1, 2, started()),
            of_worker(9000, 1, 1, succeeded(Some(3000), 1)),
            of_worker(9000, 2, 1, succeeded(Some(4000), 1)),
            // The worker has had nothing to do before this one.
            of_worker(20_000, 3, 1, started()),
            of_worker(24_000, 3, 1, succeeded(Some(3500), 1)),
        ]);
        let expected = [
            ("f[0]", 1000, 3000, 0),
            ("f[1]", 4000, 4000, 0),
            ("f[2]", 20_000, 3500, 0),
        ]
        .map(|(name, begun, ran, lane)| (name.to_owned(), begun, ran, lane));
        assert_eq!(places(&found), expected);
    }

    #[test]
    fn attempts_that_are_answered_together_are_one() {
        let found = spans([
            record(900, 1, 4, EventKind::Queued),
            of_worker(1000, 1, 4, started()),
            of_worker(1500, 1, 2, succeeded(None, 0)),
            of_worker(2000, 3, 1, succeeded(None, 0)),
            of_worker(2000, 4, 1, succeeded(Some(200), 4)),
        ]);
        assert_eq!(places(&found), [("f[0..=3]".to_owned(), 1000, 800, 0)]);
        assert_eq!((found[0].count, found[0].is_measured), (4, true));
    }

    #[test]
    fn attempts_at_the_same_time_have_lanes() {
        let found = spans([
            of_worker(1000, 1, 1, started()),
            of_worker(1000, 2, 1, started()),
            of_worker(51_000, 1, 1, succeeded(Some(50_000), 1)),
            of_worker(51_000, 2, 1, succeeded(Some(49_000), 1)),
            of_worker(60_000, 3, 1, started()),
            of_worker(70_000, 3, 1, succeeded(Some(10_000), 1)),
        ]);
        let lanes: Vec<_> = found.iter().map(|span| span.lane).collect();
        assert_eq!(lanes, [0, 1, 0]);
    }

    #[test]
    fn a_crash_ends_attempts_whose_duration_was_not_measured() {
        let found = spans([
            of_worker(1000, 1, 2, started()),
            of_worker(3000, 1, 1, succeeded(None, 0)),
            // The program has seen the worker's activity for longer than the second attempt ran.
            of_worker(4000, 2, 1, crashed(2900)),
        ]);
        let expected = [("f[0]", 1000, 2000, 0), ("f[1]", 3000, 1000, 0)]
            .map(|(name, begun, ran, lane)| (name.to_owned(), begun, ran, lane));
        assert_eq!(places(&found), expected);
        assert!(!found[0].is_measured && found[1].is_measured);
    }

    #[test]
    fn a_log_that_begins_later_is_followed_from_there() {
        let found = spans([
            of_worker(9000, 7, 1, succeeded(Some(3000), 1)),
            of_worker(9500, 8, 1, succeeded(None, 0)),
        ]);
        let expected = [("f[6]", 6000, 3000, 0), ("f[7]", 9500, 0, 0)]
            .map(|(name, begun, ran, lane)| (name.to_owned(), begun, ran, lane));
        assert_eq!(places(&found), expected);
    }

    #[test]
    fn calls_are_counted_until_they_end() {
        let mut tracker = Tracker::default();
        let mut spans = Vec::new();
        let mut gauge = |record: Record| {
            tracker.take_in(&record, &mut spans);
            let gauge = tracker.gauge("app::f");
            (gauge.queued, gauge.running)
        };
        assert_eq!(gauge(record(1, 1, 10, EventKind::Queued)), (10, 0));
        assert_eq!(gauge(of_worker(2, 1, 4, started())), (6, 4));
        // The worker did not begin the last two, and another one gets the middle of the rest.
        assert_eq!(gauge(of_worker(3, 3, 3, started())), (5, 5));
        assert_eq!(gauge(of_worker(4, 2, 2, succeeded(None, 0))), (5, 3));
        assert_eq!(gauge(of_worker(5, 1, 1, crashed(1))), (6, 2));
        assert_eq!(gauge(of_worker(6, 1, 10, succeeded(None, 0))), (0, 0));
        assert_eq!(tracker.pending().count(), 0);
    }
}
