//! Starts of workers: how many there are, and what follows when one fails.
//!
//! A failed start is most probably the function's own fault. The calls that wait for it then fail
//! at once, since another start would only repeat the failure. There are three exceptions. While
//! another worker of the function serves calls or is about to, the calls wait for that worker, and
//! the scheduler tries further starts after growing pauses: a set-up may need a resource that only
//! some processes can have. A process that was killed from outside counts as a crash. And if the
//! machine or the runtime has no room for another process, the function waits for a place (room for
//! one more process), which an idle worker of another function gives up.

use std::time::{Duration, Instant};

use super::function::Lane;
use super::queue::Queue;
use super::{Action, CallState, Function, FunctionKey, Phase, Scheduler, Timer, Worker, WorkerKey};
use crate::api::events::EventKind;
use crate::api::failure::{ExitCause, Startup};
use crate::job::parts::Parts;
use crate::scheduler::Failure;

/// The number of consecutive failed starts after which the calls of a function fail whose workers
/// were ready before.
const FAILED_STARTS: u32 = 3;

/// The pause after a failed start. It doubles with each further failure, up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// The minimum time that the only worker of a function serves before it gives up its place to
/// another function.
const TURN: Duration = Duration::from_secs(1);

/// The reason why a worker never became ready.
#[derive(Clone, Debug)]
pub(super) struct FailedStart {
    pub(super) startup: Startup,
    pub(super) stderr_tail: Option<std::sync::Arc<str>>,
    /// `true` if the operating system had no process, descriptor or memory left for it.
    pub(super) is_for_want_of_resources: bool,
}

impl FailedStart {
    /// Returns the cause if the process was killed by a signal that no fault of its own raises.
    fn killed_from_outside(&self) -> Option<ExitCause> {
        // SIGHUP, SIGINT, SIGQUIT, SIGKILL and SIGTERM.
        let is_sent = |signal| matches!(signal, 1 | 2 | 3 | 9 | 15);
        match self.startup {
            Startup::Exited(cause @ ExitCause::Signal { signal, .. }) if is_sent(signal) => {
                Some(cause)
            }
            _ => None,
        }
    }
}

/// The history of the starts of one function's workers.
#[derive(Debug, Default)]
pub(super) struct Starts {
    /// Set once a worker was ready.
    pub(super) ever_ready: bool,
    /// The number of failed starts since a worker was last ready. Starts that were under way
    /// together count as one.
    pub(super) failed: u32,
    /// The number of the last worker that was under way when a start failed.
    counted: u64,
    /// The end of the pause. It applies if another worker can take the calls, if the function waits
    /// for a place, or if `pauses` is set.
    next: Option<Instant>,
    /// `true` if the pause applies in any case, after repeated kills from outside.
    pauses: bool,
    /// The length of the last pause.
    pause: Duration,
    /// Set while the function waits for a place for a worker.
    wants_place: Option<WantsPlace>,
}

#[derive(Debug)]
struct WantsPlace {
    /// The time at which the function's calls fail, and the reason. `None` if the runtime's own
    /// limit leaves no place: the wait for that has no time limit.
    until: Option<(Instant, FailedStart)>,
}

impl Starts {
    /// Returns whether the last start failed.
    pub(super) fn has_failed(&self) -> bool {
        self.failed > 0
    }

    /// Resets the history, since a worker is ready. A pause after another worker's failure
    /// continues: that worker may have failed because this one exists.
    pub(super) fn record_success(&mut self, now: Instant) {
        let paused = self.next.filter(|next| now < *next);
        *self = Self {
            ever_ready: true,
            counted: self.counted,
            next: paused,
            pause: paused.map_or(Duration::ZERO, |_| self.pause),
            ..Self::default()
        };
    }

    /// Postpones the next start and returns its time. Starts that failed during one pause share it.
    fn back_off(&mut self, now: Instant) -> Instant {
        if let Some(next) = self.next.filter(|next| now < *next) {
            return next;
        }
        self.pause = (2 * self.pause).clamp(FIRST_PAUSE, LONGEST_PAUSE);
        *self.next.insert(now + self.pause)
    }

    /// Returns whether the next start must wait, given whether the calls can wait for another
    /// worker.
    fn is_put_off(&self, now: Instant, can_wait: bool) -> bool {
        let waits = can_wait || self.wants_place.is_some() || self.pauses;
        waits && self.next.is_some_and(|next| now < next)
    }
}

impl Function {
    /// Ends the wait for a place if no call is queued any more, since they may have been cancelled.
    /// Returns whether calls are still queued.
    fn refresh_wants_place(&mut self) -> bool {
        let is_wanted = self.queued() > 0;
        self.starts.wants_place.take_if(|_| !is_wanted);
        is_wanted
    }

    /// Returns whether the function waits for a place because of the runtime's own limit.
    fn waits_for_limit(&self) -> bool {
        let wanted = self.starts.wants_place.as_ref();
        wanted.is_some_and(|wanted| wanted.until.is_none())
    }
}

impl Worker {
    /// Returns whether the worker can give up its place once it has answered what it executes.
    fn may_leave(&self) -> bool {
        self.phase == Phase::Ready && !self.used_up && self.children.is_empty()
    }
}

impl<P: Parts> Scheduler<P> {
    /// Sets the maximum number of processes of all functions together.
    pub(crate) fn set_max_processes(&mut self, processes: Option<usize>) {
        self.max_processes = processes;
    }

    /// Starts as many workers as would have something to do at once, up to the limits.
    pub(super) fn scale(&mut self, now: Instant, function: FunctionKey) {
        loop {
            let (_, counts) = self.index(function);
            let state = &self.functions[function.0];
            let policy = &state.policy;
            let coming = counts.starting * policy.at_once;
            let nested =
                state.queued_nested > coming && counts.allows_another(policy.max_workers, true);
            let top = state.queued() + counts.behind > coming
                && counts.allows_another(policy.max_workers, false);
            // `min_workers` does not justify a restart loop: after a failed start the next one
            // waits for a call. Nor does it justify a place that a call of another function waits
            // for.
            let floor = counts.alive < policy.min_workers.min(policy.max_workers)
                && state.starts.failed == 0
                && self.places.is_empty()
                && !self.draining;
            if !(nested || top || floor) {
                return;
            }
            // A new worker would not help calls that are held back.
            let look_for_turn = Lane::ALL
                .into_iter()
                .any(|lane| self.look_for_turn(function, lane));
            if !floor && counts.behind == 0 && !look_for_turn {
                return;
            }
            let state = &self.functions[function.0];
            let is_served = counts.serving() > 0;
            let can_wait = is_served || counts.waiting > 0 && !nested;
            // After a failure the scheduler makes one start at a time, to find out whether there is
            // room for more workers.
            let tries = !state.starts.pause.is_zero() && counts.starting > 0;
            if state.starts.is_put_off(now, can_wait) || can_wait && tries {
                return;
            }
            if self.is_full() {
                // `min_workers` does not justify taking the place of another function.
                if !is_served && (nested || top) {
                    self.want_place(now, function, None);
                }
                return;
            }
            let id = self.numbers.take_worker();
            let worker = self.add_worker(Worker::new(id, function, now));
            self.actions.push_back(Action::Spawn { worker });
        }
    }

    /// Returns whether a worker of a function is ready.
    pub(crate) fn is_served(&self, function: FunctionKey) -> bool {
        let mut workers = self.workers_of(function).iter();
        workers.any(|key| self.workers[*key].phase == Phase::Ready)
    }

    /// Returns whether the maximum number of processes is reached. Workers that wait for nested
    /// calls do not count: they wait for a process that may still have to be started.
    pub(super) fn is_full(&self) -> bool {
        self.max_processes.is_some_and(|most| {
            let counted = self
                .workers
                .iter()
                .filter(|(_, one)| one.children.is_empty());
            counted.count() >= most
        })
    }

    /// Handles a failed start of a worker, which is gone, and publishes it.
    pub(super) fn handle_failed_start(
        &mut self,
        now: Instant,
        worker: &Worker,
        failed: FailedStart,
    ) {
        let function = worker.function;
        let elapsed = now.saturating_duration_since(worker.started);
        let reason = failed.startup.brief();
        self.functions[function.0].statistics.failed_starts += 1;
        // The event comes before those of the calls that fail because of it, which decide what it says.
        let before = self.actions.len();
        self.go_on_after_failed_start(now, function, worker.id, failed);
        let after = self.actions.split_off(before);
        let (_, counts) = self.index(function);
        let tries_again = counts.behind > 0 || self.functions[function.0].queued() > 0;
        let kind = EventKind::SetUpFailed {
            reason: reason.into(),
            elapsed,
            tries_again,
        };
        let name = self.functions[function.0].policy.name;
        self.publish_worker(name, worker.identity(), kind);
        self.actions.extend(after);
    }

    /// Fails the calls that waited for a worker whose start has failed, or postpones the next start.
    fn go_on_after_failed_start(
        &mut self,
        now: Instant,
        function: FunctionKey,
        worker: u64,
        failed: FailedStart,
    ) {
        let (_, counts) = self.index(function);
        let state = &mut self.functions[function.0];
        let starts = &mut state.starts;
        if worker > starts.counted {
            starts.failed += 1;
            starts.counted = self.numbers.last_worker();
        }
        if let Some(cause) = failed.killed_from_outside() {
            starts.pauses = starts.failed >= FAILED_STARTS;
            state.count_crash(now, cause);
            self.put_off(now, function);
            return self.enforce_crash_limit(now, function);
        }
        if counts.serving() > 0 {
            return self.put_off(now, function);
        }
        let waits = failed.is_for_want_of_resources && self.functions[function.0].queued() > 0;
        if waits && !self.workers.is_empty() {
            return self.want_place(now, function, Some(failed));
        }
        let state = &mut self.functions[function.0];
        let is_over = !state.starts.ever_ready || state.starts.failed >= FAILED_STARTS;
        if counts.waiting > 0 {
            // Top-level calls wait for the existing workers. These may in turn wait for the nested
            // calls.
            if is_over {
                let nested = state.take_nested();
                self.fail_all(nested, &failed);
            }
            self.put_off(now, function);
        } else if is_over {
            self.fail_queued(function, &failed);
        }
    }

    /// Postpones the next start of a worker.
    fn put_off(&mut self, now: Instant, function: FunctionKey) {
        let at = self.functions[function.0].starts.back_off(now);
        self.arm(at, Timer::Start(function));
    }

    /// Fails all queued calls of a function that has no worker.
    fn fail_queued(&mut self, function: FunctionKey, failed: &FailedStart) {
        let queue = self.functions[function.0].take_queue();
        self.fail_all(queue, failed);
    }

    fn fail_all(&mut self, queues: [Queue; 3], failed: &FailedStart) {
        for key in queues.into_iter().flat_map(Queue::drain) {
            let is_queued = |call: &super::Call<P>| call.state == CallState::Queued;
            if self.call(key).is_some_and(is_queued) {
                let failure = Failure::Startup(failed.startup.clone());
                self.resolve(key, Err(failure), failed.stderr_tail.clone());
            }
        }
    }

    // ------------------------------------------------------------- places

    /// Makes a function wait for a place for a worker: until a process of this runtime exits, or
    /// also, if the machine has no room, until a pause is over. In the latter case its calls fail
    /// after `startup_timeout`.
    fn want_place(&mut self, now: Instant, function: FunctionKey, failed: Option<FailedStart>) {
        let state = &mut self.functions[function.0];
        let limit = state.policy.startup_timeout;
        if let Some(failed) = failed {
            let wanted = state.starts.wants_place.take();
            let begun = wanted
                .and_then(|wanted| wanted.until)
                .map(|(until, _)| until);
            let until = begun.or_else(|| now.checked_add(limit));
            if let Some(at) = until.filter(|_| begun.is_none()) {
                self.arm(at, Timer::Place(function));
            }
            let until = until.map(|until| (until, failed));
            self.functions[function.0].starts.wants_place = Some(WantsPlace { until });
            self.put_off(now, function);
        } else if state.starts.wants_place.is_none() {
            state.starts.wants_place = Some(WantsPlace { until: None });
        }
        if !self.places.contains(&function) {
            self.places.push_back(function);
        }
    }

    /// Makes workers give up their places for functions that wait for one. Idle workers go first,
    /// then a worker of a function that has several, when it has answered what it executes. For
    /// functions that wait because of the runtime's own limit, the only worker of a function also
    /// goes, after its turn.
    pub(super) fn make_places(&mut self, now: Instant) {
        let functions = &mut self.functions;
        self.places
            .retain(|function| functions[function.0].refresh_wants_place());
        if self.places.is_empty() {
            return;
        }
        // A worker that waits for nested calls takes no place, and those may be the calls that wait
        // for one.
        let is_leaving = |worker: &Worker| match worker.phase {
            _ if !worker.children.is_empty() => false,
            Phase::Starting => false,
            Phase::Ready => worker.used_up,
            Phase::Retiring
            | Phase::Killed
            | Phase::Broken(_)
            | Phase::OutOfMemory
            | Phase::FailedStart(_) => true,
        };
        let leaving = self
            .workers
            .iter()
            .filter(|(_, one)| is_leaving(one))
            .count();
        for _ in leaving..self.places.len() {
            if let Some(key) = self.longest_idle() {
                self.retire(now, key);
            } else if let Some(key) = self.dispensable().or_else(|| self.served_longest(now)) {
                self.workers[key].used_up = true;
                self.recall(key);
                self.retire_when_used_up(now, key);
            } else {
                return;
            }
        }
    }

    /// Returns the worker that has been idle for longest. Queued calls of its function must be held
    /// back, or the worker would have been given one.
    fn longest_idle(&self) -> Option<WorkerKey> {
        let is_idle = |worker: &Worker| worker.phase == Phase::Ready && !worker.is_busy();
        let idle = self.workers.iter().filter(|(_, worker)| is_idle(worker));
        let longest = idle.min_by_key(|(_, worker)| worker.idle_since);
        longest.map(|(key, _)| key)
    }

    /// Returns a worker of the function with the most workers, if one has at least two that may
    /// leave.
    fn dispensable(&self) -> Option<WorkerKey> {
        let may_leave = |key: &WorkerKey| self.workers[*key].may_leave();
        self.functions
            .iter()
            .map(|(_, function)| function.index.keys())
            .filter(|keys| keys.iter().filter(|key| may_leave(key)).count() > 1)
            .max_by_key(|keys| keys.len())
            .and_then(|keys| keys.iter().copied().find(may_leave))
    }

    /// Returns the worker that has served for longest, if it has served for a turn and for as long
    /// as its start took. Its function then waits for the limit as well. Returns none if only the
    /// machine has no room: the function might not get a place again.
    fn served_longest(&self, now: Instant) -> Option<WorkerKey> {
        self.places
            .iter()
            .any(|function| self.functions[function.0].waits_for_limit())
            .then_some(())?;
        let has_served = |worker: &Worker| {
            let ready = worker.ready_at?;
            let turn = TURN.max(ready.saturating_duration_since(worker.started));
            let is_over = now.saturating_duration_since(ready) >= turn;
            (is_over && worker.may_leave()).then_some(ready)
        };
        let served = self.workers.iter();
        let served = served.filter_map(|(key, worker)| Some((has_served(worker)?, key)));
        served.min().map(|(_, key)| key)
    }

    /// Dispatches a function that waits for a place because of the runtime's limit, if the limit
    /// allows another process. Returns whether it did.
    pub(super) fn take_place(&mut self, now: Instant) -> bool {
        if self.places.is_empty() || self.is_full() {
            return false;
        }
        let functions = &self.functions;
        let waits = |function: &FunctionKey| functions[function.0].waits_for_limit();
        let place = self.places.iter().position(waits);
        let Some(function) = place.and_then(|place| self.places.remove(place)) else {
            return false;
        };
        self.functions[function.0].starts.wants_place = None;
        self.dispatch(now, function);
        true
    }

    /// Gives the place of a process that has ended to the function that has waited longest.
    pub(super) fn give_freed_place(&mut self, now: Instant) {
        while let Some(function) = self.places.pop_front() {
            let state = &mut self.functions[function.0];
            if state.refresh_wants_place() {
                state.starts.next = None;
                return self.dispatch(now, function);
            }
        }
    }

    /// Fails the calls of a function that has waited for a place for the duration of
    /// `startup_timeout`.
    pub(super) fn fail_overdue_place(&mut self, now: Instant, function: FunctionKey) {
        let starts = &mut self.functions[function.0].starts;
        let is_over = |wanted: &mut WantsPlace| {
            wanted
                .until
                .as_ref()
                .is_some_and(|(until, _)| *until <= now)
        };
        if let Some(wanted) = starts.wants_place.take_if(is_over)
            && let Some((_, failed)) = wanted.until
        {
            self.places.retain(|other| *other != function);
            self.fail_queued(function, &failed);
        }
    }

    /// Handles a worker whose process could not be started.
    pub(crate) fn handle_failed_spawn(
        &mut self,
        now: Instant,
        key: WorkerKey,
        reason: Box<str>,
        is_for_want_of_resources: bool,
    ) {
        let Some(worker) = self.remove_worker(key) else {
            return;
        };
        let failed = FailedStart {
            startup: Startup::Spawn(reason),
            stderr_tail: None,
            is_for_want_of_resources,
        };
        self.handle_failed_start(now, &worker, failed);
        self.dispatch(now, worker.function);
    }
}
