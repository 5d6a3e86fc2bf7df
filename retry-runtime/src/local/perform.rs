//! Carries out the scheduler's actions.

use std::time::Instant;

use super::LocalEngine;
use super::backend::StartRequest;
use super::core::Core;
use crate::job::outcome::Outcome;
use crate::job::{Job, faults};
use crate::scheduler::{Action, WorkerKey};
use crate::wire::frame::Order;

impl LocalEngine {
    /// Performs actions until the scheduler has no more.
    pub(super) fn act(&self, core: &mut Core, now: Instant, outcomes: &mut Vec<(Job, Outcome)>) {
        self.perform_all(core, outcomes);
        while core.scheduler.rebalance(now) {
            self.perform_all(core, outcomes);
        }
    }

    fn perform_all(&self, core: &mut Core, outcomes: &mut Vec<(Job, Outcome)>) {
        loop {
            match core.scheduler.next_action() {
                Some(action) => self.perform(core, action, outcomes),
                // One write for many calls is what makes them cheap.
                None if !core.dirty.is_empty() => core.flush_dirty(),
                None => return,
            }
        }
    }

    fn perform(&self, core: &mut Core, action: Action<Job>, outcomes: &mut Vec<(Job, Outcome)>) {
        match action {
            Action::Spawn { worker } => self.start_worker(core, worker),
            Action::Send {
                worker,
                ticket,
                call,
                attempt,
            } => core.send(worker, ticket, call, attempt),
            Action::Recall { worker } => core.recall(worker),
            Action::Probe { worker } => core.probe(worker),
            Action::Measure { worker } => core.measure(worker),
            Action::Ask { worker, ticket } => core.tell(worker, Order::Ask, ticket),
            Action::Abort { worker, ticket } => core.tell(worker, Order::Abort, ticket),
            Action::Terminate { worker } => {
                if let Some(link) = core.links.get(&worker.id) {
                    link.terminate();
                }
            }
            Action::Kill { worker } => core.kill(worker),
            Action::Retire { worker } => {
                if let Some(link) = core.links.get_mut(&worker.id) {
                    link.retire();
                }
            }
            Action::Resolve {
                payload,
                mut outcome,
            } => {
                for attempt in outcome.history.iter_mut().flat_map(|it| &mut it.attempts) {
                    attempt.start = core.clock.real(attempt.start);
                }
                outcomes.push((payload, outcome));
            }
            Action::Publish(record) => {
                self.publisher.publish(*record);
                core.scheduler.set_interest(self.publisher.interest());
            }
        }
    }

    fn start_worker(&self, core: &mut Core, worker: WorkerKey) {
        let Some((function, policy)) = core.scheduler.function_of(worker) else {
            return;
        };
        let Some(engine) = self.this.upgrade() else {
            return;
        };
        let request = StartRequest {
            engine,
            worker,
            function: policy.name,
            config: core.pools[function.place()].config.clone(),
            slots: policy.at_once,
            memory: policy.memory,
            fails: faults::pick_start_fault(policy.name),
        };
        self.backend.start_worker(core, request);
    }
}

impl Core {
    /// Recalls the tickets that a worker has not claimed.
    fn recall(&mut self, worker: WorkerKey) {
        let (last, now) = (self.scheduler.last_ticket(worker), self.now());
        let Some(link) = self.links.get_mut(&worker.id) else {
            return;
        };
        match link.recall(last) {
            Some(claimed) => self.scheduler.handle_recall(now, worker, claimed),
            None => self
                .scheduler
                .kill_broken(worker, "it claimed a ticket that was never sent".into()),
        }
    }

    /// Reads what a worker is executing, and passes it to the scheduler.
    fn probe(&mut self, worker: WorkerKey) {
        if let Some(link) = self.links.get(&worker.id) {
            let mut progress = link.progress();
            for one in &mut progress.executing {
                one.since = one.since.map(|since| self.clock.at_running(since));
            }
            self.scheduler
                .handle_progress(self.now(), worker, &progress);
        }
    }

    /// Measures the memory of a worker, and passes it to the scheduler.
    fn measure(&mut self, worker: WorkerKey) {
        if let Some(link) = self.links.get(&worker.id) {
            let bytes = link.memory();
            self.scheduler.handle_memory(self.now(), worker, bytes);
        }
    }

    fn kill(&mut self, worker: WorkerKey) {
        let link = self.links.get_mut(&worker.id);
        if let Some(report) = link.and_then(|link| link.kill()) {
            self.links.remove(&worker.id);
            self.scheduler.handle_exit(self.now(), worker, report);
        }
    }
}
