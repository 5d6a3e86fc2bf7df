//! The workers: counted per function, and in the order in which they are given calls.
//!
//! Nobody who changes a worker has to think of that: each that is lent for a change is filed anew
//! before anybody counts.

use std::collections::BTreeSet;
use std::ops::{Index, IndexMut};

use slab::Slab;

use super::function::Function;
use super::{FunctionKey, FunctionPolicy, Phase, Scheduler, Worker, WorkerKey};
use crate::parcel::Parts;

/// All workers.
#[derive(Debug, Default)]
pub(super) struct Workers {
    all: Slab<Worker>,
    /// Those that may have changed since they were filed.
    lent: Vec<WorkerKey>,
}

impl Workers {
    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
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
        if !worker.lent {
            worker.lent = true;
            self.lent.push(key);
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
/// A call at the top starts only if fewer calls than there may be workers are under way, those
/// included that wait for calls of their own. A nested call starts if fewer are executing: those
/// that wait make room for it, since they wait for it or its like. Thus calls cannot wait for
/// each other, and at each depth there are no more workers than there may be at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Census {
    /// Those that are there or coming up.
    pub(super) alive: usize,
    pub(super) starting: usize,
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

impl Census {
    /// Whether an idle worker may be given a call.
    pub(super) fn allows(&self, max_workers: usize, nested: bool) -> bool {
        let counted = if nested {
            self.busy - self.waiting
        } else {
            self.busy
        };
        counted < max_workers
    }

    /// Whether there may be another worker, for a call at the top or for a nested one.
    pub(super) fn allows_another(&self, max_workers: usize, nested: bool) -> bool {
        let counted = if nested {
            self.alive - self.waiting
        } else {
            self.alive
        };
        counted < max_workers
    }

    /// How many may be given calls, with the idle ones or without.
    pub(super) fn open(&self, with_idle: bool) -> usize {
        self.open - if with_idle { 0 } else { self.idle }
    }

    fn count(&mut self, standing: Standing, at_once: usize, by: fn(&mut usize, usize)) {
        match standing {
            Standing::Out => return,
            Standing::Coming => by(&mut self.starting, 1),
            Standing::Ready { waits, rank } => {
                let idle = rank.load == 0;
                by(&mut self.behind, rank.load.saturating_sub(at_once));
                by(&mut self.waiting, waits.into());
                by(&mut self.busy, (waits || !idle).into());
                by(&mut self.open, (!rank.shut).into());
                by(&mut self.idle, (!rank.shut && idle).into());
            }
        }
        by(&mut self.alive, 1);
    }
}

/// What a worker counts as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Standing {
    /// As nothing: it is not there yet or about to end.
    #[default]
    Out,
    Coming,
    Ready {
        /// For calls of its own.
        waits: bool,
        rank: Rank,
    },
}

/// The order in which workers that are ready are given calls: those that have least to do first,
/// of these those that are there for longest. So the last ones may become superfluous.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank {
    /// It is given none.
    shut: bool,
    /// The inputs that it has to answer.
    load: usize,
    key: WorkerKey,
}

impl Rank {
    /// Before all that have as much to do.
    fn first(shut: bool, load: usize) -> Self {
        let key = WorkerKey { id: 0, index: 0 };
        Self { shut, load, key }
    }
}

/// The workers of one function.
#[derive(Debug, Default)]
pub(super) struct Roster {
    /// In the order in which they were started.
    keys: Vec<WorkerKey>,
    census: Census,
    ready: BTreeSet<Rank>,
}

impl Roster {
    pub(super) fn keys(&self) -> &[WorkerKey] {
        &self.keys
    }

    /// The worker that has least to do of those that can be given calls, and how much that is.
    pub(super) fn least(&self, with_idle: bool) -> Option<(usize, WorkerKey)> {
        let from = Rank::first(false, if with_idle { 0 } else { 1 });
        let least = self.ready.range(from..).next();
        least
            .filter(|rank| !rank.shut)
            .map(|rank| (rank.load, rank.key))
    }

    /// The worker that has most to do, and how much that is.
    pub(super) fn most(&self) -> Option<(usize, WorkerKey)> {
        let open = self.ready.range(..Rank::first(true, 0)).next_back();
        let both = open.into_iter().chain(self.ready.last());
        both.map(|rank| (rank.load, rank.key)).max()
    }

    fn file(&mut self, at_once: usize, from: Standing, to: Standing) {
        self.census.count(from, at_once, |count, by| *count -= by);
        self.census.count(to, at_once, |count, by| *count += by);
        if let Standing::Ready { rank, .. } = from {
            self.ready.remove(&rank);
        }
        if let Standing::Ready { rank, .. } = to {
            self.ready.insert(rank);
        }
    }
}

impl Worker {
    fn standing(&self, key: WorkerKey, policy: &FunctionPolicy) -> Standing {
        match self.phase {
            Phase::Starting | Phase::FailedStart(_) => Standing::Coming,
            Phase::Ready => Standing::Ready {
                waits: !self.children.is_empty(),
                rank: Rank {
                    shut: !self.takes_calls(policy),
                    load: self.outstanding.inputs(),
                    key,
                },
            },
            Phase::Retiring | Phase::Killed | Phase::Broken(_) | Phase::OutOfMemory => {
                Standing::Out
            }
        }
    }
}

impl<P: Parts> Scheduler<P> {
    /// The workers of a function as they are now.
    pub(super) fn roster(&mut self, function: FunctionKey) -> (&Roster, Census) {
        while let Some(key) = self.workers.lent.pop() {
            let Some(worker) = self.workers.all.get_mut(key.index) else {
                continue;
            };
            if worker.id != key.id {
                continue;
            }
            worker.lent = false;
            let function = &mut self.functions[worker.function.0];
            let standing = worker.standing(key, &function.policy);
            if standing != worker.standing {
                let from = std::mem::replace(&mut worker.standing, standing);
                let at_once = function.policy.at_once;
                function.roster.file(at_once, from, standing);
            }
        }
        debug_assert!(self.is_filed(function));
        let roster = &self.functions[function.0].roster;
        (roster, roster.census)
    }

    /// Whether the workers of a function are where they would be if they were counted anew.
    fn is_filed(&self, function: FunctionKey) -> bool {
        let state = &self.functions[function.0];
        let mut census = Census::default();
        let mut ready = 0;
        for &key in &state.roster.keys {
            let standing = self.workers[key].standing(key, &state.policy);
            census.count(standing, state.policy.at_once, |count, by| *count += by);
            if let Standing::Ready { rank, .. } = standing {
                ready += usize::from(state.roster.ready.contains(&rank));
            }
        }
        census == state.roster.census && ready == state.roster.ready.len()
    }

    pub(super) fn add_worker(&mut self, worker: Worker) -> WorkerKey {
        let function = worker.function;
        let key = self.workers.insert(worker);
        self.functions[function.0].roster.keys.push(key);
        key
    }

    pub(super) fn remove_worker(&mut self, key: WorkerKey) -> Option<Worker> {
        self.workers.get(key)?;
        let worker = self.workers.all.remove(key.index);
        self.outdate(1);
        let Function { policy, roster, .. } = &mut self.functions[worker.function.0];
        roster.file(policy.at_once, worker.standing, Standing::Out);
        // Their numbers are counted up.
        if let Ok(place) = roster.keys.binary_search(&key) {
            roster.keys.remove(place);
        }
        Some(worker)
    }
}
