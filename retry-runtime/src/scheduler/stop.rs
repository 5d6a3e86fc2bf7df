//! Ending what runs: by a timeout, a deadline, or because nobody wants it any more.
//!
//! Without a grace the worker is killed at once. With one, the function is first asked through
//! its token, then the process through a signal, and killed when the grace is over. Of several
//! async functions in one worker one alone is stopped, where it yields; only if it does not, the
//! worker is killed.

use std::time::{Duration, Instant};

use super::{
    Action, AttemptEnd, CRASHES_PER_INPUT, CallKey, Failure, Inflight, Phase, Progress, Scheduler,
    State, Timer, Worker, WorkerKey,
};
use crate::api::context::AttemptOutcome;
use crate::api::failure::{Limit, Lost, TimedOut, Waiting};
use crate::api::retryable::Retry;
use crate::job::parts::Parts;

/// How long an async function may take to yield, once it is to be aborted.
const YIELD: Duration = Duration::from_millis(50);

/// For this long an input may be neither executed nor answered before that is no coincidence: between
/// its claim and its start, and between its end and the reading of its answer.
const SETTLE: Duration = Duration::from_millis(100);

/// A worker that has nothing else to do is given at least this long to claim an input.
const UNTOUCHED: Duration = Duration::from_secs(1);

/// The way to the end of something that runs.
#[derive(Debug)]
pub(super) struct Stop {
    /// When it is aborted, or its process asked to end.
    terminate_at: Instant,
    is_due: bool,
    /// When its worker is killed.
    kill: Instant,
    /// Whether its process has been sent a signal.
    pub(super) terminated: bool,
    /// The timeout that is the reason; the call is told once the attempt has ended.
    pub(super) expired: Option<Expired>,
}

/// A timeout that was reached.
#[derive(Clone, Copy, Debug)]
pub(super) struct Expired {
    timeout: Duration,
    started: Instant,
}

/// The reason for which a call that was sent ends without an answer.
#[derive(Clone, Debug)]
pub(super) enum Withdrawn {
    /// Its deadline has passed.
    Deadline,
    /// Its result is not wanted any more, for the reason that its caller is told.
    Unwanted(Failure),
}

impl Withdrawn {
    /// Returns whether the call ends: not where it is its deadline that has passed, and that was put off.
    pub(super) fn ends_call(&self, put_off: bool) -> bool {
        !put_off || !matches!(self, Self::Deadline)
    }
}

/// The progress of an input that was sent, as a probe found it.
#[derive(Clone, Copy)]
enum Stage {
    /// It is being executed, since then.
    Running(Instant),
    /// It was claimed, and the worker neither executes nor answers it. The input did not start before
    /// the first time, and was seen like this since the second.
    Stalled { bound: Instant, seen: Instant },
    /// It is the next one, and the worker, which has nothing else to do, does not claim it.
    Untouched { bound: Instant, seen: Instant },
    /// It waits behind others, or is done and its answer is about to be read.
    Waiting,
}

impl<P: Parts> Scheduler<P> {
    /// Takes in what a worker shows of its work: stops what has run for too long or is not wanted
    /// any more, and ends the calls that were withdrawn.
    ///
    /// The worker's word is not enough: it may be damaged, stopped, or lie. An input that the worker
    /// shows as claimed without saying since when, or as done without answering it, cannot have been
    /// started before it was sent, nor before the answer to the one ahead of it; from then its time
    /// counts.
    pub(crate) fn probed(&mut self, now: Instant, key: WorkerKey, progress: &Progress) {
        for one in &progress.executing {
            self.isolate(key, one.ticket);
        }
        self.note_stall(now, key, progress);
        self.end_withdrawn(now, key, progress);
        let Some(worker) = self.worker(key) else {
            return;
        };
        if worker.phase != Phase::Ready {
            return;
        }
        let policy = &self.functions[worker.function.0].policy;
        let executes = |ticket| progress.executing.iter().any(|one| one.ticket == ticket);
        // A batch is not stopped for one of its inputs as long as others are wanted.
        let shared = !policy.separable
            && worker
                .outstanding
                .iter()
                .any(|one| one.call.is_some() && executes(one.ticket));
        let mut next: Option<Instant> = None;
        let mut look_at = |at: Option<Instant>| next = next.into_iter().chain(at).min();
        let mut ends = Vec::new();
        for inflight in worker.outstanding.iter().filter(|one| one.stop.is_none()) {
            let stage = worker.stage(now, inflight, policy.at_once, progress);
            let Some(call) = inflight.call else {
                match stage {
                    _ if shared => {}
                    Stage::Running(_) => ends.push((inflight.ticket, None)),
                    Stage::Stalled { seen, .. } if seen + SETTLE <= now => {
                        ends.push((inflight.ticket, None));
                    }
                    Stage::Stalled { seen, .. } => look_at(Some(seen + SETTLE)),
                    Stage::Untouched { .. } | Stage::Waiting => {}
                }
                continue;
            };
            let Some(timeout) = self.call(call).and_then(|call| call.terms.policy.timeout) else {
                continue;
            };
            let (started, due) = match stage {
                Stage::Running(started) => (started, started.checked_add(timeout)),
                Stage::Stalled { bound, seen } => {
                    let due = bound.checked_add(timeout);
                    (bound, due.map(|due| due.max(seen + SETTLE)))
                }
                Stage::Untouched { bound, seen } => {
                    let due = bound.checked_add(timeout.max(UNTOUCHED));
                    let due = due.map(|due| due.max(seen + SETTLE));
                    if due.is_some_and(|due| due <= now) {
                        let ticket = inflight.ticket;
                        return self.give_up(now, key, ticket);
                    }
                    look_at(due);
                    continue;
                }
                Stage::Waiting => {
                    look_at(now.checked_add(timeout));
                    continue;
                }
            };
            match due {
                Some(due) if due <= now => {
                    ends.push((inflight.ticket, Some(Expired { timeout, started })));
                }
                due => look_at(due),
            }
        }
        if let Some(at) = next {
            self.arm_probe(key, at);
        }
        let worker = self.worker_mut(key).expect("it was there");
        if ends.is_empty() {
            let draining = worker.outstanding.iter().any(|one| one.stop.is_some());
            if std::mem::replace(&mut worker.draining, draining) && !draining {
                let function = worker.function;
                self.dispatch(now, function);
            }
            return;
        }
        // Until everything else is taken back it may go on to the next input at any moment, and
        // that one must not be hit. Only what is still executing after that is stopped.
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

    /// Gives up a worker that does not claim an input although it has nothing else to do: it was stopped,
    /// or the memory in which it claims is damaged. In that case the input may have run.
    fn give_up(&mut self, now: Instant, key: WorkerKey, ticket: u64) {
        self.isolate(key, ticket);
        let Some(worker) = self.worker_mut(key) else {
            return;
        };
        let call = worker.outstanding.remove(ticket).and_then(|one| one.call);
        let reason = "it did not begin what it was sent";
        self.broken(key, reason.into());
        let Some((key, call)) = call.and_then(|key| Some((key, self.call_mut(key)?))) else {
            return;
        };
        call.past().crashes += 1;
        if call.terms.policy.at_most_once || call.past().crashes >= CRASHES_PER_INPUT {
            let reason = reason.into();
            self.resolve(key, Err(Failure::Lost(Lost::Protocol { reason })), None);
        } else {
            self.enqueue_back(now, key);
        }
    }

    /// Remembers since when the first input that a worker does not execute has been the first one.
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

    /// Ends the calls that were withdrawn and of which it is known by now whether they run.
    fn end_withdrawn(&mut self, now: Instant, key: WorkerKey, progress: &Progress) {
        let Some(worker) = self.worker(key) else {
            return;
        };
        if !worker.outstanding.iter().any(|one| one.withdrawn.is_some()) {
            return;
        }
        // Answers come in their order: those after the first one that is missing are missing as well.
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

    /// Ends the attempt of a call that was withdrawn, and the call. Its worker goes on until it is
    /// stopped; a late answer is ignored.
    fn end_attempt(&mut self, now: Instant, key: WorkerKey, ticket: u64, start: Instant) {
        let Some(worker) = self.worker_mut(key) else {
            return;
        };
        let pid = worker.pid;
        let Some(inflight) = worker.outstanding.find(ticket) else {
            return;
        };
        let (Some(call), Some(withdrawn)) = (inflight.call, inflight.withdrawn.take()) else {
            return;
        };
        if matches!(*withdrawn, Withdrawn::Deadline) && self.begins_later(now, call, start) {
            return;
        }
        let grace = self.call(call).and_then(|call| call.terms.policy.grace);
        if let Some(inflight) = self.workers[key].outstanding.find(ticket) {
            inflight.call = None;
            inflight.grace = grace;
        }
        let end = AttemptEnd {
            outcome: AttemptOutcome::Cancelled,
            start,
            duration: now.saturating_duration_since(start),
            pid,
            stderr_tail: None,
            error: None,
            withdrawn: None,
        };
        self.end_withdrawn_call(call, &withdrawn, Some(end));
    }

    /// Returns whether the deadline of a map's input is later than was thought when it was sent: it
    /// counts from the start of the first attempt. If so it is put off until then.
    fn begins_later(&mut self, now: Instant, key: CallKey, start: Instant) -> bool {
        self.begin_deadline(key, start);
        let deadline = self.call(key).and_then(|call| call.deadline);
        deadline.is_some_and(|deadline| deadline > now)
    }

    /// The first attempt at a call was started at this time; a deadline that counts from there is set
    /// to that.
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

    /// Ends a call that was withdrawn, with the attempt that was being executed, if one was.
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
            call.record(end);
        }
        let failure = match (withdrawn, policy.deadline) {
            (Withdrawn::Unwanted(failure), _) => failure.clone(),
            (Withdrawn::Deadline, limit) => {
                self.deadline_failure(key, limit.unwrap_or_default(), runs)
            }
        };
        self.resolve(key, Err(failure), None);
    }

    /// Returns the failure of a call whose deadline has passed, while it ran or did not.
    fn deadline_failure(&mut self, key: CallKey, limit: Duration, runs: bool) -> Failure {
        let waiting = match self.call(key).map(|call| call.state) {
            _ if runs => Waiting::Attempt,
            Some(State::Delayed) => Waiting::Retry,
            _ => Waiting::Worker,
        };
        let past = self.call_mut(key).and_then(|call| call.past.as_mut());
        match past.and_then(|past| past.last.take()) {
            // The deadline has ended the retries: the caller gets the error that they were for.
            Some(last) if !runs => last,
            _ => Failure::TimedOut(TimedOut::new(Limit::Deadline, limit).while_waiting(waiting)),
        }
    }

    /// Begins to end what a worker is executing.
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
        }
        self.stop_further(now, key);
    }

    /// Presses harder where the time for that has come.
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
        let worker = self.worker_mut(key).expect("it was there");
        for inflight in worker.outstanding.iter_mut() {
            let Some(stop) = &mut inflight.stop else {
                continue;
            };
            if stop.kill <= now {
                return self.kill_stopped(now, key);
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

    /// Kills a worker that did not stop. What it had to do beside that goes back unblamed.
    fn kill_stopped(&mut self, now: Instant, key: WorkerKey) {
        let Some(worker) = self.worker_mut(key) else {
            return;
        };
        let (function, pid) = (worker.function, worker.pid);
        let expired: Vec<_> = worker
            .outstanding
            .iter_mut()
            .filter_map(|inflight| {
                let expired = inflight.stop.as_ref()?.expired?;
                let withdrawn = inflight.withdrawn.take();
                Some((inflight.call.take()?, expired, withdrawn))
            })
            .collect();
        self.kill(key, Phase::Killed);
        for (call, expired, withdrawn) in expired {
            let state = &mut self.functions[function.0];
            state.completed(now, 1);
            state.took(expired.timeout, 1);
            self.expired(now, call, expired, withdrawn, pid, None);
        }
        self.dispatch(now, function);
    }

    /// An attempt that was stopped by its timeout has ended.
    pub(super) fn expired(
        &mut self,
        now: Instant,
        call: CallKey,
        expired: Expired,
        withdrawn: Option<Box<Withdrawn>>,
        pid: Option<u32>,
        stderr_tail: Option<std::sync::Arc<str>>,
    ) {
        let Expired { timeout, started } = expired;
        self.attempt_failed(
            now,
            call,
            Failure::TimedOut(TimedOut::new(Limit::Attempt, timeout)),
            Retry::Default,
            AttemptEnd {
                outcome: AttemptOutcome::TimedOut(timeout),
                start: started,
                duration: now.saturating_duration_since(started),
                pid,
                stderr_tail,
                error: None,
                withdrawn,
            },
        );
    }

    /// Ends a call from outside: by cancellation or deadline.
    ///
    /// Of a call that was sent it is not known here whether it runs. What has not been claimed is
    /// taken back first, and what has been is looked at: only that has an attempt.
    pub(super) fn withdraw(&mut self, key: CallKey, why: Withdrawn) {
        let Some(call) = self.call(key) else { return };
        let State::Sent { worker, ticket } = call.state else {
            if call.state == State::Queued {
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
            // Inputs that it had not claimed were taken back when it was told to end.
            self.actions.push_back(Action::Probe { worker });
        }
    }
}

impl Progress {
    /// Returns whether a ticket is being executed, and it is known since when.
    fn runs(&self, ticket: u64) -> bool {
        self.executing
            .iter()
            .any(|one| one.ticket == ticket && one.since.is_some())
    }
}

impl Worker {
    /// Returns a time before which an input that is with this worker was not started, given when it was
    /// first seen as the one that does not go on.
    ///
    /// With one input at a time that is when it was sent, or when the one ahead of it was answered.
    /// With several at once answers say nothing about the others.
    fn bound(&self, inflight: &Inflight, at_once: usize, seen: Instant) -> Instant {
        match at_once {
            1 => inflight.sent.max(self.answered_at),
            _ => seen,
        }
    }

    /// Returns whether the worker shows one of the inputs that it has as being executed.
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
            // The time comes from the worker: it cannot be before the call was sent.
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
