//! The inputs that were sent to a worker and are not answered, in the order of their tickets.

use std::collections::vec_deque::{self, VecDeque};
use std::time::{Duration, Instant};

use super::CallKey;
use super::stop::{Stop, Withdrawn};
use crate::job::Loan;

/// Inputs that were sent together, under consecutive tickets.
#[derive(Debug)]
pub(super) struct Inflight {
    /// The ticket of the first input.
    pub(super) ticket: u64,
    pub(super) count: u32,
    /// The call; `None` once the answers are no longer wanted.
    pub(super) call: Option<CallKey>,
    pub(super) sent: Instant,
    /// Set once it was published that the input has executed for half of its timeout.
    pub(super) slow: bool,
    /// The state of stopping the input; it is a single one then.
    pub(super) stop: Option<Box<Stop>>,
    /// The reason why the call ends without an answer; set until it is known whether the call runs.
    pub(super) withdrawn: Option<Box<Withdrawn>>,
    /// The grace for stopping the input once its call is over; `None` for the default of the
    /// worker's function.
    pub(super) grace: Option<Duration>,
    /// The memory in which the worker reads the arguments, whatever becomes of the call meanwhile.
    pub(super) loan: Loan,
}

impl Inflight {
    /// Returns the first ticket after these inputs.
    pub(super) fn end(&self) -> u64 {
        self.ticket + u64::from(self.count)
    }

    /// Returns whether the inputs are to end and no stop has begun yet.
    pub(super) fn is_to_end(&self) -> bool {
        self.withdrawn.is_some() || self.call.is_none() && self.stop.is_none()
    }
}

/// All inputs that one worker has to answer.
#[derive(Debug, Default)]
pub(super) struct Outstanding {
    sent: VecDeque<Inflight>,
    inputs: usize,
}

impl Outstanding {
    pub(super) fn is_empty(&self) -> bool {
        self.sent.is_empty()
    }

    /// Returns the number of inputs.
    pub(super) fn inputs(&self) -> usize {
        self.inputs
    }

    pub(super) fn push(&mut self, inflight: Inflight) {
        self.inputs += inflight.count as usize;
        self.sent.push_back(inflight);
    }

    pub(super) fn iter(&self) -> vec_deque::Iter<'_, Inflight> {
        self.sent.iter()
    }

    pub(super) fn iter_mut(&mut self) -> vec_deque::IterMut<'_, Inflight> {
        self.sent.iter_mut()
    }

    /// Returns whether the first unanswered ticket is at most this one.
    pub(super) fn any_up_to(&self, ticket: u64) -> bool {
        self.sent
            .front()
            .is_some_and(|first| first.ticket <= ticket)
    }

    /// Returns the position of the entry that contains a ticket.
    fn position(&self, ticket: u64) -> Option<usize> {
        // The fast path: answers usually arrive in order.
        if self.sent.front()?.ticket == ticket {
            return Some(0);
        }
        let after = self.sent.partition_point(|one| one.ticket <= ticket);
        let place = after.checked_sub(1)?;
        (ticket < self.sent[place].end()).then_some(place)
    }

    pub(super) fn has(&self, ticket: u64) -> bool {
        self.position(ticket).is_some()
    }

    pub(super) fn get(&self, ticket: u64) -> Option<&Inflight> {
        self.sent.get(self.position(ticket)?)
    }

    /// Returns the entry that contains a ticket.
    pub(super) fn find(&mut self, ticket: u64) -> Option<&mut Inflight> {
        let place = self.position(ticket)?;
        self.sent.get_mut(place)
    }

    /// Removes the entry that contains a ticket.
    pub(super) fn remove(&mut self, ticket: u64) -> Option<Inflight> {
        let place = self.position(ticket)?;
        let removed = self.sent.remove(place)?;
        self.inputs -= removed.count as usize;
        Some(removed)
    }

    /// Removes the first inputs of an entry, which are answered.
    pub(super) fn advance(&mut self, ticket: u64, count: u32) {
        if let Some(inflight) = self.find(ticket) {
            inflight.ticket += u64::from(count);
            inflight.count -= count;
            self.inputs -= count as usize;
        }
    }

    /// Removes the last entry if it begins after a ticket.
    pub(super) fn pop_after(&mut self, ticket: u64) -> Option<Inflight> {
        let last = self.sent.pop_back_if(|last| last.ticket > ticket)?;
        self.inputs -= last.count as usize;
        Some(last)
    }

    /// Splits an entry in front of a ticket. Returns the call of the front part and the new back
    /// part, whose call the caller must set.
    pub(super) fn part(&mut self, ticket: u64) -> Option<(Option<CallKey>, &mut Inflight)> {
        let place = self.position(ticket)?;
        let front = &mut self.sent[place];
        if front.ticket == ticket {
            return None;
        }
        let end = front.end();
        let back = Inflight {
            ticket,
            count: u32::try_from(end - ticket).ok()?,
            call: None,
            sent: front.sent,
            slow: false,
            stop: None,
            withdrawn: front.withdrawn.clone(),
            grace: front.grace,
            loan: front.loan.clone(),
        };
        front.count -= back.count;
        let call = front.call;
        self.sent.insert(place + 1, back);
        Some((call, &mut self.sent[place + 1]))
    }
}

impl IntoIterator for Outstanding {
    type Item = Inflight;
    type IntoIter = vec_deque::IntoIter<Inflight>;

    fn into_iter(self) -> Self::IntoIter {
        self.sent.into_iter()
    }
}
