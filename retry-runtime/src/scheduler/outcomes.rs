//! The outcomes of calls: answers, crashes, retries and the end of each call.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::function::Lane;
use super::publishing::Ran;
use super::queue::Queue;
use super::stop::Withdrawn;
use super::suspects::Crashed;
use super::workers::WorkerIdentity;
use super::{
    Action, Answer, AnswerReport, AttemptEnd, CRASHES_PER_INPUT, Call, CallKey, CallState,
    ExitReport, Failure, FunctionKey, History, Inflight, Outcome, Phase, Scheduler, Timer,
    UnknownTicket, Worker, WorkerKey,
};
use crate::api::context::AttemptOutcome;
use crate::api::excerpt::one_line;
use crate::api::failure::{Cancelled, Crash, Lost};
use crate::api::retries::Retries;
use crate::api::retryable::Retry;
use crate::codec::payload::Payload;
use crate::job::caller::Caller;
use crate::job::parts::Parts;
use crate::job::resumption::Resumption;

impl<P: Parts> Scheduler<P> {
    /// Takes over the calls of a worker that died or was killed: accounts for those that it was
    /// executing, and requeues the others.
    pub(super) fn take_over(&mut self, now: Instant, mut worker: Worker, report: ExitReport) {
        let function = worker.function;
        let received = worker.received;
        let was_claimed = |ticket| ticket <= report.claimed && Some(ticket) != received;
        let is_claimed = |one: &&Inflight| was_claimed(one.ticket);
        let identity = worker.identity();
        let mut crashed = Crashed {
            worker: worker.id,
            executing: worker.outstanding.iter().filter(is_claimed).count(),
        };
        let ours = worker.phase == Phase::Killed
            || report.has_outlived_lease
            || worker.outstanding.iter().any(|inflight| {
                let stop = inflight.stop.as_ref();
                stop.is_some_and(|stop| stop.terminated)
            });
        let mut executing = Vec::new();
        let mut behind = Vec::new();
        let at_once = self.functions[function.0].policy.at_once;
        for inflight in std::mem::take(&mut worker.outstanding) {
            let claimed = was_claimed(inflight.ticket);
            let start = worker.bound(&inflight, at_once, inflight.sent);
            let expired = inflight.stop.and_then(|stop| stop.expired);
            if claimed {
                let statistics = &mut self.functions[function.0].statistics;
                statistics.note_time(now);
                // That of a worker that was killed at the timeout was counted then.
                if expired.is_none() || inflight.call.is_some() {
                    statistics.busy += now.saturating_duration_since(start);
                }
            }
            let Some(call) = inflight.call else { continue };
            let put_off = !claimed && self.unbegin_deadline(call);
            let withdrawn = inflight.withdrawn;
            if let Some(withdrawn) = withdrawn.filter(|why| why.ends_call(put_off)) {
                let cancelled = AttemptOutcome::Cancelled;
                let end = claimed.then(|| AttemptEnd {
                    stderr_tail: report.stderr_tail.clone(),
                    ..AttemptEnd::new(identity, cancelled, start, now)
                });
                self.end_withdrawn_call(call, &withdrawn, end);
            } else if let Some(expired) = expired {
                let tail = report.stderr_tail.clone();
                self.end_expired_attempt(now, call, expired, None, identity, tail);
            } else if claimed && (!ours || self.is_at_most_once(call)) {
                executing.push((call, inflight.ticket, start));
            } else if Some(inflight.ticket) == received && self.is_too_large(call) {
                executing.push((call, inflight.ticket, start));
                crashed.executing = 1;
            } else {
                behind.push(call);
            }
        }
        // A panic belongs to all inputs of a batch, but only to one of several async calls.
        let several = self.functions[function.0].policy.separable && executing.len() > 1;
        let panicked = report.panic.filter(|last| {
            let mut tickets = executing.iter().map(|(_, ticket, _)| *ticket);
            tickets.any(|ticket| ticket == last.ticket) || last.ticket == 0 && !several
        });
        if let (true, Some(last)) = (several, &panicked) {
            let is_innocent = |(call, ticket, _): &mut (CallKey, u64, Instant)| {
                *ticket != last.ticket && !self.is_at_most_once(*call)
            };
            let innocent: Vec<_> = executing.extract_if(.., is_innocent).collect();
            behind.splice(..0, innocent.into_iter().map(|(call, ..)| call));
        }
        let aborted_by_panic = panicked.is_some();
        // The crash must be counted before any call is sent again.
        if !executing.is_empty() && !aborted_by_panic && !ours {
            let state = &mut self.functions[function.0];
            state.count_crash(now, report.cause);
            state.statistics.lost += 1;
        }
        for call in behind.into_iter().rev() {
            self.enqueue_front(now, call);
        }
        for (key, ticket, start) in executing {
            let crash = AttemptOutcome::Crashed(report.cause);
            let mut end = AttemptEnd::new(identity, crash, start, now);
            end.stderr_tail = report.stderr_tail.clone();
            if let Some(last) = &panicked
                && (!several || ticket == last.ticket)
            {
                end.outcome = AttemptOutcome::Panicked;
                end.error = Some(one_line(last.panic.told()).into());
                let failure = Failure::Panicked(last.panic.clone());
                self.end_failed_attempt(now, key, failure, Retry::Default, end);
                continue;
            }
            let failure = match &worker.phase {
                Phase::Broken(reason) => {
                    end.outcome = AttemptOutcome::Lost;
                    Failure::Lost(Lost::Protocol {
                        reason: reason.clone(),
                    })
                }
                _ => Failure::Crashed(Crash::new(report.cause, crashed.executing)),
            };
            self.end_crashed_attempt(now, key, crashed, failure, end);
        }
        self.enforce_crash_limit(now, function);
    }

    /// Returns whether a call is charged with the end of a worker that had too much memory and executed nothing, since
    /// its arguments may be too large. One with `at_most_once` is charged at the last such end only: the memory may have
    /// been lost by an earlier call, and this one has not begun.
    fn is_too_large(&mut self, key: CallKey) -> bool {
        let is_at_most_once = self.is_at_most_once(key);
        let Some(past) = self.call_mut(key).map(Call::past_mut) else {
            return false;
        };
        if is_at_most_once && past.crashes + 1 < CRASHES_PER_INPUT {
            past.crashes += 1;
            return false;
        }
        true
    }

    pub(super) fn is_at_most_once(&self, key: CallKey) -> bool {
        self.call(key)
            .is_some_and(|call| call.terms.policy.at_most_once)
    }

    /// Handles a crash of the worker that was executing a call, alone or with others.
    fn end_crashed_attempt(
        &mut self,
        now: Instant,
        key: CallKey,
        crashed: Crashed,
        failure: Failure,
        end: AttemptEnd,
    ) {
        let Some(call) = self.call_mut(key) else {
            return;
        };
        let tail = end.stderr_tail.clone();
        let (function, at_most_once) = (call.function, call.terms.policy.at_most_once);
        let worker = end.worker;
        call.record(end);
        call.queued_at = now;
        self.publish_attempt(key, worker);
        let may_have_company = self.functions[function.0].policy.at_once > 1;
        if let Some(past) = self.call_mut(key).map(Call::past_mut)
            && let Some(worker) = past.record_crash(crashed, may_have_company)
        {
            self.acquit(now, function, worker);
        }
        let crashes = self.call_mut(key).map_or(0, |call| call.past_mut().crashes);
        let limit = match at_most_once {
            true => Some(crashes.max(1)),
            false => (crashes >= CRASHES_PER_INPUT).then_some(CRASHES_PER_INPUT),
        };
        if let Some(limit) = limit {
            let failure = match failure {
                Failure::Crashed(crash) => Failure::Crashed(crash.given_up_after(limit)),
                other => other,
            };
            self.resolve(key, Err(failure), tail);
        } else {
            self.functions[function.0].counts.retried += 1;
            self.publish_retry(key, Duration::ZERO);
            // At the back, so that inputs that do not crash come first.
            self.enqueue_back(now, key);
        }
    }

    /// Takes in the values with which a worker answered consecutive tickets.
    pub(super) fn handle_values(
        &mut self,
        now: Instant,
        key: WorkerKey,
        mut ticket: u64,
        mut values: Payload,
        ran: Ran,
    ) -> Result<(), UnknownTicket> {
        loop {
            self.part(key, ticket);
            let worker = self.worker_mut(key).ok_or(UnknownTicket)?;
            let identity = worker.identity();
            let function = worker.function;
            let inflight = worker.outstanding.find(ticket).ok_or(UnknownTicket)?;
            let count = inflight.count.min(values.count());
            let (call, whole) = (inflight.call, count == inflight.count);
            let expired = inflight.stop.take().and_then(|stop| stop.expired);
            let withdrawn = inflight.withdrawn.clone();
            if whole {
                worker.outstanding.remove(ticket);
            } else {
                worker.outstanding.advance(ticket, count);
            }
            self.functions[function.0].count_completions(now, count);
            let last = count == values.count();
            let part = if last {
                std::mem::replace(&mut values, Payload::NONE)
            } else {
                values.split_front(count)
            };
            ticket += u64::from(count);
            match (call, expired) {
                (Some(call), Some(expired)) => {
                    self.end_expired_attempt(now, call, expired, withdrawn, identity, None);
                }
                (Some(call), None) => {
                    let left = self.succeed(call, part, identity, last.then_some(ran));
                    if !whole
                        && let Some(worker) = self.worker_mut(key)
                        && let Some(inflight) = worker.outstanding.find(ticket)
                    {
                        inflight.call = left;
                    }
                }
                (None, _) => {}
            }
            if last {
                return Ok(());
            }
        }
    }

    /// Takes in an answer to a ticket that is not a value.
    pub(super) fn handle_failure(
        &mut self,
        now: Instant,
        key: WorkerKey,
        ticket: u64,
        report: AnswerReport,
    ) -> Result<(), UnknownTicket> {
        self.isolate(key, ticket);
        let worker = self.worker_mut(key).ok_or(UnknownTicket)?;
        let (identity, function) = (worker.identity(), worker.function);
        let inflight = worker.outstanding.remove(ticket).ok_or(UnknownTicket)?;
        self.functions[function.0].count_completions(now, 1);
        if let Some(call) = inflight.call {
            let withdrawn = inflight.withdrawn;
            let panicked = matches!(report.answer, Answer::Panicked(_));
            match inflight.stop.and_then(|stop| stop.expired) {
                Some(expired) => {
                    // A panic counts even if the attempt had expired before.
                    if let (true, Some(call)) = (panicked, self.call_mut(call)) {
                        call.past_mut().panics += 1;
                    }
                    self.end_expired_attempt(
                        now,
                        call,
                        expired,
                        withdrawn,
                        identity,
                        report.stderr_tail,
                    );
                }
                None => {
                    let is_excused = panicked && self.excuses_panic(key, call);
                    self.settle(now, identity, call, report, withdrawn, is_excused);
                }
            }
        }
        Ok(())
    }

    /// Resolves or retries a call that a worker answered. The call may have been withdrawn
    /// meanwhile.
    fn settle(
        &mut self,
        now: Instant,
        worker: WorkerIdentity,
        key: CallKey,
        report: AnswerReport,
        withdrawn: Option<Box<Withdrawn>>,
        is_excused: bool,
    ) {
        let mut error = report.error;
        let (failure, outcome, retry) = match report.answer {
            Answer::Ok(values) => {
                self.succeed(key, values, worker, None);
                return;
            }
            Answer::Err { error, retry } => {
                (Failure::Function(error), AttemptOutcome::Failed, retry)
            }
            Answer::Panicked(panic) => {
                error = Some(one_line(panic.told()).into());
                let failure = Failure::Panicked(panic);
                (failure, AttemptOutcome::Panicked, Retry::Default)
            }
            Answer::Rejected(rejected) => {
                return self.resolve(key, Err(Failure::Rejected(rejected)), report.stderr_tail);
            }
            Answer::Lost(lost) => (Failure::Lost(lost), AttemptOutcome::Lost, Retry::No),
            // The scheduler aborts only calls that are no longer wanted or have expired, and
            // neither gets here.
            Answer::Aborted => {
                let lost = Lost::Protocol {
                    reason: "it aborted a call that it was not asked to abort".into(),
                };
                (Failure::Lost(lost), AttemptOutcome::Lost, Retry::No)
            }
        };
        self.end_failed_attempt(
            now,
            key,
            failure,
            retry,
            AttemptEnd {
                outcome,
                start: now.checked_sub(report.duration).unwrap_or(now),
                duration: report.duration,
                worker,
                stderr_tail: report.stderr_tail,
                error,
                withdrawn,
                is_excused,
            },
        );
    }

    /// Handles an attempt that failed in a way that the retry policy covers, unless `retry` is
    /// `No`.
    pub(super) fn end_failed_attempt(
        &mut self,
        now: Instant,
        key: CallKey,
        failure: Failure,
        retry: Retry,
        mut end: AttemptEnd,
    ) {
        let withdrawn = end.withdrawn.take();
        self.begin_deadline(key, end.start);
        let Some(index) = self.call(key).map(|_| key.index) else {
            return;
        };
        let call = &mut self.calls[index];
        if let Some(past) = &mut call.past {
            past.clear_suspicion();
        }
        let tail = end.stderr_tail.clone();
        let worker = end.worker;
        let is_excused = end.is_excused;
        call.record(end);
        self.publish_attempt(key, worker);
        let call = &mut self.calls[index];
        let charged = call.past_mut().failures + u32::from(!is_excused);
        let failures = charged.max(1);
        let scheduled = call
            .terms
            .policy
            .retries
            .draw_delay(failures, &mut self.random);
        let delay = match retry {
            Retry::No => None,
            Retry::Default => scheduled,
            Retry::After(delay) => scheduled.map(|_| delay.min(Retries::LONGEST_DELAY)),
        };
        let delay = match &call.terms.budget {
            Some(budget) => {
                budget.count_attempts(1);
                delay.filter(|_| is_excused || budget.try_retry())
            }
            None => delay,
        };
        let Some(delay) = delay else {
            // The function could not do its work since the shutdown had ended a part of it.
            let failure = match call.past_mut().is_cut_off {
                true => Failure::Cancelled(Cancelled::ByShutdown),
                false => failure,
            };
            return self.resolve(key, Err(failure), tail);
        };
        match withdrawn.as_deref() {
            None => {}
            // The deadline rules out a further attempt.
            Some(Withdrawn::Deadline) => return self.resolve(key, Err(failure), tail),
            Some(Withdrawn::Unwanted(why)) => {
                // Another scheduler may go on with the call.
                let past = call.past_mut();
                past.failures = charged;
                if let Failure::HandedBack(_) = why {
                    return self.hand_back(now, key, delay, tail);
                }
                return self.resolve(key, Err(why.clone()), tail);
            }
        }
        let due = now.checked_add(delay);
        if call
            .deadline
            .is_some_and(|deadline| due.is_none_or(|due| due >= deadline))
        {
            // No further attempt would start before the deadline, so this was the last one.
            return self.resolve(key, Err(failure), tail);
        }
        let last = call.deadline.is_some().then_some(failure);
        let longest_delay = call.terms.longest_delay;
        let function = call.function;
        let past = call.past_mut();
        past.failures = charged;
        past.last = last;
        self.functions[function.0].counts.retried += 1;
        self.publish_retry(key, delay);
        if longest_delay.is_some_and(|longest| delay > longest) {
            return self.hand_back(now, key, delay, tail);
        }
        self.delay(key);
        match due {
            // A delay of zero involves no timer, and the retry goes ahead of calls that never ran.
            _ if delay.is_zero() => self.enqueue_front(now, key),
            Some(due) => self.arm(due, Timer::Retry(key)),
            None => {}
        }
    }

    /// Gives up a call whose next attempt is made elsewhere.
    fn hand_back(
        &mut self,
        now: Instant,
        key: CallKey,
        delay: Duration,
        stderr_tail: Option<Arc<str>>,
    ) {
        let deadline = self.call(key).and_then(|call| call.deadline);
        let resumption = Resumption {
            delay,
            left: deadline.map(|deadline| deadline.saturating_duration_since(now)),
            ..Resumption::default()
        };
        self.resolve(
            key,
            Err(Failure::HandedBack(Box::new(resumption))),
            stderr_tail,
        );
    }

    pub(super) fn resolve(
        &mut self,
        key: CallKey,
        mut result: Result<Payload, Failure>,
        stderr_tail: Option<Arc<str>>,
    ) {
        let mut call = self.calls.remove(key.index);
        debug_assert_eq!(call.id, key.id);
        let delayed = usize::from(call.state == CallState::Delayed);
        self.delayed -= delayed;
        self.outdate(delayed + usize::from(call.deadline.is_some()));
        if let Some(parent) = &call.parent {
            let is_cut_off = matches!(result, Err(Failure::Cancelled(Cancelled::ByShutdown)));
            if is_cut_off && let Some(outer) = self.outer(parent) {
                outer.past_mut().is_cut_off = true;
            }
            self.leave_parent(parent.worker, call.id);
        }
        let count = call.payload.count();
        let counts = &mut self.functions[call.function.0].counts;
        counts.finished += u64::from(count);
        match &mut result {
            Ok(_) => {}
            // The call goes on elsewhere, and may come back.
            Err(Failure::HandedBack(resumption)) => {
                call.leave(resumption);
                counts.submitted -= u64::from(count);
                counts.finished -= u64::from(count);
            }
            Err(Failure::Cancelled(_)) => counts.cancelled += u64::from(count),
            Err(_) => counts.failed += u64::from(count),
        }
        if let Err(failure) = &result
            && !matches!(failure, Failure::HandedBack(_))
        {
            self.publish_failure(key.id, &call, failure, stderr_tail.as_deref());
        }
        self.actions.push_back(Action::Resolve {
            payload: call.payload,
            outcome: Outcome {
                call: key.id,
                result,
                history: History::new(
                    call.past.map_or_else(Vec::new, |past| past.attempts),
                    stderr_tail,
                ),
            },
        });
    }

    pub(super) fn enqueue_back(&mut self, now: Instant, key: CallKey) {
        if let Some((queue, depth, caller)) = self.enter_queue(now, key) {
            queue.push_back(depth, caller, key);
        }
    }

    pub(super) fn enqueue_front(&mut self, now: Instant, key: CallKey) {
        if let Some((queue, depth, caller)) = self.enter_queue(now, key) {
            queue.push_front(depth, caller, key);
        }
    }

    /// Marks a call as queued. Resolves it instead if the shutdown cancels queued calls or if its
    /// function's workers crash too often. Returns the queue that the call belongs to, with the
    /// depth and the caller that determine its position.
    fn enter_queue(&mut self, now: Instant, key: CallKey) -> Option<(&mut Queue, u32, Caller)> {
        let call = self.call_mut(key)?;
        let was = std::mem::replace(&mut call.state, CallState::Queued);
        if was == CallState::Delayed {
            call.queued_at = now;
        }
        let (function, depth, count) = (call.function, call.depth, call.payload.count());
        let (caller, lane) = (call.payload.caller(), call.lane());
        self.delayed -= usize::from(was == CallState::Delayed);
        if self.cancels_queued {
            let why = Failure::Cancelled(Cancelled::ByShutdown);
            self.resolve(key, Err(why), None);
            return None;
        }
        if let Some(exceeded) = self.functions[function.0].check_crash_limit(now) {
            self.resolve(key, Err(Failure::CrashLimit(exceeded)), None);
            return None;
        }
        let state = &mut self.functions[function.0];
        *state.queued_at(depth) += count as usize;
        Some((state.lane_mut(lane), depth, caller))
    }

    /// Subtracts a call that is no longer queued from its function's counts.
    pub(super) fn leave_queue(&mut self, key: CallKey) {
        if let Some(call) = self.call(key) {
            let (function, depth) = (call.function, call.depth);
            let count = call.payload.count() as usize;
            *self.functions[function.0].queued_at(depth) -= count;
        }
    }

    /// Counts a stale entry in a queue: its call was withdrawn.
    pub(super) fn outdate_queued(&mut self, function: FunctionKey, lane: Lane) {
        let (calls, queue) = (&self.calls, self.functions[function.0].lane_mut(lane));
        queue.outdate(|key| calls.get(key.index).is_some_and(|call| call.id == key.id));
    }

    /// Fails all pending calls of a function whose workers crash too often. A call that another
    /// worker is executing may finish; it fails if it would have to run again.
    pub(super) fn enforce_crash_limit(&mut self, now: Instant, function: FunctionKey) {
        let Some(exceeded) = self.functions[function.0].check_crash_limit(now) else {
            return;
        };
        let pending = self.keys_where(|call| {
            call.function == function && !matches!(call.state, CallState::Sent { .. })
        });
        drop(self.functions[function.0].take_queue());
        for key in pending {
            self.resolve(key, Err(Failure::CrashLimit(exceeded.clone())), None);
        }
        let workers = self.workers_of(function).to_vec();
        for worker in workers {
            self.recall(worker);
        }
    }
}
