//! Stops running calls: after a timeout or a deadline, or because their results are no longer
//! wanted.
//!
//! Without a grace the scheduler kills the worker at once. With a grace, it first asks the function
//! through its token, then sends the process a signal, and kills the worker when the grace is over.
//! Of several async calls in one worker it aborts only the one concerned, at its next yield; only
//! if the call does not yield is the worker killed.

use std::time::{Duration, Instant};

use super::workers::WorkerIdentity;
use super::{
    Action, AttemptEnd, CRASHES_PER_INPUT, CallKey, CallState, Failure, Inflight, Phase, Progress,
    Scheduler, Timer, Worker, WorkerKey,
};
use crate::api::context::AttemptOutcome;
use crate::api::failure::{Cancelled, Limit, Lost, TimedOut, Waiting};
use crate::api::retryable::Retry;
use crate::job::parts::Parts;

/// The time that an async function has to yield once it is to be aborted.
const YIELD: Duration = Duration::from_millis(50);

/// The time for which an input may be neither executing nor answered by coincidence: between its
/// claim and its start, or between its end and the reading of its answer.
const SETTLE: Duration = Duration::from_millis(100);

/// The minimum time that a worker has to claim an input when it has nothing else to do.
const UNTOUCHED: Duration = Duration::from_secs(1);

/// The progress of stopping an input.
#[derive(Debug)]
pub(super) struct Stop {
    /// The time at which the call is aborted, or its process asked to exit.
    terminate_at: Instant,
    is_due: bool,
    /// The time at which the worker is killed.
    kill: Instant,
    /// Set once the process has been sent a signal.
    pub(super) terminated: bool,
    /// The timeout that is the reason, if one is. The call fails or is retried once the attempt has
    /// ended.
    pub(super) expired: Option<Expired>,
}

/// A timeout that was reached, and the start of the attempt.
#[derive(Clone, Copy, Debug)]
pub(super) struct Expired {
    timeout: Duration,
    started: Instant,
}

/// The reason why a call that was sent ends without an answer.
#[derive(Clone, Debug)]
pub(super) enum Withdrawn {
    /// The deadline has passed.
    Deadline,
    /// The result is no longer wanted; the caller gets this failure.
    Unwanted(Failure),
}

impl Withdrawn {
    /// Returns whether the call ends. It does not if the reason is its deadline and that was
    /// postponed.
    pub(super) fn ends_call(&self, put_off: bool) -> bool {
        !put_off || !matches!(self, Self::Deadline)
    }
}

/// The progress of an input that was sent, as a probe found it.
#[derive(Clone, Copy)]
enum Stage {
    /// The input has been executing since this time.
    Running(Instant),
    /// The input was claimed, and the worker neither executes nor answers it. It did not start
    /// before `bound`, and was first seen in this state at `seen`.
    Stalled { bound: Instant, seen: Instant },
    /// The input is the next one, and the worker does not claim it although it has nothing else to
    /// do.
    Untouched { bound: Instant, seen: Instant },
    /// The input waits behind others, or is done and its answer is about to be read.
    Waiting,
}

/// The decision about an input that a worker has.
enum Verdict {
    /// It goes on; the worker has to be probed again at this time.
    GoesOn(Option<Instant>),
    /// It is stopped, because of its timeout or because its result is no longer wanted.
    Ends(Option<Expired>),
    /// Its worker has to be given up.
    GiveUp,
}

/// The verdicts on the inputs of a worker.
#[derive(Default)]
struct Judgement {
    /// The time of the next probe.
    next: Option<Instant>,
    /// The inputs to stop, by their tickets.
    ends: Vec<(u64, Option<Expired>)>,
    /// The inputs that have just become slow, with the time that each has been executing.
    slow: Vec<(u64, Duration)>,
    /// The input because of which the worker is given up.
    gives_up: Option<u64>,
}

impl Judgement {
    /// Demands a probe at a time.
    fn look_at(&mut self, at: Option<Instant>) {
        self.next = self.next.into_iter().chain(at).min();
    }

    /// Finds out whether an input with a timeout has become slow, or when it may.
    fn watch(&mut self, now: Instant, ticket: u64, stage: Stage, timeout: Duration) {
        let half = timeout / 2;
        match stage {
            Stage::Running(started) if now.saturating_duration_since(started) >= half => {
                let elapsed = now.saturating_duration_since(started);
                self.slow.push((ticket, elapsed));
            }
            Stage::Running(started) => self.look_at(started.checked_add(half)),
            // It may start at any moment.
            Stage::Stalled { .. } | Stage::Untouched { .. } | Stage::Waiting => {
                self.look_at(now.checked_add(half));
            }
        }
    }
}

impl Stage {
    /// Judges an input whose result is no longer wanted.
    fn of_unwanted(self, now: Instant) -> Verdict {
        match self {
            Self::Running(_) => Verdict::Ends(None),
            Self::Stalled { seen, .. } if seen + SETTLE <= now => Verdict::Ends(None),
            Self::Stalled { seen, .. } => Verdict::GoesOn(Some(seen + SETTLE)),
            Self::Untouched { .. } | Self::Waiting => Verdict::GoesOn(None),
        }
    }

    /// Judges an input with a timeout.
    fn of_limited(self, now: Instant, timeout: Duration) -> Verdict {
        let (started, due) = match self {
            Self::Running(started) => (started, started.checked_add(timeout)),
            Self::Stalled { bound, seen } => {
                let due = bound.checked_add(timeout);
                (bound, due.map(|due| due.max(seen + SETTLE)))
            }
            Self::Untouched { bound, seen } => {
                let due = bound.checked_add(timeout.max(UNTOUCHED));
                let due = due.map(|due| due.max(seen + SETTLE));
                return match due {
                    Some(due) if due <= now => Verdict::GiveUp,
                    due => Verdict::GoesOn(due),
                };
            }
            Self::Waiting => return Verdict::GoesOn(now.checked_add(timeout)),
        };
        match due {
            Some(due) if due <= now => Verdict::Ends(Some(Expired { timeout, started })),
            due => Verdict::GoesOn(due),
        }
    }
}

impl<P: Parts> Scheduler<P> {
    /// Takes in the result of a probe: stops calls that have run for too long or are no longer
    /// wanted, and ends calls that were withdrawn.
    ///
    /// The scheduler does not rely on the worker's data alone: the worker may be damaged, stopped,
    /// or lie. An input that the worker shows as claimed without a start time, or as done without
    /// an answer, cannot have started before it was sent, nor before the answer to the input ahead
    /// of it. Its time counts from there.
    pub(crate) fn handle_progress(&mut self, now: Instant, key: WorkerKey, progress: &Progress) {
        for one in &progress.executing {
            self.isolate(key, one.ticket);
        }
        self.note_stall(now, key, progress);
        let worker = self.worker_mut(key);
        if worker.is_some_and(|worker| std::mem::take(&mut worker.is_given_up))
            && self.has_not_stopped(now, key)
        {
            return self.kill_stopped(now, key, progress.polled);
        }
        self.end_withdrawn(now, key, progress);
        let Some(judgement) = self.judge(now, key, progress) else {
            return;
        };
        for (ticket, elapsed) in judgement.slow {
            self.note_slow(key, ticket, elapsed);
        }
        if let Some(ticket) = judgement.gives_up {
            return self.give_up(now, key, ticket);
        }
        if let Some(at) = judgement.next {
            self.arm_probe(key, at);
        }
        self.stop_executing(now, key, judgement.ends);
    }

    /// Judges the inputs that a worker has. Returns none if the worker is not ready.
    fn judge(&self, now: Instant, key: WorkerKey, progress: &Progress) -> Option<Judgement> {
        let worker = self.worker(key)?;
        if worker.phase != Phase::Ready {
            return None;
        }
        let policy = &self.functions[worker.function.0].policy;
        let executes = |ticket| progress.executing.iter().any(|one| one.ticket == ticket);
        // A batch is not stopped because of one of its inputs while others are still wanted.
        let shared = !policy.separable
            && worker
                .outstanding
                .iter()
                .any(|one| one.call.is_some() && executes(one.ticket));
        let mut judgement = Judgement::default();
        for inflight in worker.outstanding.iter().filter(|one| one.stop.is_none()) {
            let stage = worker.stage(now, inflight, policy.at_once, progress);
            let timeout = inflight
                .call
                .and_then(|call| self.call(call)?.terms.policy.timeout);
            let verdict = match (inflight.call, timeout) {
                (None, _) if shared => Verdict::GoesOn(None),
                (None, _) => stage.of_unwanted(now),
                (Some(_), None) => Verdict::GoesOn(None),
                (Some(_), Some(timeout)) => stage.of_limited(now, timeout),
            };
            match verdict {
                Verdict::GoesOn(at) => {
                    judgement.look_at(at);
                    if let Some(timeout) = timeout.filter(|_| self.is_observed() && !inflight.slow)
                    {
                        judgement.watch(now, inflight.ticket, stage, timeout);
                    }
                }
                Verdict::Ends(expired) => judgement.ends.push((inflight.ticket, expired)),
                Verdict::GiveUp => {
                    judgement.gives_up = Some(inflight.ticket);
                    break;
                }
            }
        }
        Some(judgement)
    }

    /// Publishes that an input has executed for half of its timeout.
    fn note_slow(&mut self, key: WorkerKey, ticket: u64, elapsed: Duration) {
        let Some(worker) = self.worker_mut(key) else {
            return;
        };
        let function = worker.function;
        if let Some(inflight) = worker.outstanding.find(ticket) {
            inflight.slow = true;
            self.functions[function.0].statistics.slow += 1;
            self.publish_slow(key, ticket, elapsed);
        }
    }

    /// Stops inputs that are executing, and lets the worker go on with others if there are none to stop.
    fn stop_executing(&mut self, now: Instant, key: WorkerKey, ends: Vec<(u64, Option<Expired>)>) {
        let Some(worker) = self.worker_mut(key) else {
            return;
        };
        if ends.is_empty() {
            let draining = worker.outstanding.iter().any(|one| one.stop.is_some());
            if std::mem::replace(&mut worker.draining, draining) && !draining {
                let function = worker.function;
                self.dispatch(now, function);
            }
            return;
        }
        // Until everything else is recalled the worker may continue with the next input at any
        // moment, and the stop must not hit that one. Only inputs that are still executing after
        // the recall are stopped.
        if !worker.draining {
            worker.draining = true;
            self.recall(key);
            self.actions.push_back(Action::Probe { worker: key });
            return;
        }
        for (ticket, expired) in ends {
            self.isolate(key, ticket);
            self.stop(now, key, ticket, expired);
        }
    }

    /// Gives up a worker that does not claim an input although it has nothing else to do. Either
    /// its process was stopped, or the memory in which it claims is damaged; in that case the input
    /// may have run.
    fn give_up(&mut self, now: Instant, key: WorkerKey, ticket: u64) {
        self.isolate(key, ticket);
        let Some(worker) = self.worker_mut(key) else {
            return;
        };
        // The input itself stays until the worker has ended, which may be executing it.
        let inflight = worker.outstanding.find(ticket);
        let call = inflight.and_then(|one| one.call.take());
        let reason = "it did not begin what it was sent";
        self.kill_broken(key, reason.into());
        let Some((key, call)) = call.and_then(|key| Some((key, self.call_mut(key)?))) else {
            return;
        };
        call.past_mut().crashes += 1;
        if call.terms.policy.at_most_once || call.past_mut().crashes >= CRASHES_PER_INPUT {
            let reason = reason.into();
            self.resolve(key, Err(Failure::Lost(Lost::Protocol { reason })), None);
        } else {
            self.enqueue_back(now, key);
        }
    }

    /// Records the first input that a worker does not execute, and since when it has been the
    /// first.
    fn note_stall(&mut self, now: Instant, key: WorkerKey, progress: &Progress) {
        let Some(worker) = self.worker(key) else {
            return;
        };
        let first = worker
            .outstanding
            .iter()
            .find(|one| !progress.runs(one.ticket));
        let first = first.map(|one| one.ticket);
        let known = worker.stalled.filter(|(ticket, _)| Some(*ticket) == first);
        self.workers[key].stalled = known.or_else(|| first.map(|ticket| (ticket, now)));
    }

    /// Ends the withdrawn calls for which the probe shows whether they run.
    fn end_withdrawn(&mut self, now: Instant, key: WorkerKey, progress: &Progress) {
        let Some(worker) = self.worker(key) else {
            return;
        };
        if !worker.outstanding.iter().any(|one| one.withdrawn.is_some()) {
            return;
        }
        // Answers come in order: if one is missing, all later ones are missing as well.
        let at_once = self.functions[worker.function.0].policy.at_once;
        let stalled = worker
            .stalled
            .filter(|(ticket, seen)| *ticket <= progress.claimed && *seen + SETTLE <= now);
        let mut ended = Vec::new();
        let mut undecided = false;
        for inflight in worker.outstanding.iter() {
            if inflight.withdrawn.is_none() {
                continue;
            }
            match (worker.stage(now, inflight, at_once, progress), stalled) {
                (Stage::Running(started), _) => ended.push((inflight.ticket, started)),
                (_, Some((_, seen))) => {
                    ended.push((inflight.ticket, worker.bound(inflight, at_once, seen)));
                }
                _ => undecided = true,
            }
        }
        for (ticket, start) in ended {
            self.end_attempt(now, key, ticket, start);
        }
        if undecided {
            self.arm_probe(key, now + SETTLE);
        }
    }

    /// Ends a withdrawn call and its attempt. The worker continues until it is stopped; a late
    /// answer is ignored.
    fn end_attempt(&mut self, now: Instant, key: WorkerKey, ticket: u64, start: Instant) {
        let Some(worker) = self.worker_mut(key) else {
            return;
        };
        let identity = worker.identity();
        let Some(inflight) = worker.outstanding.find(ticket) else {
            return;
        };
        let (Some(call), Some(withdrawn)) = (inflight.call, inflight.withdrawn.take()) else {
            return;
        };
        if matches!(*withdrawn, Withdrawn::Deadline) && self.postpone_deadline(now, call, start) {
            return;
        }
        let grace = self.call(call).and_then(|call| call.terms.policy.grace);
        if let Some(inflight) = self.workers[key].outstanding.find(ticket) {
            inflight.call = None;
            inflight.grace = grace;
        }
        let end = AttemptEnd::new(identity, AttemptOutcome::Cancelled, start, now);
        self.end_withdrawn_call(call, &withdrawn, Some(end));
    }

    /// Sets the deadline of a map's input anew, since it counts from the start of the first
    /// attempt, which may be later than the time when the input was sent. Returns whether the
    /// deadline is now in the future.
    fn postpone_deadline(&mut self, now: Instant, key: CallKey, start: Instant) -> bool {
        self.begin_deadline(key, start);
        let deadline = self.call(key).and_then(|call| call.deadline);
        deadline.is_some_and(|deadline| deadline > now)
    }

    /// Sets a deadline that counts from the start of the first attempt, given that start.
    pub(super) fn begin_deadline(&mut self, key: CallKey, start: Instant) {
        let Some(call) = self.call_mut(key) else {
            return;
        };
        let first = call.attempt == 1 && call.deadline_begins_when_sent;
        let limit = call.terms.policy.deadline.filter(|_| first);
        let at = limit.and_then(|limit| start.checked_add(limit));
        if let Some(at) = at
            && call.deadline != Some(at)
        {
            call.deadline = Some(at);
            self.outdate(1);
            self.arm(at, Timer::Deadline(key));
        }
    }

    /// Ends a call that was withdrawn, with the attempt that was executing, if one was.
    pub(super) fn end_withdrawn_call(
        &mut self,
        key: CallKey,
        withdrawn: &Withdrawn,
        attempt: Option<AttemptEnd>,
    ) {
        let Some(call) = self.call_mut(key) else {
            return;
        };
        let policy = call.terms.policy;
        let runs = attempt.is_some();
        if let Some(mut end) = attempt {
            if let (Withdrawn::Deadline, Some(limit)) = (withdrawn, policy.deadline) {
                end.outcome = AttemptOutcome::TimedOut(limit);
            }
            let worker = end.worker;
            call.record(end);
            self.publish_attempt(key, worker);
        }
        let failure = match (withdrawn, policy.deadline) {
            // It may not run again elsewhere either.
            (Withdrawn::Unwanted(Failure::HandedBack(_)), _) if runs && policy.at_most_once => {
                Failure::Cancelled(Cancelled::ByShutdown)
            }
            (Withdrawn::Unwanted(failure), _) => failure.clone(),
            (Withdrawn::Deadline, limit) => {
                self.deadline_failure(key, limit.unwrap_or_default(), runs)
            }
        };
        self.resolve(key, Err(failure), None);
    }

    /// Returns the failure of a call whose deadline has passed; `runs` says whether an attempt was
    /// executing.
    fn deadline_failure(&mut self, key: CallKey, limit: Duration, runs: bool) -> Failure {
        let waiting = match self.call(key).map(|call| call.state) {
            _ if runs => Waiting::Attempt,
            Some(CallState::Delayed) => Waiting::Retry,
            _ => Waiting::Worker,
        };
        let past = self.call_mut(key).and_then(|call| call.past.as_mut());
        match past.and_then(|past| past.last.take()) {
            // The deadline has ended the retries, so the caller gets the error that they were for.
            Some(last) if !runs => last,
            _ => Failure::TimedOut(TimedOut::new(Limit::Deadline, limit).while_waiting(waiting)),
        }
    }

    /// Begins to stop an input that a worker is executing.
    fn stop(&mut self, now: Instant, key: WorkerKey, ticket: u64, expired: Option<Expired>) {
        let Some(worker) = self.worker(key) else {
            return;
        };
        let policy = &self.functions[worker.function.0].policy;
        let (grace, alone) = (policy.grace, !policy.separable);
        let inflight = worker.outstanding.iter().find(|one| one.ticket == ticket);
        let given = inflight.and_then(|one| {
            let call = one.call.and_then(|call| self.call(call));
            call.map_or(one.grace, |call| call.terms.policy.grace)
        });
        let grace = given.unwrap_or(grace);
        let (terminate_at, kill) = if alone {
            (now + grace / 2, now + grace)
        } else {
            (now + grace, now + grace + YIELD)
        };
        let Some(inflight) = self
            .worker_mut(key)
            .and_then(|worker| worker.outstanding.find(ticket))
        else {
            return;
        };
        inflight.stop = Some(Box::new(Stop {
            terminate_at,
            is_due: false,
            kill,
            terminated: false,
            expired,
        }));
        if !grace.is_zero() {
            self.actions.push_back(Action::Ask {
                worker: key,
                ticket,
            });
            if let Some(Expired { timeout, .. }) = expired {
                self.publish_terminating(key, ticket, timeout, grace);
            }
        }
        self.stop_further(now, key);
    }

    /// Takes the next step of each stop of a worker that is due: aborts, terminates or kills.
    pub(super) fn stop_further(&mut self, now: Instant, key: WorkerKey) {
        let Some(worker) = self.worker_mut(key) else {
            return;
        };
        if worker.phase != Phase::Ready {
            return;
        }
        let function = worker.function;
        let alone = !self.functions[function.0].policy.separable;
        let mut next: Option<Instant> = None;
        let mut actions = Vec::new();
        let Some(worker) = self.worker_mut(key) else {
            return;
        };
        for inflight in worker.outstanding.iter_mut() {
            let Some(stop) = &mut inflight.stop else {
                continue;
            };
            if stop.kill <= now {
                if alone {
                    return self.kill_stopped(now, key, None);
                }
                // The probe shows which of the inputs keeps the others from ending.
                worker.is_given_up = true;
                return self.actions.push_back(Action::Probe { worker: key });
            }
            if stop.terminate_at <= now && !stop.is_due {
                stop.is_due = true;
                stop.terminated = alone;
                actions.push(if alone {
                    Action::Terminate { worker: key }
                } else {
                    Action::Abort {
                        worker: key,
                        ticket: inflight.ticket,
                    }
                });
            }
            let at = if stop.is_due {
                stop.kill
            } else {
                stop.terminate_at
            };
            next = Some(next.map_or(at, |next| next.min(at)));
        }
        self.actions.extend(actions);
        if let Some(at) = next {
            self.arm(at, Timer::Stop(key));
        }
    }

    /// Returns whether a worker is to be killed since one of its inputs did not stop in time.
    fn has_not_stopped(&self, now: Instant, key: WorkerKey) -> bool {
        let is_due = |one: &Inflight| one.stop.as_ref().is_some_and(|stop| stop.kill <= now);
        self.worker(key).is_some_and(|worker| {
            worker.phase == Phase::Ready && worker.outstanding.iter().any(is_due)
        })
    }

    /// Kills a worker that did not stop. Its other inputs are queued again without blame. An input beside one
    /// that has occupied the thread for too long is one of these, although its own time is over as well: it
    /// could neither continue nor stop.
    fn kill_stopped(&mut self, now: Instant, key: WorkerKey, polled: Option<u64>) {
        let Some(worker) = self.worker(key) else {
            return;
        };
        let (function, identity) = (worker.function, worker.identity());
        let expired = |inflight: &Inflight| inflight.stop.as_ref()?.expired;
        let mut stopped = worker.outstanding.iter().filter(|one| one.stop.is_some());
        let blocker = polled.filter(|ticket| stopped.any(|one| one.ticket == *ticket));
        let is_held_up = |inflight: &Inflight| {
            blocker.is_some_and(|blocker| blocker != inflight.ticket)
                && inflight.withdrawn.is_none()
                && inflight
                    .call
                    .is_some_and(|call| !self.is_at_most_once(call))
        };
        let held_up: Vec<u64> = worker
            .outstanding
            .iter()
            .filter(|inflight| is_held_up(inflight))
            .map(|inflight| inflight.ticket)
            .collect();
        let Some(worker) = self.worker_mut(key) else {
            return;
        };
        let mut ended = Vec::new();
        for inflight in worker.outstanding.iter_mut() {
            if held_up.contains(&inflight.ticket) {
                inflight.stop = None;
            } else if let Some(expired) = expired(inflight)
                && let Some(call) = inflight.call.take()
            {
                ended.push((call, expired, inflight.withdrawn.take()));
            }
        }
        self.kill(key, Phase::Killed);
        for (call, expired, withdrawn) in ended {
            let index = self.call(call).and_then(|call| call.payload.index());
            let state = &mut self.functions[function.0];
            state.count_completions(now, 1);
            state.add_duration(expired.timeout, 1);
            state.statistics.note_slowest(expired.timeout, index);
            self.end_expired_attempt(now, call, expired, withdrawn, identity, None);
        }
        self.dispatch(now, function);
    }

    /// Handles the end of an attempt that was stopped by its timeout.
    pub(super) fn end_expired_attempt(
        &mut self,
        now: Instant,
        call: CallKey,
        expired: Expired,
        withdrawn: Option<Box<Withdrawn>>,
        worker: WorkerIdentity,
        stderr_tail: Option<std::sync::Arc<str>>,
    ) {
        let Expired { timeout, started } = expired;
        self.end_failed_attempt(
            now,
            call,
            Failure::TimedOut(TimedOut::new(Limit::Attempt, timeout)),
            Retry::Default,
            AttemptEnd {
                stderr_tail,
                withdrawn,
                ..AttemptEnd::new(worker, AttemptOutcome::TimedOut(timeout), started, now)
            },
        );
    }

    /// Withdraws a call because of a cancellation or its deadline.
    ///
    /// The scheduler does not know which sent calls are executing. It first recalls the worker's
    /// unclaimed tickets and then probes the claimed ones: only these have an attempt.
    pub(super) fn withdraw(&mut self, key: CallKey, why: Withdrawn) {
        let Some(call) = self.call(key) else { return };
        let CallState::Sent { worker, ticket } = call.state else {
            if call.state == CallState::Queued {
                let (function, lane) = (call.function, call.lane());
                self.leave_queue(key);
                self.outdate_queued(function, lane);
            }
            return self.end_withdrawn_call(key, &why, None);
        };
        let Some(holder) = self.worker_mut(worker) else {
            return;
        };
        let is_ready = holder.phase == Phase::Ready;
        let Some(inflight) = holder.outstanding.find(ticket) else {
            return;
        };
        if inflight.withdrawn.is_none() {
            inflight.withdrawn = Some(Box::new(why));
        }
        if is_ready {
            self.recall(worker);
        } else {
            // The unclaimed inputs were recalled when the worker was told to exit.
            self.actions.push_back(Action::Probe { worker });
        }
    }
}

impl Progress {
    /// Returns whether a ticket is executing and the worker shows since when.
    fn runs(&self, ticket: u64) -> bool {
        self.executing
            .iter()
            .any(|one| one.ticket == ticket && one.since.is_some())
    }
}

impl Worker {
    /// Returns a lower bound for the start of an input. `other` is a bound that does not depend on the answers to other
    /// inputs: the time at which this one was sent, or was first seen as the one that does not continue.
    ///
    /// If the worker executes one input at a time, an input that has waited behind others starts when the last of them
    /// is answered: the bound is the time at which it was sent or the last answer was taken in, whichever is later. If
    /// the worker executes several at once, an answer says nothing about the other inputs, and the bound is `other`.
    pub(super) fn bound(&self, inflight: &Inflight, at_once: usize, other: Instant) -> Instant {
        match at_once {
            1 => inflight.sent.max(self.answered_at),
            _ => other,
        }
    }

    /// Returns whether the worker shows one of its outstanding inputs as executing.
    fn executes_any(&self, progress: &Progress) -> bool {
        let mut executing = progress.executing.iter();
        executing.any(|one| self.outstanding.has(one.ticket))
    }

    fn stage(
        &self,
        now: Instant,
        inflight: &Inflight,
        at_once: usize,
        progress: &Progress,
    ) -> Stage {
        let shown = progress
            .executing
            .iter()
            .find(|one| one.ticket == inflight.ticket);
        if let Some(since) = shown.and_then(|one| one.since) {
            // The time comes from the worker. It cannot be before the call was sent, nor in the
            // future.
            return Stage::Running(since.clamp(inflight.sent, now));
        }
        match self.stalled {
            Some((ticket, seen)) if ticket == inflight.ticket => {
                let bound = self.bound(inflight, at_once, seen);
                if ticket <= progress.claimed {
                    Stage::Stalled { bound, seen }
                } else if !self.executes_any(progress) && !progress.is_sending {
                    Stage::Untouched { bound, seen }
                } else {
                    Stage::Waiting
                }
            }
            _ => Stage::Waiting,
        }
    }
}
