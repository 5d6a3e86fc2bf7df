//! Lists the calls that workers are executing, for a person who asks.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::LocalEngine;
use super::core::Core;
use super::link::Printed;
use crate::scheduler::{Overview, RunningCall};

/// A call that is executing.
pub(crate) struct Running {
    pub(crate) call: RunningCall,
    /// The time since the function was entered, if the worker shows it.
    pub(crate) elapsed: Option<Duration>,
    pub(crate) worker: u64,
    pub(crate) pid: Option<u32>,
    /// The memory of the worker and everything that it started, in bytes, if it was wanted.
    pub(crate) memory: u64,
    /// The last line that the call has printed to standard error, if it is the last one of the worker.
    pub(crate) last_line: Option<String>,
}

impl LocalEngine {
    /// Returns the calls that are executing, the longest first; if they are wanted in full, with what takes a while
    /// to find out: the memory of their workers, and their last lines.
    pub(crate) fn running(&self, in_full: bool) -> Vec<Running> {
        let mut running = Vec::new();
        for (mut one, output) in self.step(|core, _| core.running(in_full)) {
            let last = output.and_then(|output| output.last_line());
            let own = last.filter(|(call, _)| *call == one.call.id);
            one.last_line = own.map(|(_, line)| line);
            running.push(one);
        }
        running.sort_by_key(|one| std::cmp::Reverse(one.elapsed));
        running
    }

    /// Returns how many calls there are in each state, and the time until the next one is retried.
    pub(crate) fn overview(&self) -> (Overview, Option<Duration>) {
        self.step(|core, now| {
            let overview = core.scheduler.overview();
            let until = |at: Instant| at.saturating_duration_since(now);
            (overview, overview.next_retry.map(until))
        })
    }
}

impl Core {
    /// Returns the calls that are executing; in full, with the output of their workers.
    fn running(&self, in_full: bool) -> Vec<(Running, Option<Arc<dyn Printed>>)> {
        let now = self.clock.running();
        let elapsed = |since| now.saturating_duration_since(since);
        let mut running = Vec::new();
        for (worker, pid) in self.scheduler.workers() {
            let Some(link) = self.links.get(&worker.id) else {
                continue;
            };
            let progress = link.progress();
            let memory = match in_full && !progress.executing.is_empty() {
                true => link.memory(),
                false => 0,
            };
            let calls = progress.executing.iter().filter_map(|executing| {
                let call = self.scheduler.running_call(worker, executing.ticket)?;
                let one = Running {
                    call,
                    elapsed: executing.since.map(elapsed),
                    worker: worker.id,
                    pid,
                    memory,
                    last_line: None,
                };
                let output = if in_full { link.output() } else { None };
                Some((one, output))
            });
            running.extend(calls);
        }
        running
    }
}
