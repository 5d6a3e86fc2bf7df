//! An index of the workers: counts per function, and the least and the most loaded worker.
//!
//! Code that changes a worker does not update the index. Each mutable access marks the worker as
//! dirty, and dirty workers are indexed again before the counts are read.

use std::ops::{Index, IndexMut};

use slab::Slab;

use super::function::Function;
use super::{FunctionKey, FunctionPolicy, Phase, Scheduler, Worker, WorkerKey};
use crate::job::parts::Parts;

/// The table of all workers.
#[derive(Debug, Default)]
pub(super) struct Workers {
    all: Slab<Worker>,
    /// The workers that may have changed since they were indexed.
    dirty: Vec<WorkerKey>,
}

impl Workers {
    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (WorkerKey, &Worker)> {
        self.all.iter().map(|(index, worker)| {
            let id = worker.id;
            (WorkerKey { index, id }, worker)
        })
    }

    pub(super) fn insert(&mut self, worker: Worker) -> WorkerKey {
        let id = worker.id;
        let index = self.all.insert(worker);
        let key = WorkerKey { id, index };
        self.mark_dirty(key);
        key
    }

    pub(super) fn get(&self, key: WorkerKey) -> Option<&Worker> {
        self.all.get(key.index).filter(|worker| worker.id == key.id)
    }

    pub(super) fn get_mut(&mut self, key: WorkerKey) -> Option<&mut Worker> {
        self.get(key)?;
        Some(self.mark_dirty(key))
    }

    fn mark_dirty(&mut self, key: WorkerKey) -> &mut Worker {
        let worker = &mut self.all[key.index];
        if !worker.dirty {
            worker.dirty = true;
            self.dirty.push(key);
        }
        worker
    }
}

/// Indexing panics if the worker does not exist.
impl Index<WorkerKey> for Workers {
    type Output = Worker;

    fn index(&self, key: WorkerKey) -> &Worker {
        &self.all[key.index]
    }
}

impl IndexMut<WorkerKey> for Workers {
    fn index_mut(&mut self, key: WorkerKey) -> &mut Worker {
        self.mark_dirty(key)
    }
}

/// The number of workers of a function, by state.
///
/// An idle worker gets a call only if fewer than `max_workers` workers are busy. A worker that
/// waits for nested calls does not count as busy, so that calls cannot deadlock. For a top-level
/// call at most `max_workers` waiting workers are left out: otherwise each of a million calls could
/// start, wait, and make room for the next one.
///
/// Workers that are exiting do not count either, up to `max_workers` of them. Each exists until its
/// teardown has ended, so without this limit slow teardowns would let processes accumulate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct WorkerCounts {
    /// The number of workers that are starting or ready.
    pub(super) alive: usize,
    pub(super) starting: usize,
    /// The number of workers that were told to exit and whose processes still exist.
    exiting: usize,
    /// The number of workers that wait for nested calls.
    pub(super) waiting: usize,
    /// The number of workers that have inputs to execute or wait for nested calls.
    busy: usize,
    /// The number of inputs that wait behind others at a worker.
    pub(super) behind: usize,
    /// The number of workers that can be given calls.
    open: usize,
    /// The number of those that have no inputs.
    pub(super) idle: usize,
}

impl WorkerCounts {
    /// Returns whether an idle worker may be given a call, either a top-level or a nested one.
    pub(super) fn allows(&self, max_workers: usize, nested: bool) -> bool {
        self.busy - self.left_out(max_workers, nested) < max_workers
    }

    /// Returns whether another worker may be started for such a call.
    pub(super) fn allows_another(&self, max_workers: usize, nested: bool) -> bool {
        let exiting = self.exiting.saturating_sub(max_workers);
        self.alive + exiting - self.left_out(max_workers, nested) < max_workers
    }

    /// Returns how many of the workers that wait for nested calls do not count.
    fn left_out(&self, max_workers: usize, nested: bool) -> usize {
        if nested {
            self.waiting
        } else {
            self.waiting.min(max_workers)
        }
    }

    /// Returns how many workers serve calls or are about to.
    pub(super) fn serving(&self) -> usize {
        self.alive - self.waiting
    }

    /// Returns how many workers can be given calls, with the idle ones or without.
    pub(super) fn open(&self, with_idle: bool) -> usize {
        self.open - if with_idle { 0 } else { self.idle }
    }

    fn count(&mut self, standing: Standing, at_once: usize, by: fn(&mut usize, usize)) {
        match standing {
            Standing::Out => return,
            Standing::Exiting => return by(&mut self.exiting, 1),
            Standing::Coming => by(&mut self.starting, 1),
            Standing::Ready { load, open, waits } => {
                by(&mut self.behind, load.saturating_sub(at_once));
                by(&mut self.waiting, waits.into());
                by(&mut self.busy, (waits || load > 0).into());
                by(&mut self.open, open.into());
                by(&mut self.idle, (open && load == 0).into());
            }
        }
        by(&mut self.alive, 1);
    }
}

/// The state of a worker as far as it is counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Standing {
    /// Not counted: the worker is not in the index yet, or was killed.
    #[default]
    Out,
    /// The worker was told to exit.
    Exiting,
    Coming,
    Ready {
        /// The number of inputs that the worker has to answer.
        load: usize,
        /// `true` if the worker can be given calls.
        open: bool,
        /// `true` if the worker waits for nested calls.
        waits: bool,
    },
}

/// The index of one function's workers.
#[derive(Debug, Default)]
pub(super) struct WorkerIndex {
    keys: Vec<WorkerKey>,
    counts: WorkerCounts,
    loads: Loads,
}

impl WorkerIndex {
    /// Returns whether inputs waited behind others at a worker when the counts were last updated.
    /// Answers do not add such inputs.
    pub(super) fn may_be_behind(&self) -> bool {
        self.counts.behind > 0
    }

    pub(super) fn keys(&self) -> &[WorkerKey] {
        &self.keys
    }

    /// Returns the load and the key of the least loaded worker that can be given calls. Of several
    /// it always returns the same one, so that the others may become idle for long enough to be
    /// retired.
    pub(super) fn least(&self, with_idle: bool) -> Option<(usize, WorkerKey)> {
        let (load, place) = if with_idle {
            self.loads.find(|load| load.least)
        } else {
            self.loads.find(|load| load.least_busy)
        };
        (load < usize::MAX).then(|| (load, self.keys[place]))
    }

    /// Returns the load and the key of the most loaded worker, if any has a load.
    pub(super) fn most(&self) -> Option<(usize, WorkerKey)> {
        let (load, place) = self.loads.find(|load| load.most);
        (load > 0).then(|| (load, self.keys[place]))
    }

    fn reindex(&mut self, place: usize, at_once: usize, from: Standing, to: Standing) {
        self.counts.count(from, at_once, |count, by| *count -= by);
        self.counts.count(to, at_once, |count, by| *count += by);
        self.loads.set(place, Load::of(to));
    }
}

/// The load of the workers below a node of the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Load {
    /// The lowest load of a worker that can be given calls.
    least: usize,
    /// The lowest load of a worker that can be given calls and is not idle.
    least_busy: usize,
    most: usize,
}

impl Load {
    const NONE: Self = Self {
        least: usize::MAX,
        least_busy: usize::MAX,
        most: 0,
    };

    fn of(standing: Standing) -> Self {
        let Standing::Ready { load, open, .. } = standing else {
            return Self::NONE;
        };
        let least_if = |given: bool| if given { load } else { usize::MAX };
        Self {
            least: least_if(open),
            least_busy: least_if(open && load > 0),
            most: load,
        }
    }

    fn with(self, other: Self) -> Self {
        Self {
            least: self.least.min(other.least),
            least_busy: self.least_busy.min(other.least_busy),
            most: self.most.max(other.most),
        }
    }
}

/// A binary tree over the workers' positions. Its root is at index 1, the children of a node are at
/// twice its index, and the leaves are the second half.
#[derive(Debug, Default)]
struct Loads(Vec<Load>);

impl Loads {
    fn set(&mut self, place: usize, load: Load) {
        while place >= self.0.len() / 2 {
            self.grow();
        }
        let mut node = self.0.len() / 2 + place;
        self.0[node] = load;
        while node > 1 {
            node /= 2;
            let load = self.0[2 * node].with(self.0[2 * node + 1]);
            if std::mem::replace(&mut self.0[node], load) == load {
                break;
            }
        }
    }

    /// Doubles the number of leaves.
    fn grow(&mut self) {
        let leaves = self.0.split_off(self.0.len() / 2);
        let places = (2 * leaves.len()).max(1);
        self.0 = vec![Load::NONE; 2 * places];
        for (place, load) in leaves.into_iter().enumerate() {
            self.set(place, load);
        }
    }

    /// Returns a load of the root, and the position of the leaf that it comes from.
    fn find(&self, load: impl Fn(&Load) -> usize) -> (usize, usize) {
        let Some(found) = self.0.get(1).map(&load) else {
            return (load(&Load::NONE), 0);
        };
        let places = self.0.len() / 2;
        let mut node = 1;
        while node < places {
            let left = 2 * node;
            node = left + usize::from(load(&self.0[left]) != found);
        }
        (found, node - places)
    }
}

impl Worker {
    fn standing(&self, policy: &FunctionPolicy) -> Standing {
        match self.phase {
            Phase::Starting | Phase::FailedStart(_) => Standing::Coming,
            Phase::Ready => Standing::Ready {
                load: self.outstanding.inputs(),
                open: self.takes_calls(policy),
                waits: !self.children.is_empty(),
            },
            Phase::Retiring => Standing::Exiting,
            Phase::Killed | Phase::Broken(_) | Phase::OutOfMemory => Standing::Out,
        }
    }
}

impl<P: Parts> Scheduler<P> {
    /// Returns the index of a function's workers, brought up to date, and its counts.
    pub(super) fn index(&mut self, function: FunctionKey) -> (&WorkerIndex, WorkerCounts) {
        while let Some(key) = self.workers.dirty.pop() {
            let Some(worker) = self.workers.all.get_mut(key.index) else {
                continue;
            };
            if worker.id != key.id {
                continue;
            }
            worker.dirty = false;
            let Function { policy, index, .. } = &mut self.functions[worker.function.0];
            let standing = worker.standing(policy);
            if standing != worker.standing {
                let from = std::mem::replace(&mut worker.standing, standing);
                index.reindex(worker.place, policy.at_once, from, standing);
            }
        }
        debug_assert!(self.is_consistent(function));
        let index = &self.functions[function.0].index;
        (index, index.counts)
    }

    /// Returns whether the index equals one that is built anew.
    fn is_consistent(&self, function: FunctionKey) -> bool {
        let Function { policy, index, .. } = &self.functions[function.0];
        let mut counts = WorkerCounts::default();
        let mut loads = Load::NONE;
        for &key in &index.keys {
            let standing = self.workers[key].standing(policy);
            counts.count(standing, policy.at_once, |count, by| *count += by);
            loads = loads.with(Load::of(standing));
        }
        counts == index.counts && index.loads.0.get(1).is_none_or(|root| *root == loads)
    }

    pub(super) fn add_worker(&mut self, mut worker: Worker) -> WorkerKey {
        let keys = &mut self.functions[worker.function.0].index.keys;
        worker.place = keys.len();
        let key = self.workers.insert(worker);
        keys.push(key);
        key
    }

    pub(super) fn remove_worker(&mut self, key: WorkerKey) -> Option<Worker> {
        self.workers.get(key)?;
        let worker = self.workers.all.remove(key.index);
        self.outdate(1);
        let Function { policy, index, .. } = &mut self.functions[worker.function.0];
        let place = worker.place;
        index.reindex(place, policy.at_once, worker.standing, Standing::Out);
        index.keys.swap_remove(place);
        // The last worker moves to the removed one's position.
        if let Some(moved) = index.keys.get(place) {
            let moved = &mut self.workers.all[moved.index];
            index.loads.set(moved.place, Load::NONE);
            index.loads.set(place, Load::of(moved.standing));
            moved.place = place;
        }
        Some(worker)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_agrees_with_a_linear_search() {
        let mut random = fastrand::Rng::with_seed(1);
        for places in [1, 2, 3, 10, 100, 1000] {
            let mut loads = Loads::default();
            let mut walk = vec![Load::NONE; places];
            for _ in 0..1000 {
                let place = random.usize(0..places);
                let ready = Standing::Ready {
                    load: random.usize(0..4),
                    open: random.bool(),
                    waits: random.bool(),
                };
                let is_ready = random.u8(0..3) > 0;
                walk[place] = Load::of(if is_ready { ready } else { Standing::Out });
                loads.set(place, walk[place]);
                let (least, at) = loads.find(|load| load.least);
                assert_eq!(walk[at].least, least);
                assert!(walk.iter().all(|load| load.least >= least));
                let (least, at) = loads.find(|load| load.least_busy);
                assert_eq!(walk[at].least_busy, least);
                assert!(walk.iter().all(|load| load.least_busy >= least));
                let (most, at) = loads.find(|load| load.most);
                assert_eq!(walk[at].most, most);
                assert!(walk.iter().all(|load| load.most <= most));
            }
        }
    }
}
