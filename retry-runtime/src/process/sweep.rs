//! Ends what a worker has left behind outside of its process group.
//!
//! To look at all processes takes about a millisecond. It is done on a thread that is started for it and
//! ends with its queue, for all workers that have ended meanwhile together, and some time after the
//! work of those was handed out again.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::OwnedPool;
use super::cgroup::Cgroup;
use crate::api::context::short_name;
use crate::api::events::Event;
use crate::engine::Engine;
use crate::sys::lineage::{self, Found, Token};
use crate::sys::{self, PerProcess};

/// The delay after the end of a worker before its leftovers are looked for: about as long as it takes to
/// replace it.
const PAUSE: Duration = Duration::from_millis(5);

/// The pause after a look, in multiples of its duration, at most [`LONGEST_PAUSE`].
const PAUSES: u32 = 10;

const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// The time for which a killed process may live before it is reported.
const DYING: Duration = Duration::from_secs(1);

/// The time for which a program that ends waits for a look.
const ENDING: Duration = Duration::from_secs(2);

/// A worker's process with all that descends from it.
pub(crate) struct Family {
    pub(super) engine: Weak<Engine>,
    pub(super) function: &'static str,
    pub(super) worker: u32,
    pub(super) token: Token,
    /// The group that all of them are in, where there is one.
    pub(super) cgroup: Option<Arc<Cgroup>>,
    /// The worker has been killed or has ended, and it was not looked for what it has left.
    pub(super) ends: AtomicBool,
}

/// The descendants of one worker that are looked for.
struct Sweep {
    family: Arc<Family>,
    /// Processes that were seen to descend from the worker.
    seen: Vec<Found>,
    /// The engine that is not drained before this is done.
    waits: Option<OwnedPool>,
}

#[derive(Default)]
struct Sweeps {
    queue: Vec<Sweep>,
    /// The number of workers that are ending and not in the queue yet.
    ending: usize,
    /// There is a thread.
    runs: bool,
}

static SWEEPS: PerProcess<Mutex<Sweeps>> = PerProcess::new();

/// The thread has ended.
static IDLE: PerProcess<Condvar> = PerProcess::new();

fn sweeps() -> MutexGuard<'static, Sweeps> {
    let sweeps = SWEEPS.get_or_init(Mutex::default);
    sweeps.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Family {
    /// The worker's process.
    pub(crate) fn worker(&self) -> u32 {
        self.worker
    }

    /// Has the end of the program wait until the worker, which is about to end, has
    /// [ended](Self::end): its call may be over before.
    pub(crate) fn begin_end(&self) {
        if !self.ends.swap(true, Ordering::Relaxed) {
            wait_at_exit();
            sweeps().ending += 1;
        }
    }

    /// Kills what was seen to descend from the worker and is not in its group, soon.
    pub(crate) fn kill(self: &Arc<Self>, seen: Vec<Found>) {
        if !seen.is_empty() {
            request(Sweep {
                family: Arc::clone(self),
                seen,
                waits: None,
            });
        }
    }

    /// Kills what the worker has left, which has ended, soon. The engine has counted it among those
    /// that keep it from being drained.
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
        if engine.publisher().is_observed() {
            engine.publisher().publish(&Event::ProcessLeft {
                function: self.function,
                worker_pid: Some(self.worker),
                pid,
            });
        }
        Engine::say(&format!(
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
            // Without a thread it is left to the next one that there is one for.
            let waits: Vec<_> = sweeps
                .queue
                .iter_mut()
                .filter_map(|one| one.waits.take())
                .collect();
            drop(sweeps);
            waits.iter().for_each(is_done);
        }
    }
}

fn run() {
    let mut pause = PAUSE;
    loop {
        std::thread::sleep(pause);
        let batch = std::mem::take(&mut sweeps().queue);
        let begun = Instant::now();
        // The engines wait for this: it must end.
        let _ = catch_unwind(AssertUnwindSafe(|| sweep(&batch)));
        pause = (begun.elapsed() * PAUSES).clamp(PAUSE, LONGEST_PAUSE);
        for one in batch {
            one.waits.iter().for_each(is_done);
        }
        let mut sweeps = sweeps();
        if sweeps.queue.is_empty() {
            sweeps.runs = false;
            IDLE.get_or_init(Condvar::new).notify_all();
            return;
        }
    }
}

/// An engine has one thing less to wait for.
fn is_done(pool: &OwnedPool) {
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
    // Another user's: they cannot be looked into, but the group is known. Where the worker has not ended
    // it may be about to kill them itself.
    let ended = || batch.iter().filter(|one| one.seen.is_empty());
    for pid in hidden {
        let group = lineage::group(pid);
        if let Some(one) = ended().find(|one| Some(one.family.worker) == group) {
            one.family.report(pid);
        }
    }
}

/// Called when the program ends: what was left is looked for before, as long as that does not take long.
extern "C" fn finish() {
    if SWEEPS.get().is_none() {
        return;
    }
    let until = Instant::now() + ENDING;
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
