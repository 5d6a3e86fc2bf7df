//! What the workers are doing at this moment, for a person who asks.

use std::time::Duration;

use super::Engine;
use super::core::Core;
use crate::scheduler::RunningCall;

/// A call that is executing.
pub(crate) struct Running {
    pub(crate) call: RunningCall,
    /// The time since the function was entered, if the worker shows it.
    pub(crate) elapsed: Option<Duration>,
    pub(crate) worker: u64,
    pub(crate) pid: Option<u32>,
    /// The memory of the worker and everything that it started, in bytes, if it was wanted.
    pub(crate) memory: u64,
}

impl Engine {
    /// Returns the calls that are executing, the longest first; with the memory of their workers, which takes a
    /// while to find out, if that is wanted.
    pub(crate) fn running(&self, with_memory: bool) -> Vec<Running> {
        let mut running = self.step(|core, _| core.running(with_memory));
        running.sort_by_key(|one| std::cmp::Reverse(one.elapsed));
        running
    }
}

impl Core {
    fn running(&self, with_memory: bool) -> Vec<Running> {
        let mut running = Vec::new();
        for (worker, pid) in self.scheduler.workers() {
            let Some(link) = self.links.get(&worker.id) else {
                continue;
            };
            let progress = link.progress();
            let memory = match with_memory && !progress.executing.is_empty() {
                true => link.memory(),
                false => 0,
            };
            let calls = progress.executing.iter().filter_map(|executing| {
                let call = self.scheduler.running_call(worker, executing.ticket)?;
                Some(Running {
                    call,
                    elapsed: executing.since.map(|since| since.elapsed()),
                    worker: worker.id,
                    pid,
                    memory,
                })
            });
            running.extend(calls);
        }
        running
    }
}
