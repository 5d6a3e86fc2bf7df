//! The results of a map that have arrived, and not been handed out.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use crate::caller::host::Host;
use crate::checkpoint::{Recorder, Stored};
use crate::codec::payload::Payload;
use crate::job::caller::Caller;
use crate::job::delivery::{self, Deliver, Outcomes};
use crate::job::outcome::{Failure, Outcome};
use crate::shared::Objects;

/// The state that a map shares with the code that delivers to it.
pub(super) struct SharedArrivals {
    pub(super) arrivals: Mutex<Arrivals>,
    /// Identifies the map among the callers that take turns.
    pub(super) caller: Caller,
    pub(super) host: Host,
}

pub(super) struct Arrivals {
    /// Outcomes that can be handed out, in this order, with the index of the first input.
    pub(super) ready: VecDeque<(u64, Outcome)>,
    /// Outcomes that arrived before their turn, by index; only for a map that keeps the order of the inputs.
    pub(super) early: Option<Early>,
    /// The index whose outcome becomes ready next, if the order is kept.
    pub(super) next: u64,
    /// Number of inputs with results, and the bytes of these inputs, that the consumer has not subtracted
    /// from its counts yet.
    pub(super) returned: usize,
    pub(super) returned_bytes: usize,
    /// Bytes of results that the consumer has not taken, and the limit above which no further inputs are
    /// given to workers.
    pub(super) buffered: usize,
    pub(super) most_buffered: usize,
    /// Those of the buffered bytes that wait to be stored.
    pub(super) unstored: usize,
    /// True while inputs are held back, since the limit was exceeded.
    pub(super) held: bool,
    /// Set once the map has been cancelled and drops further outcomes.
    pub(super) closed: bool,
    pub(super) waker: Option<Waker>,
    /// Stores results; only for a map with a checkpoint that has not ended.
    pub(super) recorder: Option<Box<Recorder>>,
}

impl SharedArrivals {
    pub(super) fn new(host: Host, ordered: bool, most_buffered: usize) -> Self {
        let arrivals = Arrivals {
            ready: VecDeque::new(),
            early: ordered.then(Early::default),
            next: 0,
            returned: 0,
            returned_bytes: 0,
            buffered: 0,
            most_buffered,
            unstored: 0,
            held: false,
            closed: false,
            waker: None,
            recorder: None,
        };
        Self {
            arrivals: Mutex::new(arrivals),
            caller: Caller::new(),
            host,
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Arrivals> {
        self.arrivals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the host to hold back the map's inputs or to release them, according to the arrivals at that
    /// moment.
    pub(super) fn hold(&self) {
        self.host.hold(self.caller, || self.lock().hold());
    }

    /// Begins a delivery of outcomes.
    pub(super) fn delivery(&self) -> Delivery<'_> {
        Delivery(self.lock())
    }
}

/// A delivery of outcomes to a map, which holds the map's lock.
pub(super) struct Delivery<'a>(MutexGuard<'a, Arrivals>);

impl Delivery<'_> {
    /// Adds the outcome of inputs, the first of which has this index.
    pub(super) fn put(
        &mut self,
        index: Option<u64>,
        inputs: &Payload,
        objects: &Objects,
        outcome: Outcome,
    ) {
        let arrivals = &mut *self.0;
        let Some(index) = index.filter(|_| !arrivals.closed) else {
            return;
        };
        arrivals.returned += inputs.count() as usize;
        arrivals.returned_bytes += inputs.size() + objects.weight();
        arrivals.buffered += size_of_result(&outcome);
        if outcome.result.is_ok() {
            return arrivals.insert(index, outcome);
        }
        // An outcome that several inputs share is reported for each of them.
        for (index, call) in (index..).zip(outcome.call.following(inputs.count())) {
            let outcome = outcome.clone();
            arrivals.insert(index, Outcome { call, ..outcome });
        }
    }

    /// Queues results for the map's checkpoint, if it has one. They count as buffered until they are stored.
    fn record(&mut self, index: Option<u64>, inputs: &Payload, outcome: &Outcome) {
        let arrivals = &mut *self.0;
        if let (Some(recorder), Some(index), Ok(values)) =
            (&mut arrivals.recorder, index, &outcome.result)
        {
            let bytes = recorder.record(index, inputs, values);
            arrivals.buffered += bytes;
            arrivals.unstored += bytes;
        }
    }

    /// Wakes the consumer if there is something for it. Returns whether the limit on buffered results was
    /// exceeded just now: then the caller must [hold](SharedArrivals::hold) back the map's inputs.
    #[must_use]
    pub(super) fn finish(mut self) -> bool {
        let arrivals = &mut *self.0;
        let holds = !arrivals.held && arrivals.buffered > arrivals.most_buffered;
        arrivals.held |= holds;
        let waker = if arrivals.ready.is_empty() {
            None
        } else {
            arrivals.waker.take()
        };
        drop(self);
        if let Some(waker) = waker {
            delivery::wake(waker);
        }
        holds
    }
}

impl Deliver for SharedArrivals {
    /// Takes the map's lock once for all outcomes.
    fn deliver(self: Arc<Self>, outcomes: Outcomes<'_, '_>) {
        let mut delivery = self.delivery();
        // Dropped without the lock: they may be the last handles on gigabytes.
        let mut named = Vec::new();
        for (job, outcome) in outcomes {
            delivery.record(job.index, &job.input, &outcome);
            delivery.put(job.index, &job.input, &job.objects, outcome);
            if !job.objects.is_empty() {
                named.push(job.objects.clone());
            }
        }
        if delivery.finish() {
            self.hold();
        }
    }
}

impl Stored for SharedArrivals {
    fn mark_stored(&self, bytes: usize) {
        let mut arrivals = self.lock();
        arrivals.unstored = arrivals.unstored.saturating_sub(bytes);
        let lets_go = arrivals.mark_consumed(bytes);
        // The input that the consumer waits for may be exempt again.
        let is_held = arrivals.held;
        drop(arrivals);
        if lets_go || is_held {
            self.hold();
        }
    }
}

/// Returns how many bytes of a result an outcome retains.
pub(super) fn size_of_result(outcome: &Outcome) -> usize {
    match &outcome.result {
        Ok(values) => values.size() + Objects::named_by(values).weight(),
        Err(Failure::Function(error)) => error.len(),
        Err(_) => 0,
    }
}

impl Arrivals {
    /// Returns whether inputs are held back, and which one is exempt: the one that the consumer waits for.
    /// Otherwise that input and the consumer would wait for each other. No input is exempt while too many
    /// bytes wait to be stored: they become fewer without the consumer.
    pub(super) fn hold(&self) -> Option<Option<u64>> {
        let is_stored = self.unstored <= self.most_buffered;
        let waits = self.early.is_some() && self.ready.is_empty() && is_stored;
        (self.held && !self.closed).then(|| waits.then_some(self.next))
    }

    /// Records that the consumer has taken results of this size in bytes. Returns whether the inputs that are
    /// held back must be released.
    pub(super) fn mark_consumed(&mut self, bytes: usize) -> bool {
        self.buffered = self.buffered.saturating_sub(bytes);
        let lets_go = self.held && self.buffered <= self.most_buffered / 2;
        self.held &= !lets_go;
        lets_go
    }

    pub(super) fn insert(&mut self, index: u64, outcome: Outcome) {
        let Some(early) = &mut self.early else {
            self.ready.push_back((index, outcome));
            return;
        };
        if index != self.next {
            early.insert(index, outcome);
            return;
        }
        // This outcome, and those that have waited for it.
        let mut next = Some((index, outcome));
        while let Some((index, outcome)) = next {
            let values = outcome.result.as_ref();
            self.next += values.map_or(1, |values| u64::from(values.count()));
            self.ready.push_back((index, outcome));
            next = early.take(self.next);
        }
    }
}

/// Outcomes that arrived before their turn, by the index of the first input.
#[derive(Default)]
pub(super) struct Early {
    /// Outcomes that arrived in the order of the inputs, as most do: a queue allocates nothing for each.
    pub(super) rising: VecDeque<(u64, Outcome)>,
    /// Outcomes that arrived after one with a higher index.
    pub(super) others: BTreeMap<u64, Outcome>,
}

impl Early {
    pub(super) fn insert(&mut self, index: u64, outcome: Outcome) {
        if self.rising.back().is_some_and(|(last, _)| *last > index) {
            self.others.insert(index, outcome);
        } else {
            self.rising.push_back((index, outcome));
        }
    }

    /// Takes the outcome with this index, if that is the lowest one.
    pub(super) fn take(&mut self, index: u64) -> Option<(u64, Outcome)> {
        let rising = self.rising.pop_front_if(|(first, _)| *first == index);
        rising.or_else(|| {
            let first = self.others.first_entry()?;
            (*first.key() == index).then(|| first.remove_entry())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::call_id::CallNumber;

    #[test]
    fn results_are_handed_out_in_input_order() {
        let seed = fastrand::u64(..);
        println!("seed {seed}");
        let mut random = fastrand::Rng::with_seed(seed);
        let mut indices: Vec<u64> = (0..1000).collect();
        for order in 0..3 {
            indices.sort_unstable();
            match order {
                // Every second one late, the first ones late, and no order at all.
                0 => indices.sort_by_key(|index| (index % 2 == 0, *index)),
                1 => indices.rotate_left(3),
                _ => random.shuffle(&mut indices),
            }
            let shared = SharedArrivals::new(Host::global(), true, usize::MAX);
            for index in &indices {
                let outcome = Outcome {
                    call: CallNumber(*index),
                    result: Ok(Payload::NONE),
                    history: None,
                };
                shared.lock().insert(*index, outcome);
            }
            let ready = std::mem::take(&mut shared.lock().ready);
            assert!(ready.into_iter().map(|(index, _)| index).eq(0..1000));
        }
    }
}
