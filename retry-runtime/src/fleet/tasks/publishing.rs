//! The events of calls that go to other machines.

use std::time::Duration;

use super::{Action, Call, Tasks};
use crate::api::call_id::CallNumber;
use crate::api::context::Attempt;
use crate::api::events::{CallOutcome, Event, EventKind, Interest, Record};
use crate::api::run;
use crate::codec::payload::Payload;
use crate::job::outcome::{Failure, History};
use crate::job::parts::Parts;

impl Tasks {
    pub(super) fn publish(&mut self, event: Event, count: u32) {
        let record = Record { event, count };
        self.actions.push_back(Action::Publish(Box::new(record)));
    }

    /// Counts and publishes the attempts of a call that were not known here yet. `next` is the delay before the attempt
    /// that follows the last one, if there is one.
    pub(super) fn publish_attempts(
        &mut self,
        call: &Call,
        id: CallNumber,
        attempts: &[Attempt],
        next: Option<Duration>,
    ) {
        let known = call.resumption.as_ref().and_then(|one| one.attempts.last());
        let known = known.map_or(0, |last| last.number);
        let new = attempts.iter().filter(|attempt| attempt.number > known);
        let mut new = new.peekable();
        while let Some(attempt) = new.next() {
            let next = match new.peek() {
                Some(_) => Some(Duration::ZERO),
                None => next,
            };
            if next.is_some() {
                self.counts.entry(call.pool.0).or_default().retried += 1;
            }
            if self.interest == Interest::Nothing {
                continue;
            }
            let kind = EventKind::AttemptFailed {
                outcome: attempt.outcome.clone(),
                error: attempt.error.clone(),
                ran: attempt.duration,
            };
            self.publish(call.event_of(id, attempt, kind), 1);
            if let Some(delay) = next {
                let max_attempts = call.terms.policy.retries.max_retries().saturating_add(1);
                let kind = EventKind::Retrying {
                    delay,
                    max_attempts,
                };
                self.publish(call.event(id, kind), 1);
            }
        }
    }

    /// Publishes the end of a call, or of the calls of a chunk.
    pub(super) fn publish_end(
        &mut self,
        call: &Call,
        id: CallNumber,
        result: &Result<Payload, Failure>,
        history: Option<&History>,
    ) {
        let attempts = history.map_or(&[][..], |history| &history.attempts);
        self.publish_attempts(call, id, attempts, result.is_ok().then_some(Duration::ZERO));
        let wanted = match (result, attempts) {
            (Ok(_), []) => Interest::Everything,
            _ => Interest::Failures,
        };
        if self.interest < wanted {
            return;
        }
        let last = attempts.last();
        let kind = match result {
            Ok(_) => EventKind::Finished {
                outcome: CallOutcome::Succeeded,
                reason: None,
                ran: None,
                ran_of: 0,
                details: None,
            },
            Err(failure) => {
                let tail = history.and_then(|history| history.stderr_tail.as_deref());
                failure.finished(last, call.terms.called.as_ref(), call.show_input(), tail)
            }
        };
        let mut event = match last {
            Some(last) => call.event_of(id, last, kind),
            None => call.event(id, kind),
        };
        if result.is_ok() {
            // The attempts in the history are those that have failed.
            event.worker_pid = None;
            event.attempt = last.map(|last| last.number + 1);
        }
        self.publish(event, call.job.count());
    }
}

impl Call {
    pub(super) fn event(&self, id: CallNumber, kind: EventKind) -> Event {
        let mut event = Event::new(self.registration.spec.name, kind);
        event.call = Some(id.of(event.run));
        event.input_index = self.job.index;
        event
    }

    /// Returns an event of an attempt that was made on another machine.
    fn event_of(&self, id: CallNumber, attempt: &Attempt, kind: EventKind) -> Event {
        let mut event = self.event(id, kind);
        event.attempt = Some(attempt.number);
        event.worker_pid = attempt.worker_pid;
        event.host = run::host_named(&attempt.host);
        event
    }

    /// Returns the arguments as text.
    fn show_input(&self) -> Option<Box<str>> {
        let show = self.registration.show?;
        self.job.show(show).map(Into::into)
    }
}
