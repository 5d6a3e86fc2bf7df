//! The scheduler's state of a function.

use std::time::{Duration, Instant};

use super::WorkerKey;
use super::queue::Queue;
use super::starts::Starts;
use super::statistics::Statistics;
use super::window::SlidingCount;
use super::worker_index::WorkerIndex;
use crate::api::crash_limit::CrashLimit;
use crate::api::failure::{CrashLimitExceeded, ExitCause};

/// The amount of work that is sent to a worker ahead of time: enough that the worker does not wait
/// for its next input, little enough that a recall takes back few inputs.
const WORK_AHEAD: Duration = Duration::from_millis(2);

/// The maximum number of inputs that are on their way to one worker.
const MAX_IN_FLIGHT: usize = 16 * 1024;

/// The weight of the past, in attempts, in the moving average of their durations.
const MEMORY: f64 = 16.0;

/// The average duration of an attempt below which a function is quick.
const QUICK: Duration = Duration::from_micros(50);

/// The rules for one function's workers.
#[derive(Clone, Debug)]
pub(crate) struct FunctionPolicy {
    pub(crate) name: &'static str,
    pub(crate) max_workers: usize,
    pub(crate) min_workers: usize,
    pub(crate) startup_timeout: Duration,
    pub(crate) scaledown_window: Duration,
    pub(crate) max_calls_per_worker: Option<u64>,
    /// The number of inputs that a worker executes at once.
    pub(crate) at_once: usize,
    /// `true` if one of these inputs can be stopped without the others.
    pub(crate) separable: bool,
    pub(crate) grace: Duration,
    pub(crate) memory: Option<u64>,
    pub(crate) crash_limit: CrashLimit,
}

/// Counts of a function's calls by their state, since the start of the runtime.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// The number of calls that were made.
    pub(crate) submitted: u64,
    /// The number of submitted calls that have a result or an error.
    pub(crate) finished: u64,
    /// The number of finished calls that have an error, without cancelled ones.
    pub(crate) failed: u64,
    /// The number of finished calls that were cancelled.
    pub(crate) cancelled: u64,
    /// The number of attempts that were scheduled again, after a failure or a crash.
    pub(crate) retried: u64,
}

impl Counts {
    pub(super) fn add(&mut self, other: Self) {
        self.submitted += other.submitted;
        self.finished += other.finished;
        self.failed += other.failed;
        self.cancelled += other.cancelled;
        self.retried += other.retried;
    }

    /// Returns the difference to earlier counts. Calls that were pending then count as submitted
    /// since.
    pub(crate) fn since(self, base: Self) -> Self {
        Self {
            submitted: self.submitted.saturating_sub(base.finished),
            finished: self.finished.saturating_sub(base.finished),
            failed: self.failed.saturating_sub(base.failed),
            cancelled: self.cancelled.saturating_sub(base.cancelled),
            retried: self.retried.saturating_sub(base.retried),
        }
    }
}

/// The kind of worker that a call needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lane {
    Any,
    /// A worker in which nothing has panicked.
    Clean,
    /// A worker that executes nothing else.
    Alone,
}

impl Lane {
    /// All lanes, in the order in which their calls are sent.
    pub(super) const ALL: [Self; 3] = [Self::Clean, Self::Alone, Self::Any];
}

#[derive(Debug)]
pub(super) struct Function {
    pub(super) policy: FunctionPolicy,
    pub(super) counts: Counts,
    pub(super) statistics: Statistics,
    /// The queued calls. Some entries may be stale: their calls are no longer queued.
    pub(super) queue: Queue,
    /// The queued calls that need a worker in which nothing has panicked.
    pub(super) clean_queue: Queue,
    /// The queued calls that need a worker that executes nothing else.
    pub(super) alone_queue: Queue,
    /// The worker that is reserved for calls that need a clean worker.
    pub(super) kept: Option<WorkerKey>,
    /// The time from which a busy worker may be replaced for such calls.
    pub(super) next_renewal: Option<Instant>,
    /// The number of queued inputs of top-level calls.
    pub(super) queued_top: usize,
    /// The number of queued inputs of nested calls.
    pub(super) queued_nested: usize,
    pub(super) index: WorkerIndex,
    pub(super) starts: Starts,
    crashes: SlidingCount,
    completions: SlidingCount,
    last_crash: ExitCause,
    /// The moving average of the duration of an attempt, in nanoseconds.
    duration: Option<f64>,
    /// The limit on the depth by experience. It grows by two with each answer, since nothing is
    /// known about the first inputs.
    confidence: usize,
}

impl Function {
    pub(super) fn new(policy: FunctionPolicy) -> Self {
        let window = policy
            .crash_limit
            .get()
            .map_or(Duration::from_secs(1), |(_, window)| window);
        Self {
            policy,
            counts: Counts::default(),
            statistics: Statistics::default(),
            queue: Queue::default(),
            clean_queue: Queue::default(),
            alone_queue: Queue::default(),
            kept: None,
            next_renewal: None,
            queued_top: 0,
            queued_nested: 0,
            index: WorkerIndex::default(),
            starts: Starts::default(),
            crashes: SlidingCount::new(window),
            completions: SlidingCount::new(window),
            last_crash: ExitCause::Unknown,
            duration: None,
            confidence: 2,
        }
    }

    /// Returns how many inputs may be on their way to one worker.
    pub(super) fn depth(&self) -> usize {
        // The inputs that execute at once, and one more to continue with, however long they take.
        let least = self.policy.at_once + 1;
        let Some(duration) = self.duration else {
            return self.confidence.max(least);
        };
        let fitting = WORK_AHEAD.as_nanos() as f64 / duration.max(1.0);
        (fitting as usize).min(self.confidence).max(least)
    }

    /// Returns whether attempts take less time than it takes to wake a thread.
    pub(super) fn is_quick(&self) -> bool {
        let quick = QUICK.as_nanos() as f64;
        self.duration.is_some_and(|duration| duration < quick)
    }

    /// Counts attempts that ran to their end, with whatever outcome.
    pub(super) fn count_completions(&mut self, now: Instant, attempts: u32) {
        self.completions.add(now, attempts);
        let gained = 2 * attempts as usize;
        self.confidence = (self.confidence + gained).min(MAX_IN_FLIGHT);
    }

    /// Adds the total duration of several attempts to the moving average.
    pub(super) fn add_duration(&mut self, duration: Duration, attempts: u32) {
        self.statistics.add(duration, attempts);
        let attempts = f64::from(attempts);
        let nanos = duration.as_nanos() as f64 / attempts;
        self.duration = Some(match self.duration {
            Some(average) => average + (nanos - average) * attempts / (attempts + MEMORY),
            None => nanos,
        });
    }

    /// Counts a crash towards the limit of crashes.
    pub(super) fn count_crash(&mut self, now: Instant, cause: ExitCause) {
        self.crashes.add(now, 1);
        self.last_crash = cause;
    }

    /// Returns how many crashes still count, and forgets older ones.
    pub(super) fn count_crashes(&mut self, now: Instant) -> u64 {
        self.crashes.count(now)
    }

    /// Returns the error to fail calls with if the crash limit is exceeded, and forgets older crashes.
    pub(super) fn check_crash_limit(&mut self, now: Instant) -> Option<CrashLimitExceeded> {
        let (limit, _) = self.policy.crash_limit.get()?;
        if self.crashes.is_empty() {
            return None;
        }
        let crashes = self.crashes.count(now);
        let completed = self.completions.count(now);
        (crashes >= u64::from(limit) && crashes > completed).then(|| {
            CrashLimitExceeded::new(
                u32::try_from(crashes).unwrap_or(u32::MAX),
                completed,
                self.policy.crash_limit,
                self.last_crash,
            )
        })
    }

    /// Returns the number of queued inputs.
    pub(super) fn queued(&self) -> usize {
        self.queued_top + self.queued_nested
    }

    /// Returns the counter of queued inputs for calls at a nesting depth.
    pub(super) fn queued_at(&mut self, depth: u32) -> &mut usize {
        match depth {
            0 => &mut self.queued_top,
            _ => &mut self.queued_nested,
        }
    }

    /// Returns the queue of a lane.
    pub(super) fn lane_mut(&mut self, lane: Lane) -> &mut Queue {
        match lane {
            Lane::Any => &mut self.queue,
            Lane::Clean => &mut self.clean_queue,
            Lane::Alone => &mut self.alone_queue,
        }
    }

    /// Takes all queues of nested calls, which may contain stale entries.
    pub(super) fn take_nested(&mut self) -> [Queue; 3] {
        self.queued_nested = 0;
        Lane::ALL.map(|lane| self.lane_mut(lane).take_nested())
    }

    /// Takes all queues, which may contain stale entries.
    pub(super) fn take_queue(&mut self) -> [Queue; 3] {
        self.queued_top = 0;
        self.queued_nested = 0;
        Lane::ALL.map(|lane| std::mem::take(self.lane_mut(lane)))
    }

    /// Clears the queues of stale entries; no call may be queued.
    pub(super) fn clear_queues(&mut self) {
        for lane in Lane::ALL {
            self.lane_mut(lane).clear();
        }
    }
}
