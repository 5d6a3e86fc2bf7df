//! Prints status lines while the program runs, and a summary when it ends.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::sampling::{self, Sample};
use super::say;
use crate::api::context::short_name;
use crate::api::events::Interest;
use crate::api::excerpt::grouped;
use crate::api::run::{self, RunId};
use crate::caller::host::Host;
use crate::caller::{refused, underway};
use crate::config::{FailOn, StatusMode};
use crate::local::Observe;
use crate::observe::feed::Feed;
use crate::observe::files;
use crate::observe::status::{Failures, Status};
use crate::observe::summary::{self, Totals};
use crate::scheduler::FunctionReading;
use crate::sys::{self, PerProcess};

/// Exit code of a program whose calls have failed, if it is to fail because of them.
const CALLS_FAILED: i32 = 100;

/// A run that takes less time than this has no summary if nothing has failed in it.
const MIN_SUMMARY_TIME: Duration = Duration::from_secs(1);

/// Time that the end of the program waits for status lines, which a stopped terminal may hold up.
const STATUS_END_TIMEOUT: Duration = Duration::from_secs(2);

/// Time that a panic waits for them. The thread that panics may hold them up itself.
const MOMENT: Duration = Duration::from_millis(200);

/// The name of the thread that prints status lines.
const THREAD: &str = "retry-status";

static MODE: OnceLock<StatusMode> = OnceLock::new();

/// The failures of the default runtime of this process.
static OBSERVED: PerProcess<Observed> = PerProcess::new();

/// The time for which this process was suspended.
static SUSPENDED: PerProcess<Mutex<Duration>> = PerProcess::new();

#[derive(Default)]
struct Observed {
    failures: Arc<Mutex<Failures>>,
    feed: OnceLock<Arc<Feed>>,
}

/// Sets the extent of status lines.
pub(super) fn begin(mode: StatusMode) {
    let _ = MODE.set(mode);
    // The beginning of the run.
    let _ = RunId::current();
}

/// Notes that the program was suspended for a time.
pub(super) fn note_suspension(time: Duration) {
    let suspended = SUSPENDED.get_or_init(Mutex::default);
    *suspended.lock().unwrap_or_else(PoisonError::into_inner) += time;
}

/// Begins to observe the default runtime. Without a thread for it there are no status lines.
pub(super) fn observe(observe: Observe<'_>) {
    let Some(mode) = MODE.get() else { return };
    let observed = OBSERVED.get_or_init(Observed::default);
    let interest = match mode {
        StatusMode::All => Interest::Everything,
        _ => Interest::Failures,
    };
    let status = Box::new(Status::new(*mode, Arc::clone(&observed.failures)));
    if let Ok(feed) = Feed::start(THREAD, interest, status)
        && observed.feed.set(Arc::clone(&feed)).is_ok()
    {
        observe(feed);
    }
}

/// Prints what runs, once, as soon as calls have been pending for a while.
pub(super) fn announce(now: Instant, samples: &[Sample]) {
    static ANNOUNCED: PerProcess<AtomicBool> = PerProcess::new();
    let announced = ANNOUNCED.get_or_init(AtomicBool::default);
    let Some(sample) = samples.iter().find(|sample| sample.is_long(now)) else {
        return;
    };
    if is_silent() || announced.swap(true, Ordering::Relaxed) {
        return;
    }
    say(&summary::announcement(
        &RunId::current().to_string(),
        short_name(sample.name),
        sample.total,
        sample.workers,
    ));
}

/// Prints a note about the program.
pub(super) fn note(text: &str) {
    if !is_silent() {
        say(text);
    }
}

/// Prints the lines about calls that have ended, ahead of the report of a panic: that mostly comes from the error of such a
/// call, and has several lines, between which they must not get.
pub(super) fn settle() {
    let feed = OBSERVED.get().and_then(|observed| observed.feed.get());
    if let Some(feed) = feed
        && thread::current().name() != Some(THREAD)
    {
        feed.flush(MOMENT);
    }
}

fn is_silent() -> bool {
    MODE.get().is_none_or(|mode| *mode == StatusMode::None)
}

/// Prints the summary, and what could not be written.
pub(super) fn end() {
    let files = files::flush_all();
    let mode = MODE.get().copied().unwrap_or(StatusMode::None);
    let host = Host::global_if_started();
    if mode > StatusMode::None
        && let Some((count, function, reason)) = refused::unpublished()
    {
        let (calls, function) = (summary::plural(count, "call"), short_name(function));
        say(&format!(
            "{calls} ended without being run, first {function}: {reason}"
        ));
    }
    if let (Some(observed), Some(host)) = (OBSERVED.get(), host) {
        if let Some(feed) = observed.feed.get() {
            feed.flush(STATUS_END_TIMEOUT);
        }
        let failures = observed.lock();
        let elapsed = run::now().elapsed;
        let is_worth_it = elapsed >= MIN_SUMMARY_TIME || failures.failed + failures.retried > 0;
        if mode > StatusMode::None && is_worth_it {
            let complete = files.iter().filter(|(_, error)| error.is_none());
            let text = summary::render(
                &RunId::current().to_string(),
                elapsed,
                suspended(),
                &totals(&host),
                &failures,
                complete.map(|(file, _)| file),
            );
            say(text.trim_end());
        }
    }
    for (file, error) in &files {
        if let Some(error) = error {
            say(&format!("the {file} is not complete: {error}"));
        }
    }
}

/// Makes the program exit with an error if calls have failed that it is to fail for.
pub(super) fn fail_on_failures(fail_on: FailOn) {
    let (published, retried) = OBSERVED.get().map_or((0, 0), |observed| {
        let failures = observed.lock();
        (failures.failed, failures.after_retry)
    });
    let failed = published + refused::unpublished().map_or(0, |(count, ..)| count);
    let counted = match fail_on {
        FailOn::Never => 0,
        FailOn::Failed => failed,
        FailOn::Retried => failed + retried,
    };
    if counted > 0 {
        say(&format!(
            "error: {} failed and {} succeeded after a retry, which the program is to fail for (RETRY_FAIL_ON)",
            summary::plural(failed, "call"),
            grouped(retried)
        ));
        if !sys::fail_at_exit(CALLS_FAILED) {
            std::process::exit(CALLS_FAILED);
        }
    }
}

fn suspended() -> Duration {
    SUSPENDED.get().map_or(Duration::ZERO, |suspended| {
        *suspended.lock().unwrap_or_else(PoisonError::into_inner)
    })
}

impl Observed {
    fn lock(&self) -> std::sync::MutexGuard<'_, Failures> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the totals of each function, in the order in which they were first called.
fn totals(host: &Host) -> Vec<Totals> {
    let ((functions, _), statistics) = (host.read(), host.statistics());
    let total = |FunctionReading { name, counts, .. }| {
        let known = statistics.get(name).cloned().unwrap_or_default();
        let span = known
            .period
            .map_or(Duration::ZERO, |(begun, ended)| ended - begun);
        // Inputs that a map did not make any more were cancelled with it, and so was all that a second signal has
        // ended. On other machines calls may go on.
        let made = match host.local() {
            Some(_) => counts.submitted,
            None => counts.finished,
        };
        let intended = underway::intended(name).map_or(made, |all| all.max(made));
        Totals {
            name,
            finished: intended,
            failed: counts.failed,
            cancelled: counts.cancelled + intended - counts.finished,
            after_retry: known.after_retry,
            slow: known.slow,
            failed_starts: known.failed_starts,
            p50: known.times.quantile(0.5),
            p95: known.times.quantile(0.95),
            slowest: known.slowest,
            workers: known.workers,
            lost: known.lost,
            set_up: known.set_up,
            busy: known.busy,
            available: span * u32::try_from(known.most_workers).unwrap_or(u32::MAX),
            occupancy: sampling::occupancy(name),
        }
    };
    functions.into_iter().map(total).collect()
}
