//! The state under the engine's lock: the scheduler, and what the scheduler need not know.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::task::Waker;
use std::thread::{self, Thread};
use std::time::Instant;

use bytes::Bytes;

use super::clock::Clock;
use super::link::Link;
use super::{ATTENDED, ParkSpot, SWEEP_FROM, WaitTarget};
use crate::api::failure::{Rejected, Startup};
use crate::api::spec::FunctionSpec;
use crate::codec::payload::Payload;
use crate::config::Config;
use crate::function::callee::Callee;
use crate::function::registry::{self, NotFound};
use crate::function::service_config::ServiceConfig;
use crate::job::outcome::CallKey;
use crate::job::{Job, faults};
use crate::scheduler::{FunctionKey, FunctionPolicy, Scheduler, Terms, WorkerKey};
use crate::sys;
use crate::sys::attributes::parallelism;
use crate::wait::AnswerSource;
use crate::wire::frame::{CallHeader, Order};

pub(crate) struct Core {
    pub(crate) scheduler: Scheduler<Job>,
    pub(super) config: Arc<Config>,
    pub(super) functions: BTreeMap<PoolName, Result<FunctionKey, Rejected>>,
    /// Further facts about each function, indexed by the place of its key.
    pub(super) pools: Vec<PoolFacts>,
    /// The number of functions from which on unused configurations are removed.
    pub(super) configurations: usize,
    pub(super) links: BTreeMap<u64, Box<dyn Link>>,
    /// The threads that wait for a worker that is being started, in order to park at it.
    pub(super) early: Vec<Thread>,
    /// The workers with unflushed messages.
    pub(super) dirty: Vec<WorkerKey>,
    pub(crate) clock: Clock,
    /// The time, by the scheduler's clock, at which the I/O thread wakes up by itself.
    pub(super) armed: Option<Instant>,
    /// The wakers of callers that wait for the end of all calls and workers.
    pub(super) draining: Vec<Waker>,
}

/// A function's or service's name, and the configuration of the service.
pub(super) type PoolName = (&'static str, Option<ServiceConfig>);

/// Facts about a function that the scheduler need not know.
pub(super) struct PoolFacts {
    /// The encoded argument of a service's constructor.
    pub(super) config: Option<ServiceConfig>,
    /// The terms of its last call, which the next call mostly shares.
    pub(super) terms: Option<Arc<Terms>>,
}

impl Core {
    /// Returns the key of the function's pool of workers, and registers the function at its first
    /// call.
    pub(crate) fn function(&mut self, callee: &Callee) -> Result<FunctionKey, Rejected> {
        let registration = callee.registration;
        let spec = registration.pool();
        let name = (spec.name, callee.config.clone());
        if let Some(known) = self.functions.get(&name) {
            return known.clone();
        }
        let known = match registry::find(registration.spec.name) {
            Err(NotFound::Duplicate(places)) => Err(Rejected::DuplicateName {
                places: places.into(),
            }),
            // The stub itself proves that the function exists.
            Ok(_) | Err(NotFound::Missing(_)) => {
                self.forget_configurations();
                let given = &self.config;
                let key = self.scheduler.add_function(FunctionPolicy {
                    name: spec.name,
                    max_workers: max_workers(given, spec),
                    min_workers: given.min_workers.unwrap_or(spec.min_workers),
                    startup_timeout: given.startup_timeout.unwrap_or(spec.startup_timeout),
                    scaledown_window: given.scaledown_window.unwrap_or(spec.scaledown_window),
                    max_calls_per_worker: spec.max_calls_per_worker,
                    at_once: spec.at_once(),
                    separable: spec.concurrency > 1,
                    grace: spec.grace,
                    memory: spec.memory,
                    crash_limit: spec.crash_limit,
                });
                // The handles on the service keep the shared values that it is configured with, and so do its calls,
                // for workers that start because of them.
                let config = callee.config.as_ref();
                let pool = PoolFacts {
                    config: config.map(ServiceConfig::without_objects),
                    terms: None,
                };
                match self.pools.get_mut(key.place()) {
                    Some(unused) => *unused = pool,
                    None => self.pools.push(pool),
                }
                Ok(key)
            }
        };
        let (name, config) = name;
        let config = config.as_ref().map(ServiceConfig::without_objects);
        self.functions.insert((name, config), known.clone());
        known
    }

    /// Removes unused configurations of services, each time the number of functions has doubled
    /// since the last time.
    pub(super) fn forget_configurations(&mut self) {
        if self.functions.len() < self.configurations {
            return;
        }
        let now = self.now();
        let scheduler = &mut self.scheduler;
        self.functions.retain(|(_, config), known| {
            let unused = |key: &FunctionKey| scheduler.remove_if_unused(now, *key);
            config.is_none() || !known.as_ref().is_ok_and(unused)
        });
        self.configurations = SWEEP_FROM.max(2 * self.functions.len());
    }

    /// Returns the terms for calls of a function, shared with its last call if they are the same.
    pub(crate) fn terms(&mut self, function: FunctionKey, callee: &Callee) -> Arc<Terms> {
        let terms = Terms {
            name: callee.registration.spec.name,
            policy: callee.policy,
            budget: callee.budget.clone(),
            called: callee.called.clone(),
            show: callee.registration.show.filter(|_| self.config.show_inputs),
            longest_delay: callee.longest_delay,
        };
        // A budget must live no longer than the calls that share it.
        if terms.budget.is_some() {
            return Arc::new(terms);
        }
        let last = &mut self.pools[function.place()].terms;
        match last {
            Some(last) if last.is_same(&terms) => Arc::clone(last),
            _ => Arc::clone(last.insert(Arc::new(terms))),
        }
    }

    /// Returns the time of the scheduler's clock.
    pub(crate) fn now(&self) -> Instant {
        self.clock.now()
    }

    /// Returns the time of the next timer if a test skips waits and all calls wait for their next
    /// attempt.
    pub(super) fn skippable_until(&self) -> Option<Instant> {
        if faults::is_clock_paused() && self.scheduler.only_waits() {
            self.scheduler.next_timer()
        } else {
            None
        }
    }

    pub(super) fn send(&mut self, worker: WorkerKey, ticket: u64, call: CallKey, attempt: u32) {
        let (Some(link), Some((terms, job))) =
            (self.links.get_mut(&worker.id), self.scheduler.payload(call))
        else {
            return;
        };
        let mut header = CallHeader {
            order: Order::Run,
            count: 1,
            length: 0,
            attempt,
            ticket,
            call: call.id.0,
            index: job.index,
            method: job.method,
            fault: 0,
            level: job.spans.level(),
            is_staged: job.objects.is_staged(),
        };
        let mut send = |header: &mut CallHeader, input: &Bytes| {
            header.length = u32::try_from(input.len()).expect("the limit is below 4 GiB");
            if link.send(header, input) {
                self.dirty.push(worker);
            }
        };
        match &job.input {
            // A planned fault applies to one input, so each input needs its own header.
            Payload::Several(inputs) if faults::are_planned() => {
                for input in inputs.clone() {
                    header.fault = faults::pick(terms.name, attempt, header.index);
                    send(&mut header, &input);
                    header.follow();
                }
            }
            Payload::Several(inputs) => {
                header.count = inputs.len();
                send(&mut header, inputs.bytes());
            }
            Payload::One(_) | Payload::Attached(_) => {
                header.fault = faults::pick(terms.name, attempt, job.index);
                send(&mut header, job.input.bytes());
            }
        }
    }

    /// Sends a worker an order about a ticket that it is executing. A function that does not yield
    /// sees the request in shared memory; an async one is woken by the message.
    pub(super) fn tell(&mut self, worker: WorkerKey, order: Order, ticket: u64) {
        let Some(link) = self.links.get_mut(&worker.id) else {
            return;
        };
        link.ask(ticket);
        let header = CallHeader {
            order,
            ticket,
            ..CallHeader::default()
        };
        if link.send(&header, &Bytes::new()) {
            self.dirty.push(worker);
        }
    }

    pub(super) fn flush_dirty(&mut self) {
        while let Some(worker) = self.dirty.pop() {
            self.flush(worker);
        }
    }

    /// Flushes the messages to a worker. Returns whether anything was sent.
    pub(crate) fn flush(&mut self, worker: WorkerKey) -> bool {
        let Some(link) = self.links.get_mut(&worker.id) else {
            return false;
        };
        link.flush().unwrap_or_else(|corrupt| {
            self.scheduler
                .kill_broken(worker, corrupt.to_string().into());
            false
        })
    }

    /// Adds a worker that now exists, with its link.
    pub(crate) fn adopt(
        &mut self,
        now: Instant,
        key: WorkerKey,
        pid: u32,
        mut link: Box<dyn Link>,
    ) {
        self.scheduler.handle_spawn(now, key, pid);
        // The scheduler may have given the worker up while it was being started.
        if !self.scheduler.is_wanted(key) {
            link.kill();
        }
        link.set_suspended(self.clock.suspended());
        self.links.insert(key.id, link);
        self.wake_early();
    }

    pub(super) fn wake_early(&mut self) {
        self.early.drain(..).for_each(|thread| thread.unpark());
    }

    pub(crate) fn abandon(&mut self, now: Instant, key: WorkerKey, error: &io::Error) {
        let (reason, scarce) = (error.to_string(), sys::is_for_want_of_resources(error));
        self.scheduler
            .handle_failed_spawn(now, key, reason.into(), scarce);
        self.wake_early();
    }

    /// Returns where the current thread may park while it waits for the answer to a call.
    pub(super) fn park_spot(&mut self, call: Option<CallKey>) -> ParkSpot {
        let Some(call) = call else {
            return ParkSpot::Nowhere;
        };
        let [worker] = self.scheduler.workers_for(call) else {
            return ParkSpot::Nowhere;
        };
        if let Some(link) = self.links.get(&worker.id) {
            return link.source().map_or(ParkSpot::Nowhere, ParkSpot::At);
        }
        let thread = thread::current();
        let known = self.early.iter().any(|other| other.id() == thread.id());
        if !known {
            if self.early.len() >= ATTENDED {
                return ParkSpot::Nowhere;
            }
            self.early.push(thread);
        }
        ParkSpot::Soon
    }

    /// Returns the sources at which answers will arrive, limited to the number of workers that a
    /// thread polls.
    pub(super) fn sources(&self, answers: WaitTarget) -> Vec<Arc<dyn AnswerSource>> {
        let workers = match answers {
            WaitTarget::Of(function) => self.scheduler.workers_of(function),
            WaitTarget::To(Some(call)) => self.scheduler.workers_for(call),
            WaitTarget::To(None) => &[],
        };
        let source = |worker: &WorkerKey| self.links.get(&worker.id)?.source();
        workers.iter().take(ATTENDED).filter_map(source).collect()
    }

    /// Removes the link of a worker that has ended; its pid may now be reused.
    pub(crate) fn unlink(&mut self, key: WorkerKey) {
        self.links.remove(&key.id);
    }

    /// Records the next timer if the I/O thread would wake up too late for it. Returns whether the
    /// thread must be woken.
    pub(super) fn rearm(&mut self) -> bool {
        match (self.scheduler.next_timer(), self.armed) {
            (Some(next), armed) if armed.is_none_or(|armed| next < armed) => {
                self.armed = Some(next);
                true
            }
            _ => false,
        }
    }

    /// Returns the real time until which the I/O thread may wait. Called by that thread before it waits.
    pub(crate) fn arm(&mut self) -> Option<Instant> {
        self.armed = self.scheduler.next_timer();
        self.armed.and_then(|at| self.clock.real_at(at))
    }

    pub(crate) fn fail_handshake(&mut self, key: WorkerKey, reason: String) {
        self.scheduler
            .fail_start(key, Startup::Handshake(reason.into()));
    }
}

/// Returns the maximum number of workers of a function or service.
pub(super) fn max_workers(given: &Config, spec: &FunctionSpec) -> usize {
    let limit = given.max_workers.or(spec.max_workers);
    limit.unwrap_or_else(parallelism)
}
