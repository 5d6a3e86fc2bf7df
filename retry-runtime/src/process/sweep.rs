//! The sweeper: ends the processes that a worker has left behind outside of its process group.
//!
//! Scanning all processes takes about a millisecond. A thread that is started on demand, and ends when its
//! queue is empty, scans once for all workers that have ended in the meantime, some time after their work has
//! been handed out again.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::OwnedPool;
use super::cgroup::Cgroup;
use crate::api::context::short_name;
use crate::api::events::{Event, EventKind, Interest, Record};
use crate::local::LocalEngine;
use crate::sys::lineage::{self, Found, Token};
use crate::sys::{self, PerProcess};

/// The delay between the end of a worker and the first scan: about as long as it takes to replace the worker.
const SCAN_DELAY: Duration = Duration::from_millis(5);

/// The pause after a scan, in multiples of the scan's duration, at most [`LONGEST_PAUSE`].
const PAUSES: u32 = 10;

const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// The time for which a killed process may live before it is reported.
const DYING: Duration = Duration::from_secs(1);

/// The time for which a program that ends waits for a scan.
const END_SCAN_TIMEOUT: Duration = Duration::from_secs(2);

/// A worker's process and all its descendants.
pub(crate) struct Family {
    pub(super) engine: Weak<LocalEngine>,
    pub(super) function: &'static str,
    pub(super) worker: u32,
    pub(super) token: Token,
    /// The control group that contains all of them, if there is one.
    pub(super) cgroup: Option<Arc<Cgroup>>,
    /// Set once the worker has been killed or has ended, so that its leftovers are to be swept up.
    pub(super) ends: AtomicBool,
}

/// A request to kill the descendants of one worker.
struct Sweep {
    family: Arc<Family>,
    /// Processes that were seen to descend from the worker.
    seen: Vec<Found>,
    /// The pool whose engine is not drained before this sweep is done.
    waits: Option<OwnedPool>,
}

#[derive(Default)]
struct Sweeps {
    queue: Vec<Sweep>,
    /// The number of workers that are ending and are not in the queue yet.
    ending: usize,
    /// True while the thread is running.
    runs: bool,
}

static SWEEPS: PerProcess<Mutex<Sweeps>> = PerProcess::new();

/// Notified when the thread has ended, or when a worker that is ending has joined the queue.
static IDLE: PerProcess<Condvar> = PerProcess::new();

fn sweeps() -> MutexGuard<'static, Sweeps> {
    let sweeps = SWEEPS.get_or_init(Mutex::default);
    sweeps.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Family {
    /// Returns the pid of the worker's process.
    pub(crate) fn worker(&self) -> u32 {
        self.worker
    }

    /// Makes the end of the program wait until the worker, which is about to end, has [ended](Self::end): its
    /// call may be over before.
    pub(crate) fn begin_end(&self) {
        if !self.ends.swap(true, Ordering::Relaxed) {
            wait_at_exit();
            sweeps().ending += 1;
        }
    }

    /// Requests that the given descendants of the worker, which are not in its group, are killed soon.
    pub(crate) fn kill(self: &Arc<Self>, seen: Vec<Found>) {
        if !seen.is_empty() {
            request(Sweep {
                family: Arc::clone(self),
                seen,
                waits: None,
            });
        }
    }

    /// Requests that the leftovers of the worker, which has ended, are killed soon. The engine in `waits` has
    /// already counted the worker among those that keep it from being drained.
    pub(super) fn end(self: &Arc<Self>, waits: Option<OwnedPool>) {
        self.begin_end();
        request(Sweep {
            family: Arc::clone(self),
            seen: Vec::new(),
            waits,
        });
        sweeps().ending -= 1;
        IDLE.get_or_init(Condvar::new).notify_all();
    }

    fn report(&self, pid: u32) {
        let Some(engine) = self.engine.upgrade() else {
            return;
        };
        if engine.publisher().interest() > Interest::Nothing {
            let kind = EventKind::ProcessLeft { pid };
            let mut event = Event::new(self.function, kind);
            event.worker_pid = Some(self.worker);
            engine.publisher().publish(Record::one(event));
        }
        LocalEngine::say(&format!(
            "process {pid}, which {} has started, outlives its worker: it could not be killed",
            short_name(self.function)
        ));
    }
}

fn wait_at_exit() {
    static AT_EXIT: PerProcess<()> = PerProcess::new();
    if AT_EXIT.get().is_none() {
        AT_EXIT.get_or_init(|| ());
        sys::at_exit(finish);
    }
}

fn request(sweep: Sweep) {
    wait_at_exit();
    let mut sweeps = sweeps();
    sweeps.queue.push(sweep);
    if !sweeps.runs {
        let thread = std::thread::Builder::new()
            .name("retry-sweeper".to_owned())
            .stack_size(128 * 1024);
        sweeps.runs = thread.spawn(run).is_ok();
        if !sweeps.runs {
            // If no thread can be started, the sweep is left to the next one for which a thread can be
            // started.
            let waits: Vec<_> = sweeps
                .queue
                .iter_mut()
                .filter_map(|one| one.waits.take())
                .collect();
            drop(sweeps);
            waits.iter().for_each(release);
        }
    }
}

fn run() {
    let mut pause = SCAN_DELAY;
    loop {
        std::thread::sleep(pause);
        let batch = std::mem::take(&mut sweeps().queue);
        let begun = Instant::now();
        // Catch a panic: the engines wait for this batch, so its end must be reported.
        let _ = catch_unwind(AssertUnwindSafe(|| sweep(&batch)));
        pause = (begun.elapsed() * PAUSES).clamp(SCAN_DELAY, LONGEST_PAUSE);
        for one in batch {
            one.waits.iter().for_each(release);
        }
        let mut sweeps = sweeps();
        if sweeps.queue.is_empty() {
            sweeps.runs = false;
            IDLE.get_or_init(Condvar::new).notify_all();
            return;
        }
    }
}

/// Reports to an engine that it has one process less to wait for.
fn release(pool: &OwnedPool) {
    let pool = pool.get();
    pool.engine.step(|_, _| pool.state().unreaped -= 1);
    pool.inbox().ring();
}

fn sweep(batch: &[Sweep]) {
    let tokens: Vec<Token> = batch.iter().map(|one| one.family.token.clone()).collect();
    let mut hidden = Vec::new();
    let left = lineage::kill_all(DYING, || {
        let look = lineage::look_for(&tokens);
        hidden = look.hidden;
        let mut found = look.found;
        for (of, one) in batch.iter().enumerate() {
            let seen = one.seen.iter().filter_map(|seen| seen.again(of));
            found.extend(seen);
            if let Some(cgroup) = &one.family.cgroup {
                found.extend(cgroup.kill(one.family.worker, of));
            }
        }
        found
    });
    for (pid, of) in left {
        batch[of].family.report(pid);
    }
    // These belong to another user. Their environment is unreadable, but their group is known. A worker that
    // has not ended yet may be about to kill them itself, so only workers that have ended are considered.
    let ended = || batch.iter().filter(|one| one.seen.is_empty());
    for pid in hidden {
        let group = lineage::group(pid);
        if let Some(one) = ended().find(|one| Some(one.family.worker) == group) {
            one.family.report(pid);
        }
    }
}

/// Runs when the program ends, and waits for pending scans for a limited time.
extern "C" fn finish() {
    if SWEEPS.get().is_none() {
        return;
    }
    let until = Instant::now() + END_SCAN_TIMEOUT;
    let mut sweeps = sweeps();
    while sweeps.runs || sweeps.ending > 0 {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        let waited = IDLE.get_or_init(Condvar::new).wait_timeout(sweeps, left);
        (sweeps, _) = waited.unwrap_or_else(PoisonError::into_inner);
    }
}
