//! The workers: counted per function, and in the order in which they are given calls.
//!
//! Nobody who changes a worker has to think of that: each that is lent for a change is filed anew
//! before anybody counts.

use std::ops::{Index, IndexMut};

use slab::Slab;

use super::function::Function;
use super::{FunctionKey, FunctionPolicy, Phase, Scheduler, Worker, WorkerKey};
use crate::job::parts::Parts;

/// All workers.
#[derive(Debug, Default)]
pub(super) struct Workers {
    all: Slab<Worker>,
    /// Those that may have changed since they were filed.
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
        self.lend(key);
        key
    }

    pub(super) fn get(&self, key: WorkerKey) -> Option<&Worker> {
        self.all.get(key.index).filter(|worker| worker.id == key.id)
    }

    pub(super) fn get_mut(&mut self, key: WorkerKey) -> Option<&mut Worker> {
        self.get(key)?;
        Some(self.lend(key))
    }

    fn lend(&mut self, key: WorkerKey) -> &mut Worker {
        let worker = &mut self.all[key.index];
        if !worker.dirty {
            worker.dirty = true;
            self.dirty.push(key);
        }
        worker
    }
}

/// A worker that is known to be there.
impl Index<WorkerKey> for Workers {
    type Output = Worker;

    fn index(&self, key: WorkerKey) -> &Worker {
        &self.all[key.index]
    }
}

impl IndexMut<WorkerKey> for Workers {
    fn index_mut(&mut self, key: WorkerKey) -> &mut Worker {
        self.lend(key)
    }
}

/// The workers of a function, counted.
///
/// A call starts only if fewer workers than there may be execute something. A worker that waits for
/// calls of its own does not count, so that calls cannot wait for each other. For a call at the top
/// no more than `max_workers` of those are left out: otherwise each of a million calls could start,
/// wait, and make room for the next one.
///
/// Workers that are ending do not count either, up to as many as there may be: each of those takes as
/// long as its teardown does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct WorkerCounts {
    /// Those that are there or coming up.
    pub(super) alive: usize,
    pub(super) starting: usize,
    /// Those that were told to end, and whose processes are still there.
    exiting: usize,
    /// Those that wait for calls of their own.
    pub(super) waiting: usize,
    /// Those that have something to execute, whether they wait or not.
    busy: usize,
    /// Inputs that stand behind others at a worker.
    pub(super) behind: usize,
    /// Those that can be given calls.
    open: usize,
    /// Those of these that have nothing to execute.
    pub(super) idle: usize,
}

impl WorkerCounts {
    /// Returns whether an idle worker may be given a call, one at the top or a nested one.
    pub(super) fn allows(&self, max_workers: usize, nested: bool) -> bool {
        self.busy - self.left_out(max_workers, nested) < max_workers
    }

    /// Returns whether there may be another worker for such a call.
    pub(super) fn allows_another(&self, max_workers: usize, nested: bool) -> bool {
        let exiting = self.exiting.saturating_sub(max_workers);
        self.alive + exiting - self.left_out(max_workers, nested) < max_workers
    }

    /// Returns how many workers that wait for calls of their own do not count.
    fn left_out(&self, max_workers: usize, nested: bool) -> usize {
        if nested {
            self.waiting
        } else {
            self.waiting.min(max_workers)
        }
    }

    /// Returns how many workers serve calls, or are about to.
    pub(super) fn serving(&self) -> usize {
        self.alive - self.waiting
    }

    /// How many may be given calls, with the idle ones or without.
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

/// What a worker counts as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Standing {
    /// As nothing: it is not there yet, or was killed.
    #[default]
    Out,
    /// It was told to end.
    Exiting,
    Coming,
    Ready {
        /// The inputs that it has to answer.
        load: usize,
        /// It can be given calls.
        open: bool,
        /// It waits for calls of its own.
        waits: bool,
    },
}

/// The workers of one function.
#[derive(Debug, Default)]
pub(super) struct WorkerIndex {
    keys: Vec<WorkerKey>,
    counts: WorkerCounts,
    loads: Loads,
}

impl WorkerIndex {
    /// Whether inputs stood behind others at a worker when this was last counted. Answers do not
    /// add to those.
    pub(super) fn may_be_behind(&self) -> bool {
        self.counts.behind > 0
    }

    pub(super) fn keys(&self) -> &[WorkerKey] {
        &self.keys
    }

    /// The worker that has least to do of those that can be given calls, and how much that is. Of
    /// several it is always the same one, so that the others may become superfluous.
    pub(super) fn least(&self, with_idle: bool) -> Option<(usize, WorkerKey)> {
        let (load, place) = if with_idle {
            self.loads.find(|load| load.least)
        } else {
            self.loads.find(|load| load.least_busy)
        };
        (load < usize::MAX).then(|| (load, self.keys[place]))
    }

    /// The worker that has most to do, and how much that is.
    pub(super) fn most(&self) -> Option<(usize, WorkerKey)> {
        let (load, place) = self.loads.find(|load| load.most);
        (load > 0).then(|| (load, self.keys[place]))
    }

    fn file(&mut self, place: usize, at_once: usize, from: Standing, to: Standing) {
        self.counts.count(from, at_once, |count, by| *count -= by);
        self.counts.count(to, at_once, |count, by| *count += by);
        self.loads.set(place, Load::of(to));
    }
}

/// How much there is to do for the workers below a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Load {
    /// The least for one that can be given calls.
    least: usize,
    /// The same without those that are idle.
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

/// A binary tree over the places of workers: its root is at 1, the children of a node at twice its
/// index, and the leaves are its latter half.
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

    /// Twice as many places.
    fn grow(&mut self) {
        let leaves = self.0.split_off(self.0.len() / 2);
        let places = (2 * leaves.len()).max(1);
        self.0 = vec![Load::NONE; 2 * places];
        for (place, load) in leaves.into_iter().enumerate() {
            self.set(place, load);
        }
    }

    /// Where the root has its load from, and that load.
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
    /// The workers of a function as they are now.
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
                index.file(worker.place, policy.at_once, from, standing);
            }
        }
        debug_assert!(self.is_filed(function));
        let index = &self.functions[function.0].index;
        (index, index.counts)
    }

    /// Whether the workers of a function are where they would be if they were counted anew.
    fn is_filed(&self, function: FunctionKey) -> bool {
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
        index.file(place, policy.at_once, worker.standing, Standing::Out);
        index.keys.swap_remove(place);
        // The last one takes its place.
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
    fn the_tree_finds_what_a_walk_finds() {
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
