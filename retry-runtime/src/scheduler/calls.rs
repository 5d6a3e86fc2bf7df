//! Calls that are not resolved yet.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::function::Lane;
use super::nested::{Parent, Place};
use super::stop::Withdrawn;
use super::suspects::Suspicion;
use super::timers::Timer;
use super::workers::{Phase, WorkerIdentity};
use super::{FunctionKey, GROWTH, Scheduler, WorkerKey};
use crate::api::call_id::CallNumber;
use crate::api::context::{Attempt, AttemptOutcome, remember};
use crate::api::failure::{Cancelled, Rejected};
use crate::api::options::Policy;
use crate::api::run;
use crate::job::ShowInput;
use crate::job::budget::Budget;
use crate::job::call_site::CallSite;
use crate::job::outcome::{CallKey, Failure};
use crate::job::parts::Parts;
use crate::job::resumption::Resumption;

/// The terms of a call, shared by calls that were made together.
#[derive(Clone, Debug)]
pub(crate) struct Terms {
    /// The name of the called function. For a method of a service it differs from the name of the
    /// pool.
    pub(crate) name: &'static str,
    pub(crate) policy: Policy,
    /// The retry budget that the call shares with others.
    pub(crate) budget: Option<Arc<Budget>>,
    /// The line of the program that made the call, if it is known here.
    pub(crate) called: Option<CallSite>,
    /// Shows the arguments, for failure reports.
    pub(crate) show: Option<ShowInput>,
    /// The longest delay of a retry that is waited for here. A call with a longer one is
    /// [handed back](Failure::HandedBack).
    pub(crate) longest_delay: Option<Duration>,
}

impl Terms {
    /// Returns whether two terms are equal, so that one `Arc` can replace the other. Terms with a
    /// budget never are.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.name == other.name
            && self.policy == other.policy
            && self.called == other.called
            && self.longest_delay == other.longest_delay
            && self.budget.is_none()
            && other.budget.is_none()
    }
}

/// A call, or a [chunk](super::chunk) of calls.
#[derive(Debug)]
pub(super) struct Call<P> {
    /// The identity of the chunk's first call.
    pub(super) id: CallNumber,
    pub(super) function: FunctionKey,
    pub(super) terms: Arc<Terms>,
    /// The deadline; `None` also while a deadline that begins when the call is sent has not begun.
    pub(super) deadline: Option<Instant>,
    /// `true` if the deadline begins with the first attempt, however long the input was queued. Inputs of a
    /// map have such a deadline, unless it is inherited.
    pub(super) deadline_begins_when_sent: bool,
    pub(super) state: CallState,
    /// The time since which the call has waited for a worker.
    pub(super) queued_at: Instant,
    /// The number of the next or current attempt, from 1.
    pub(super) attempt: u32,
    /// The nesting depth: the number of calls above this one.
    pub(super) depth: u32,
    /// The call that made this one, if it is nested.
    pub(super) parent: Option<Box<Parent>>,
    /// The history of past attempts. Boxed, since most calls have none.
    pub(super) past: Option<Box<Past>>,
    pub(super) payload: P,
}

/// The past attempts of a call.
#[derive(Debug, Default)]
pub(super) struct Past {
    /// The number of failures that were charged to the retry policy.
    pub(super) failures: u32,
    /// The number of attempts that have panicked.
    pub(super) panics: u32,
    pub(super) crashes: u32,
    pub(super) suspicion: Suspicion,
    pub(super) attempts: Vec<Attempt>,
    /// The last of those failures, which the caller gets if the deadline ends the retries.
    pub(super) last: Option<Failure>,
    /// Set if the shutdown has cancelled a call that an attempt made.
    pub(super) is_cut_off: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CallState {
    Queued,
    /// The call waits for the delay before its next attempt.
    Delayed,
    Sent {
        worker: WorkerKey,
        /// The ticket of the chunk's first input.
        ticket: u64,
    },
}

/// The end of an attempt, for the call's history.
pub(super) struct AttemptEnd {
    pub(super) worker: WorkerIdentity,
    pub(super) outcome: AttemptOutcome,
    pub(super) start: Instant,
    pub(super) duration: Duration,
    pub(super) stderr_tail: Option<Arc<str>>,
    pub(super) error: Option<Box<str>>,
    /// The reason why the call ends now, if it was withdrawn while the attempt ran.
    pub(super) withdrawn: Option<Box<Withdrawn>>,
    /// Set if the attempt is not charged to the retry policy.
    pub(super) is_excused: bool,
}

impl AttemptEnd {
    /// Returns the end of an attempt that began at `start`, without the facts that only some attempts have.
    pub(super) fn new(
        worker: WorkerIdentity,
        outcome: AttemptOutcome,
        start: Instant,
        now: Instant,
    ) -> Self {
        Self {
            worker,
            outcome,
            start,
            duration: now.saturating_duration_since(start),
            stderr_tail: None,
            error: None,
            withdrawn: None,
            is_excused: false,
        }
    }
}

impl<P> Call<P> {
    pub(super) fn record(&mut self, end: AttemptEnd) {
        let attempt = Attempt {
            number: self.attempt,
            worker_pid: end.worker.pid,
            host: run::host().into(),
            start: end.start,
            duration: end.duration,
            outcome: end.outcome,
            error: end.error,
        };
        let past = self.past_mut();
        past.panics += u32::from(attempt.outcome == AttemptOutcome::Panicked);
        remember(&mut past.attempts, attempt);
        self.attempt += 1;
    }

    /// Moves what is known of the call's attempts, for another scheduler.
    pub(super) fn leave(&mut self, resumption: &mut Resumption) {
        resumption.attempt = self.attempt;
        // It may have been reset since.
        resumption.left = resumption.left.filter(|_| self.deadline.is_some());
        if let Some(past) = self.past.take() {
            resumption.failures = past.failures;
            resumption.panicked = past.panics > 0;
            resumption.crashes = past.crashes;
            resumption.attempts = past.attempts;
            resumption.last = past.last;
        }
    }

    /// Returns the kind of worker that the call's next attempt needs.
    pub(super) fn lane(&self) -> Lane {
        if self.needs_clean() {
            Lane::Clean
        } else if self.is_suspect() {
            Lane::Alone
        } else {
            Lane::Any
        }
    }

    /// Returns whether the call needs a worker in which nothing has panicked.
    pub(super) fn needs_clean(&self) -> bool {
        self.past.as_ref().is_some_and(|past| past.panics > 0)
    }

    /// Returns whether the call has panicked in a clean worker as well. Other calls may have done so there before, so the
    /// next attempt has no company.
    pub(super) fn needs_to_be_alone(&self) -> bool {
        self.past.as_ref().is_some_and(|past| past.panics > 1)
    }

    pub(super) fn past_mut(&mut self) -> &mut Past {
        self.past.get_or_insert_default()
    }
}

impl From<Resumption> for Past {
    fn from(resumption: Resumption) -> Self {
        Self {
            failures: resumption.failures,
            panics: u32::from(resumption.panicked),
            crashes: resumption.crashes,
            suspicion: Suspicion::None,
            attempts: resumption.attempts,
            last: resumption.last,
            is_cut_off: false,
        }
    }
}

impl CallKey {
    /// Creates the key of a call that another process schedules.
    pub(crate) fn nested(id: CallNumber) -> Self {
        Self { index: 0, id }
    }
}

impl<P: Parts> Scheduler<P> {
    /// Takes in a new call or a chunk of calls. The caller must call [`dispatch`](Self::dispatch)
    /// afterwards; many calls may share one dispatch.
    pub(crate) fn submit(
        &mut self,
        now: Instant,
        function: FunctionKey,
        terms: Arc<Terms>,
        payload: P,
    ) -> CallKey {
        let id = self.numbers.take_calls(payload.count());
        let key = self.enter(
            now,
            function,
            terms,
            payload,
            Place { id, ..Place::TOP },
            None,
        );
        self.refuse_if_draining(key);
        key
    }

    /// Takes in a call that has attempts behind it, as [`submit`](Self::submit) takes in a new one.
    pub(crate) fn resume(
        &mut self,
        now: Instant,
        function: FunctionKey,
        terms: Arc<Terms>,
        payload: P,
        resumption: Resumption,
    ) -> CallKey {
        let id = self.numbers.take_calls(payload.count());
        let place = Place { id, ..Place::TOP };
        let key = self.enter(now, function, terms, payload, place, Some(resumption));
        self.refuse_if_draining(key);
        key
    }

    fn refuse_if_draining(&mut self, key: CallKey) {
        if self.draining && self.call(key).is_some() {
            let why = Withdrawn::Unwanted(Failure::Rejected(Rejected::ShutDown));
            self.withdraw(key, why);
        }
    }

    pub(super) fn enter(
        &mut self,
        now: Instant,
        function: FunctionKey,
        terms: Arc<Terms>,
        payload: P,
        place: Place,
        resumption: Option<Resumption>,
    ) -> CallKey {
        let Place {
            id,
            parent,
            depth,
            deadline_is_inherited,
        } = place;
        let count = payload.count();
        let deadline_begins_when_sent = payload.index().is_some() && !deadline_is_inherited;
        let (attempt, delay, left, past) = match resumption {
            None => (1, terms.policy.after, None, None),
            Some(resumption) => {
                let (attempt, delay, left) =
                    (resumption.attempt, resumption.delay, resumption.left);
                let past = (attempt > 1).then(|| Box::new(Past::from(resumption)));
                (attempt.max(1), delay, left, past)
            }
        };
        // An attempt may have been made on a machine that was lost, with which the deadline has begun.
        let has_begun = !deadline_begins_when_sent || attempt > 1;
        let own = terms.policy.deadline.filter(|_| has_begun);
        let start = match deadline_is_inherited || attempt > 1 {
            true => now,
            false => now.checked_add(delay).unwrap_or(now),
        };
        let left = left.and_then(|left| now.checked_add(left));
        let deadline = left.or_else(|| start.checked_add(own?));
        let key = self.insert(Call {
            id,
            function,
            terms,
            deadline,
            deadline_begins_when_sent,
            state: CallState::Queued,
            queued_at: now,
            attempt,
            depth,
            parent: parent.map(Box::new),
            past,
            payload,
        });
        let state = &mut self.functions[function.0];
        state.counts.submitted += u64::from(count);
        state.statistics.period.get_or_insert((now, now));
        self.publish_queued(key);
        if let Some(at) = deadline {
            self.arm(at, Timer::Deadline(key));
        }
        match now.checked_add(delay).filter(|due| *due > now) {
            Some(due) => {
                self.delay(key);
                self.arm(due, Timer::Retry(key));
            }
            None => self.enqueue_back(now, key),
        }
        key
    }

    /// Marks a call as waiting for its next attempt.
    pub(super) fn delay(&mut self, key: CallKey) {
        if let Some(call) = self.call_mut(key) {
            call.state = CallState::Delayed;
            call.payload.detach();
            self.delayed += 1;
        }
    }

    pub(super) fn insert(&mut self, call: Call<P>) -> CallKey {
        let calls = &mut self.calls;
        if calls.len() == calls.capacity() {
            // Doubling would allocate up to twice the memory that the waiting calls need.
            calls.reserve_exact((calls.len() / GROWTH).max(GROWTH));
        }
        let id = call.id;
        let index = calls.insert(call);
        CallKey { index, id }
    }

    /// Cancels calls, whose results are no longer wanted.
    pub(crate) fn cancel(&mut self, calls: impl IntoIterator<Item = CallKey>, why: Cancelled) {
        for key in calls {
            self.withdraw(key, Withdrawn::Unwanted(Failure::Cancelled(why)));
        }
    }

    /// Cancels all calls whose payload satisfies a predicate, and kills the workers that may be executing one of
    /// them, whatever their grace.
    pub(crate) fn kill_where(&mut self, is_unwanted: impl Fn(&P) -> bool) {
        for key in self.keys_where(|call| is_unwanted(&call.payload)) {
            self.kill_call(key, Failure::Cancelled(Cancelled::ByCaller));
        }
    }

    /// Takes all calls away whose payload satisfies a predicate, for another scheduler, and kills the workers that
    /// may be executing one of them.
    pub(crate) fn hand_back_where(&mut self, now: Instant, is_meant: impl Fn(&P) -> bool) {
        for key in self.keys_where(|call| is_meant(&call.payload)) {
            let resumption = self.resumption(now, key);
            self.kill_call(key, Failure::HandedBack(resumption));
        }
    }

    /// Takes those calls away whose payload satisfies a predicate and that no worker has, for another scheduler.
    pub(crate) fn hand_back_waiting(&mut self, now: Instant, is_meant: impl Fn(&P) -> bool) {
        let is_sent = |state| matches!(state, CallState::Sent { .. });
        for key in self.keys_where(|call| is_meant(&call.payload) && !is_sent(call.state)) {
            let resumption = self.resumption(now, key);
            self.withdraw(key, Withdrawn::Unwanted(Failure::HandedBack(resumption)));
        }
    }

    fn resumption(&self, now: Instant, key: CallKey) -> Box<Resumption> {
        let deadline = self.call(key).and_then(|call| call.deadline);
        Box::new(Resumption {
            left: deadline.map(|deadline| deadline.saturating_duration_since(now)),
            ..Resumption::default()
        })
    }

    /// Withdraws a call, and kills the worker that may be executing it.
    fn kill_call(&mut self, key: CallKey, why: Failure) {
        let executing = self.call(key).and_then(|call| {
            let CallState::Sent { worker, ticket } = call.state else {
                return None;
            };
            let at_once = self.functions[call.function.0].policy.at_once;
            let holder = self.worker(worker)?;
            // Workers take the inputs in their order.
            let mut first = holder.outstanding.iter().take(at_once);
            let is_first = first.any(|one| one.ticket == ticket);
            (is_first && holder.phase == Phase::Ready).then_some(worker)
        });
        self.withdraw(key, Withdrawn::Unwanted(why));
        if let Some(worker) = executing {
            self.kill(worker, Phase::Killed);
        }
    }

    /// Cancels all calls whose payload satisfies a predicate.
    pub(crate) fn cancel_where(&mut self, is_unwanted: impl Fn(&P) -> bool, why: Cancelled) {
        let keys = self.keys_where(|call| is_unwanted(&call.payload));
        self.cancel(keys, why);
    }

    pub(super) fn keys_where(&self, is_meant: impl Fn(&Call<P>) -> bool) -> Vec<CallKey> {
        self.calls
            .iter()
            .filter(|(_, call)| is_meant(call))
            .map(|(index, call)| CallKey { index, id: call.id })
            .collect()
    }

    /// Resets the deadline of a call that its worker did not begin before it was recalled or the
    /// worker died: a deadline that begins with the first attempt has not begun either. Returns
    /// whether the call has such a deadline and no attempt behind it.
    pub(super) fn unbegin_deadline(&mut self, key: CallKey) -> bool {
        let Some(call) = self.call_mut(key) else {
            return false;
        };
        let unbegun = call.deadline_begins_when_sent && call.attempt == 1;
        if unbegun && call.deadline.take().is_some() {
            self.outdate(1);
        }
        unbegun
    }

    pub(super) fn call(&self, key: CallKey) -> Option<&Call<P>> {
        self.calls.get(key.index).filter(|call| call.id == key.id)
    }

    pub(super) fn call_mut(&mut self, key: CallKey) -> Option<&mut Call<P>> {
        self.calls
            .get_mut(key.index)
            .filter(|call| call.id == key.id)
    }
}
