//! What the scheduler keeps per function.

use std::time::{Duration, Instant};

use super::WorkerKey;
use super::queue::Queue;
use super::starts::Starts;
use super::window::SlidingCount;
use super::worker_index::WorkerIndex;
use crate::api::crash_limit::CrashLimit;
use crate::api::failure::{CrashLimitExceeded, ExitCause};

/// How much work is handed to a worker ahead of time: enough that it does not wait for the next
/// input, little enough that not much has to be taken back.
const WORK_AHEAD: Duration = Duration::from_millis(2);

/// The most inputs that are on their way to one worker.
const DEEPEST: usize = 16 * 1024;

/// How many attempts the average of their durations looks back on.
const MEMORY: f64 = 16.0;

/// An attempt that takes no longer is quick.
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
    /// How many inputs a worker executes at once.
    pub(crate) at_once: usize,
    /// Whether one of them can be stopped without the others.
    pub(crate) separable: bool,
    pub(crate) grace: Duration,
    pub(crate) memory: Option<u64>,
    pub(crate) crash_limit: CrashLimit,
}

/// What has become of the calls of one function so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Calls that were made, ever.
    pub(crate) submitted: u64,
    /// Those of them that have their result or their error.
    pub(crate) finished: u64,
    /// Those of these that have an error, unless they were cancelled.
    pub(crate) failed: u64,
    /// Those of these that were cancelled.
    pub(crate) cancelled: u64,
    /// Attempts that were to be made again, after a failure or a crash.
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

    /// What has come since there were these, with what was pending then.
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

/// Which workers will do for a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lane {
    Any,
    /// Those in which nothing has panicked.
    Clean,
    /// Those that execute nothing else.
    Alone,
}

impl Lane {
    /// In the order in which calls are handed out.
    pub(super) const ALL: [Self; 3] = [Self::Clean, Self::Alone, Self::Any];
}

#[derive(Debug)]
pub(super) struct Function {
    pub(super) policy: FunctionPolicy,
    pub(super) counts: Counts,
    /// Calls that are queued, with some that are not any more.
    pub(super) queue: Queue,
    /// Calls that need a worker in which nothing has panicked.
    pub(super) clean_queue: Queue,
    /// Calls that need a worker that executes nothing else.
    pub(super) alone_queue: Queue,
    /// The worker that is given no others than those that need a clean one.
    pub(super) kept: Option<WorkerKey>,
    /// When a worker that has other things to do may be replaced for them.
    pub(super) next_renewal: Option<Instant>,
    /// How many calls are queued that no other call waits for.
    pub(super) queued_top: usize,
    /// How many calls are queued that were made by other calls.
    pub(super) queued_nested: usize,
    pub(super) index: WorkerIndex,
    pub(super) starts: Starts,
    crashes: SlidingCount,
    completions: SlidingCount,
    last_crash: ExitCause,
    /// A moving average of how long an attempt takes, in nanoseconds.
    duration: Option<f64>,
    /// Doubles with the answers that come in: nothing is known about the first inputs.
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

    /// How many inputs may be on their way to one worker.
    pub(super) fn depth(&self) -> usize {
        // Those that execute at once, and one to go on with, however long they take.
        let least = self.policy.at_once + 1;
        let Some(duration) = self.duration else {
            return self.confidence.max(least);
        };
        let fitting = WORK_AHEAD.as_nanos() as f64 / duration.max(1.0);
        (fitting as usize).min(self.confidence).max(least)
    }

    /// Whether attempts take less time than it takes to wake a thread.
    pub(super) fn is_quick(&self) -> bool {
        let quick = QUICK.as_nanos() as f64;
        self.duration.is_some_and(|duration| duration < quick)
    }

    /// So many attempts ran to their end, whatever that was.
    pub(super) fn completed(&mut self, now: Instant, attempts: u32) {
        self.completions.add(now, attempts);
        let gained = 2 * attempts as usize;
        self.confidence = (self.confidence + gained).min(DEEPEST);
    }

    /// So many attempts took so long, together.
    pub(super) fn took(&mut self, duration: Duration, attempts: u32) {
        let attempts = f64::from(attempts);
        let nanos = duration.as_nanos() as f64 / attempts;
        self.duration = Some(match self.duration {
            Some(average) => average + (nanos - average) * attempts / (attempts + MEMORY),
            None => nanos,
        });
    }

    /// A worker died while it was executing.
    pub(super) fn crashed(&mut self, now: Instant, cause: ExitCause) {
        self.crashes.add(now, 1);
        self.last_crash = cause;
    }

    pub(super) fn has_crashed_lately(&mut self, now: Instant) -> bool {
        self.crashes.count(now) > 0
    }

    pub(super) fn crash_limit_exceeded(&mut self, now: Instant) -> Option<CrashLimitExceeded> {
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

    /// How many calls are queued.
    pub(super) fn queued(&self) -> usize {
        self.queued_top + self.queued_nested
    }

    /// The count that the inputs of a call at a depth are part of.
    pub(super) fn queued_at(&mut self, depth: u32) -> &mut usize {
        match depth {
            0 => &mut self.queued_top,
            _ => &mut self.queued_nested,
        }
    }

    /// Returns the queue of the calls that need such workers.
    pub(super) fn lane(&mut self, lane: Lane) -> &mut Queue {
        match lane {
            Lane::Any => &mut self.queue,
            Lane::Clean => &mut self.clean_queue,
            Lane::Alone => &mut self.alone_queue,
        }
    }

    /// Takes the calls that were made by other calls, some of which may not be queued any more.
    pub(super) fn take_nested(&mut self) -> [Queue; 3] {
        self.queued_nested = 0;
        Lane::ALL.map(|lane| self.lane(lane).take_nested())
    }

    /// Takes all calls, some of which may not be queued any more.
    pub(super) fn take_queue(&mut self) -> [Queue; 3] {
        self.queued_top = 0;
        self.queued_nested = 0;
        Lane::ALL.map(|lane| std::mem::take(self.lane(lane)))
    }

    /// Tidies the queues, in which no call is left.
    pub(super) fn clear_queues(&mut self) {
        for lane in Lane::ALL {
            self.lane(lane).clear();
        }
    }
}
