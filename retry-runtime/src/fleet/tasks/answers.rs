//! The ends of tasks, and what they mean for the calls in them.

use std::cmp::Reverse;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::sending::split;
use super::{Tasks, UnderWay};
use crate::api::call_id::CallNumber;
use crate::api::engine::TaskEnd;
use crate::api::failure::{Cancelled, Limit, Lost, Rejected, TimedOut};
use crate::codec::payload::Payload;
use crate::job::outcome::Failure;
use crate::job::resumption::Resumption;
use crate::wire::task::{self, Answer};

/// Returns the answer to a task, or the reason for which the service has none. `deadline` is the limit of its calls.
pub(super) fn answer_of(end: TaskEnd, deadline: Option<Duration>) -> Result<Vec<u8>, Failure> {
    Err(match end {
        TaskEnd::Answered(bytes) => return Ok(bytes),
        TaskEnd::Cancelled => Failure::Cancelled(Cancelled::ByCaller),
        TaskEnd::TimedOut(limit) => {
            let limit = deadline.unwrap_or(limit);
            Failure::TimedOut(TimedOut::new(Limit::Deadline, limit))
        }
        TaskEnd::Expired => Failure::Lost(Lost::Expired),
        TaskEnd::Refused(reason) => Failure::Rejected(Rejected::Engine(reason.into())),
    })
}

impl Tasks {
    /// Takes in the end of a task.
    pub(crate) fn end(&mut self, now: Instant, number: u64, end: TaskEnd) {
        if let Some(attached) = self.attached.remove(&number) {
            return attached.end(&mut self.actions, end);
        }
        let Some(mut task) = self.tasks.remove(&number) else {
            return;
        };
        if let Some(pool) = self.pools.get_mut(&task.pool) {
            pool.tasks -= 1;
            pool.delayed -= usize::from(!task.delay.is_zero());
        }
        let mut again = Vec::new();
        let failure = match answer_of(end, task.terms.policy.deadline) {
            Ok(bytes) => {
                let taken = self.take_answer(now, &mut task, bytes, &mut again);
                let reason = taken
                    .err()
                    .unwrap_or_else(|| "an answer without all calls".to_owned());
                Failure::Lost(Lost::Protocol {
                    reason: reason.into(),
                })
            }
            Err(failure) => failure,
        };
        if let Some(budget) = &task.terms.budget {
            budget.take_back(task.lent, 0, 0);
        }
        // New calls go to the front, so that the first one comes last.
        let (new, begun): (Vec<_>, Vec<_>) = again.into_iter().partition(|(_, one)| one.is_new());
        for (id, resumption) in new.into_iter().rev().chain(begun) {
            self.put_back(now, id, resumption);
        }
        // Calls that the answer does not mention have no other end.
        for (id, _) in task.calls {
            self.resolve(id, Err(failure.clone()));
        }
        self.dispatch(now, &task.pool);
    }

    /// Takes in the answer to a task, and takes the calls that it mentions out of the task. Those that were handed back
    /// are added to `again`.
    fn take_answer(
        &mut self,
        now: Instant,
        task: &mut UnderWay,
        bytes: Vec<u8>,
        again: &mut Vec<(CallNumber, Box<Resumption>)>,
    ) -> Result<(), String> {
        let (answer, mut payload) = task::decode::<Answer>(bytes)?;
        let facts = &answer.facts;
        if let Some(budget) = &task.terms.budget {
            // The numbers are not trusted, and their sums must not overflow.
            let count = |count: u64| count.min(u32::MAX.into());
            let lent = std::mem::take(&mut task.lent);
            budget.take_back(lent, count(facts.attempts), count(facts.retries));
        }
        let sent = task.calls.iter().map(|(_, count)| count).sum();
        if let Some(pool) = self.pools.get_mut(&task.pool) {
            let is_limited = !pool.lines.is_empty();
            pool.sizing.learn(sent, task.delay, facts, is_limited);
            if facts.overflows {
                pool.sizing.halve(sent);
            }
            pool.has_answered = true;
            pool.silent_since = now;
            pool.ask_after(now);
        }
        let mut calls = VecDeque::from(std::mem::take(&mut task.calls));
        let cancelled = task.is_cancelled;
        let taken = self.take(sent, cancelled, answer, &mut payload, &mut calls, again);
        task.calls = calls.into();
        taken
    }

    /// Takes in the replies of an answer, and takes the calls that they are about out of `calls`. Those that were handed
    /// back are added to `again`.
    fn take(
        &mut self,
        sent: u32,
        is_cancelled: bool,
        answer: Answer,
        payload: &mut Bytes,
        calls: &mut VecDeque<(CallNumber, u32)>,
        again: &mut Vec<(CallNumber, Box<Resumption>)>,
    ) -> Result<(), String> {
        if let Some(problem) = answer.problem {
            return Err(problem);
        }
        let mut position = 0;
        for reply in answer.replies {
            let (number, mut count) = (reply.number, reply.count);
            if number != position || count > sent - position {
                return Err("replies to other calls than those of the task".to_owned());
            }
            position += count;
            let mut outcome = reply.take(payload)?;
            while count > 0
                && let Some((id, here)) = calls.pop_front()
            {
                let part = here.min(count);
                count -= part;
                if part < here {
                    if self.calls.contains_key(&id) {
                        split(&mut self.calls, id, part);
                    }
                    calls.push_front((CallNumber(id.0 + u64::from(part)), here - part));
                }
                let result = match &mut outcome.result {
                    Ok(values) if count > 0 => Ok(values.split_front(part)),
                    Ok(values) => Ok(std::mem::replace(values, Payload::NONE)),
                    Err(failure) => Err(failure.clone()),
                };
                match result {
                    Err(Failure::HandedBack(_)) if is_cancelled => {
                        self.resolve(id, Err(Failure::Cancelled(Cancelled::ByCaller)));
                    }
                    Err(Failure::HandedBack(resumption)) if !resumption.is_possible() => {
                        calls.push_front((id, part));
                        return Err("impossible numbers of attempts".to_owned());
                    }
                    Err(Failure::HandedBack(resumption)) => again.push((id, resumption)),
                    result => {
                        let history = outcome.history.take();
                        // The machine may have answered before it heard of a cancellation.
                        let result = match is_cancelled {
                            true => Err(Failure::Cancelled(Cancelled::ByCaller)),
                            false => result,
                        };
                        self.resolve_with(id, result, history);
                    }
                }
            }
        }
        Ok(())
    }

    /// Queues a call that a machine has handed back.
    fn put_back(&mut self, now: Instant, id: CallNumber, resumption: Box<Resumption>) {
        let Some(mut call) = self.calls.remove(&id) else {
            return;
        };
        self.publish_attempts(&call, id, &resumption.attempts, Some(resumption.delay));
        call.task = None;
        call.queued = now;
        if let Some(pool) = self.pools.get_mut(&call.pool) {
            let line = &mut pool.line(call.job.caller).calls;
            match resumption.is_new() {
                true => line.push_front(id),
                false => line.push_back(id),
            }
        }
        if resumption.is_new() {
            // A delay of its start is over.
            call.resumption = None;
        } else {
            if call.deadline.is_none()
                && let Some(at) = resumption.left.and_then(|left| now.checked_add(left))
            {
                call.deadline = Some(at);
                self.deadlines.push(Reverse((at, id)));
            }
            call.resumption = Some(resumption);
        }
        self.calls.insert(id, call);
        if self.cancels_queued {
            self.resolve(id, Err(Failure::Cancelled(Cancelled::ByShutdown)));
        }
    }
}
