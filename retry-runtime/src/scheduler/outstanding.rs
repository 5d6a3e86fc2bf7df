//! What was sent to a worker and is not answered, in the order of the tickets.

use std::collections::vec_deque::{self, VecDeque};
use std::time::{Duration, Instant};

use super::CallKey;
use super::stop::{Stop, Withdrawn};

/// Inputs that were sent together, under tickets that follow each other.
#[derive(Debug)]
pub(super) struct Inflight {
    /// The ticket of the first one.
    pub(super) ticket: u64,
    pub(super) count: u32,
    /// `None` once nobody waits for the answers any more.
    pub(super) call: Option<CallKey>,
    pub(super) sent: Instant,
    /// Set once it is to stop; then it is a single one.
    pub(super) stop: Option<Box<Stop>>,
    /// Set while the call is to end without an answer, until it is known whether it runs.
    pub(super) withdrawn: Option<Box<Withdrawn>>,
    /// How long it is asked to end, once its call is over; `None` as the worker's function says.
    pub(super) grace: Option<Duration>,
}

impl Inflight {
    /// The first ticket after it.
    pub(super) fn end(&self) -> u64 {
        self.ticket + u64::from(self.count)
    }

    /// Returns whether it is to end and nothing has been done about that yet.
    pub(super) fn is_to_end(&self) -> bool {
        self.withdrawn.is_some() || self.call.is_none() && self.stop.is_none()
    }
}

/// All that one worker has to answer.
#[derive(Debug, Default)]
pub(super) struct Outstanding {
    sent: VecDeque<Inflight>,
    inputs: usize,
}

impl Outstanding {
    pub(super) fn is_empty(&self) -> bool {
        self.sent.is_empty()
    }

    /// How many inputs there are.
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

    /// Whether a ticket up to this one is among them.
    pub(super) fn any_up_to(&self, ticket: u64) -> bool {
        self.sent
            .front()
            .is_some_and(|first| first.ticket <= ticket)
    }

    /// Where a ticket is.
    fn position(&self, ticket: u64) -> Option<usize> {
        // Answers come in order.
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

    /// Those that were sent together with a ticket.
    pub(super) fn find(&mut self, ticket: u64) -> Option<&mut Inflight> {
        let place = self.position(ticket)?;
        self.sent.get_mut(place)
    }

    /// Takes out what was sent together with a ticket.
    pub(super) fn remove(&mut self, ticket: u64) -> Option<Inflight> {
        let place = self.position(ticket)?;
        let removed = self.sent.remove(place)?;
        self.inputs -= removed.count as usize;
        Some(removed)
    }

    /// The first ones of those that were sent together are answered.
    pub(super) fn answered(&mut self, ticket: u64, count: u32) {
        if let Some(inflight) = self.find(ticket) {
            inflight.ticket += u64::from(count);
            inflight.count -= count;
            self.inputs -= count as usize;
        }
    }

    /// Takes out the last, if it begins after a ticket.
    pub(super) fn pop_after(&mut self, ticket: u64) -> Option<Inflight> {
        let last = self.sent.pop_back_if(|last| last.ticket > ticket)?;
        self.inputs -= last.count as usize;
        Some(last)
    }

    /// Parts those that were sent together before a ticket: the call of those on this side. The
    /// other side's is to be set.
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
            stop: None,
            withdrawn: front.withdrawn.clone(),
            grace: front.grace,
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
