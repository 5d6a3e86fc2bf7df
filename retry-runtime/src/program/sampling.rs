//! Looks at regular intervals at what calls, workers and consumers do: for the display of progress, for a note
//! about a program that leaves its workers idle, and for the summary.
//!
//! Samples cost nothing where calls and results pass. The numbers of a display are the scheduler's counts: events
//! carry the same information, but would cost three messages per call.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::api::context::short_name;
use crate::caller::host::Host;
use crate::caller::underway::{self, Activity, MapReading, MapsReading};
use crate::observe::summary::{Occupancy, seconds};
use crate::scheduler::{Counts, FunctionReading};
use crate::sys::PerProcess;

/// Interval of the samples while calls are pending.
const INTERVAL: Duration = Duration::from_millis(100);

/// Interval of the samples otherwise.
const IDLE: Duration = Duration::from_millis(200);

/// Work that takes less time than this is not shown.
const MIN_SHOWN_TIME: Duration = Duration::from_secs(1);

/// Time for which a stall lasts before it is shown.
const LASTING: Duration = Duration::from_secs(1);

/// Time after which a program is told that its workers are idle, and the share of the time that they are.
const NOTE_AFTER: Duration = Duration::from_secs(10);
const NOTE_SHARE: f64 = 0.5;

/// Time that the end of a program waits for the end of the display.
const DISPLAY_END_TIMEOUT: Duration = Duration::from_millis(500);

/// The thread that takes samples. It ends once it is no longer here.
static THREAD: PerProcess<Mutex<Option<JoinHandle<()>>>> = PerProcess::new();

/// The samples so far.
static SAMPLER: PerProcess<Mutex<Sampler>> = PerProcess::new();

/// The reason for which workers have nothing to do although there is work, or will be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stall {
    Starting,
    /// The calls go to other machines.
    Unanswered,
    Consumer,
    Inputs,
    /// The consumer needs the result of this input before it can take later ones.
    Order(u64),
    /// All calls wait for their next attempt; the first one begins then.
    Retries(Duration),
}

impl fmt::Display for Stall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Starting => f.write_str("workers are starting"),
            Self::Unanswered => f.write_str("no machine has answered yet"),
            Self::Consumer => f.write_str("waiting for the program to take results"),
            Self::Inputs => f.write_str("waiting for the iterator of inputs"),
            Self::Order(index) => write!(f, "waiting for [{index}], the next result in order"),
            Self::Retries(delay) => write!(f, "waiting for a retry in {}", seconds(*delay)),
        }
    }
}

/// A function at one moment.
#[derive(Clone, Debug)]
#[cfg_attr(not(feature = "progress"), allow(dead_code))]
pub(super) struct Sample {
    pub(super) name: &'static str,
    pub(super) counts: Counts,
    /// Number of calls including those to come, if that is known.
    pub(super) total: Option<u64>,
    pub(super) executing: usize,
    pub(super) workers: usize,
    /// The reason for which workers have been idle for a while.
    pub(super) stall: Option<Stall>,
    /// The time since which there are pending calls.
    pub(super) pending_since: Option<Instant>,
    /// A note for the user about workers that are idle for most of the time. There is one for each function.
    pub(super) note: Option<String>,
}

impl Sample {
    pub(super) fn is_pending(&self) -> bool {
        self.pending_since.is_some()
    }

    /// Returns whether calls have been pending for long enough to tell the user.
    pub(super) fn is_long(&self, now: Instant) -> bool {
        self.pending_since
            .is_some_and(|since| now - since >= MIN_SHOWN_TIME)
    }
}

/// Samples the functions of a program, and sums up what their workers do.
#[derive(Default)]
pub(super) struct Sampler {
    functions: HashMap<&'static str, Function>,
}

/// The sum of earlier samples of a function.
#[derive(Default)]
struct Function {
    occupancy: Occupancy,
    /// Time of workers since the last pending call, which counts once there is another one.
    without_calls: f64,
    sampled_at: Option<Instant>,
    pending_since: Option<Instant>,
    stall: Option<(Stall, Instant)>,
    is_noted: bool,
}

impl Sampler {
    /// Takes a sample of a function. `retry` is the time until the next attempt begins if all calls wait for one.
    fn take(
        &mut self,
        now: Instant,
        function: &FunctionReading,
        maps: &MapsReading,
        retry: Option<Duration>,
    ) -> Sample {
        let known = self.functions.entry(function.name).or_default();
        let all = maps.total.unwrap_or_default().max(maps.counts.submitted);
        let is_pending = maps.counts.finished < all || maps.maps.iter().any(|map| map.has_inputs);
        let stall = is_pending.then(|| find_stall(function, &maps.maps, retry));
        let stall = stall.flatten();
        known.count(now, function, is_pending, stall);
        known.pending_since = is_pending.then(|| known.pending_since.unwrap_or(now));
        known.stall = stall.map(|stall| match known.stall {
            Some((last, since)) if last.is_like(stall) => (stall, since),
            _ => (stall, now),
        });
        let lasting = known.stall.filter(|(_, since)| now - *since >= LASTING);
        Sample {
            name: function.name,
            counts: maps.counts,
            total: maps.total,
            executing: function.executing,
            workers: function.workers(),
            stall: lasting.map(|(stall, _)| stall),
            pending_since: known.pending_since,
            note: known.note(function.name),
        }
    }
}

impl Function {
    /// Returns a note about workers that are idle for most of the time, once.
    fn note(&mut self, name: &str) -> Option<String> {
        let occupancy = &self.occupancy;
        if self.is_noted || occupancy.elapsed < NOTE_AFTER.as_secs_f64() {
            return None;
        }
        let (idle, stall) = match occupancy.consumer >= occupancy.inputs {
            true => (occupancy.consumer, Stall::Consumer),
            false => (occupancy.inputs, Stall::Inputs),
        };
        let share = idle / occupancy.available;
        self.is_noted = share >= NOTE_SHARE;
        self.is_noted.then(|| {
            let name = short_name(name);
            let share = (share * 100.0).round();
            format!("note: the workers of {name} are idle for {share}% of the time, {stall}")
        })
    }

    /// Adds the time since the last sample to what the workers do now.
    fn count(
        &mut self,
        now: Instant,
        function: &FunctionReading,
        is_pending: bool,
        stall: Option<Stall>,
    ) {
        let last = self.sampled_at.replace(now).unwrap_or(now);
        let time = now.saturating_duration_since(last).as_secs_f64();
        let of = |workers: usize| {
            #[expect(clippy::cast_precision_loss, reason = "there are few workers")]
            let workers = workers as f64;
            workers * time
        };
        let workers = of(function.workers());
        if !is_pending {
            self.without_calls += workers;
            return;
        }
        let occupancy = &mut self.occupancy;
        occupancy.elapsed += time;
        let without_calls = std::mem::take(&mut self.without_calls);
        occupancy.available += workers + without_calls;
        occupancy.without_calls += without_calls;
        occupancy.occupied += of(function.busy);
        occupancy.starting += of(function.starting);
        let idle = of(function.idle);
        match stall {
            Some(Stall::Consumer) => occupancy.consumer += idle,
            Some(Stall::Inputs) => occupancy.inputs += idle,
            Some(Stall::Order(_)) => occupancy.order += idle,
            Some(Stall::Retries(_)) => occupancy.retries += idle,
            Some(Stall::Starting | Stall::Unanswered) | None => {}
        }
    }
}

impl Stall {
    /// Returns whether both are the same, up to a time that passes.
    fn is_like(self, other: Self) -> bool {
        self == other || matches!((self, other), (Self::Retries(_), Self::Retries(_)))
    }
}

/// Returns why workers have nothing to do, if some have.
fn find_stall(
    function: &FunctionReading,
    maps: &[MapReading],
    retry: Option<Duration>,
) -> Option<Stall> {
    if function.busy + function.idle == 0 && function.starting > 0 {
        return Some(Stall::Starting);
    }
    if function.is_unanswered {
        return Some(Stall::Unanswered);
    }
    if function.busy == 0
        && function.counts.finished < function.counts.submitted
        && let Some(delay) = retry
    {
        return Some(Stall::Retries(delay));
    }
    if function.idle == 0 {
        return None;
    }
    let mut maps = maps.iter().filter(|map| map.has_inputs);
    maps.find_map(|map| match map.activity {
        Activity::Consuming => Some(Stall::Consumer),
        Activity::TakingInputs => Some(Stall::Inputs),
        Activity::Waiting => map.next.map(Stall::Order),
    })
}

fn lock() -> MutexGuard<'static, Sampler> {
    let sampler = SAMPLER.get_or_init(Mutex::default);
    sampler.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns where the time of a function's workers went, as far as it was sampled.
pub(super) fn occupancy(name: &str) -> Option<Occupancy> {
    let known = lock();
    let function = known.functions.get(name)?;
    Some(function.occupancy)
}

/// Takes a sample of each function, in the order in which they were first called.
fn take(now: Instant) -> Vec<Sample> {
    let Some(host) = Host::global_if_started() else {
        return Vec::new();
    };
    let (functions, retry) = host.read();
    let mut sampler = lock();
    let sample = |function: &FunctionReading| {
        let maps = underway::read(function.name, function.counts);
        sampler.take(now, function, &maps, retry)
    };
    functions.iter().map(sample).collect()
}

/// Starts to take samples, and gives them to a closure, which is dropped at the [end](end). Without a thread for
/// it there are none.
pub(super) fn begin(mut show: impl FnMut(Instant, &[Sample]) + Send + 'static) {
    underway::watch();
    // Kept locked until the thread is there, since it looks for itself.
    let mut current = thread();
    let sample = move || {
        while thread().is_some() {
            // The time of a suspension is no time of workers.
            let host = Host::global_if_started();
            let now = host.map_or_else(Instant::now, |host| host.running_time());
            let samples = take(now);
            show(now, &samples);
            let is_idle = !samples.iter().any(Sample::is_pending);
            thread::park_timeout(if is_idle { IDLE } else { INTERVAL });
        }
    };
    let builder = thread::Builder::new().name("retry-progress".to_owned());
    *current = builder.spawn(sample).ok();
}

fn thread() -> MutexGuard<'static, Option<JoinHandle<()>>> {
    let thread = THREAD.get_or_init(Mutex::default);
    thread.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ends the samples, and waits until the display has ended, which a stopped terminal may hold up.
pub(super) fn end() {
    let Some(thread) = thread().take() else {
        return;
    };
    thread.thread().unpark();
    let until = Instant::now() + DISPLAY_END_TIMEOUT;
    while !thread.is_finished() && Instant::now() < until {
        thread::sleep(Duration::from_millis(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(activity: Activity, has_inputs: bool, next: Option<u64>) -> MapReading {
        MapReading {
            activity,
            has_inputs,
            next,
        }
    }

    fn reading(starting: usize, busy: usize, idle: usize) -> FunctionReading {
        FunctionReading {
            name: "app::resize",
            counts: Counts {
                submitted: 20,
                finished: 10,
                ..Counts::default()
            },
            executing: busy,
            starting,
            busy,
            idle,
            is_unanswered: false,
        }
    }

    #[test]
    fn a_stall_is_found_where_workers_are_idle() {
        let consumer = map(Activity::Consuming, true, None);
        let inputs = map(Activity::TakingInputs, true, Some(1));
        let ordered = map(Activity::Waiting, true, Some(3));
        let unordered = map(Activity::Waiting, true, None);
        let last = map(Activity::Consuming, false, None);
        let soon = Some(Duration::from_secs(3));
        for (function, maps, retry, expected) in [
            (
                reading(2, 0, 0),
                vec![consumer],
                None,
                Some(Stall::Starting),
            ),
            (reading(2, 1, 0), vec![consumer], None, None),
            (
                reading(0, 0, 2),
                vec![consumer],
                None,
                Some(Stall::Consumer),
            ),
            (reading(0, 2, 0), vec![consumer], None, None),
            (reading(0, 1, 1), vec![inputs], None, Some(Stall::Inputs)),
            (reading(0, 1, 7), vec![ordered], None, Some(Stall::Order(3))),
            (reading(0, 1, 7), vec![unordered], None, None),
            // There is nothing more to do for the idle workers.
            (reading(0, 1, 7), vec![last], None, None),
            (
                reading(0, 0, 7),
                vec![last, inputs],
                None,
                Some(Stall::Inputs),
            ),
            (
                reading(0, 0, 2),
                vec![ordered],
                soon,
                Some(Stall::Retries(Duration::from_secs(3))),
            ),
            (reading(0, 0, 2), vec![], None, None),
            (
                FunctionReading {
                    is_unanswered: true,
                    ..reading(0, 0, 0)
                },
                vec![ordered],
                None,
                Some(Stall::Unanswered),
            ),
        ] {
            let found = find_stall(&function, &maps, retry);
            assert_eq!(found, expected, "{function:?} {maps:?} {retry:?}");
        }
    }

    fn maps(activity: Activity, finished: u64) -> MapsReading {
        MapsReading {
            counts: Counts {
                submitted: 20,
                finished,
                ..Counts::default()
            },
            total: Some(20),
            maps: match finished {
                20 => Vec::new(),
                _ => vec![map(activity, true, None)],
            },
        }
    }

    #[test]
    fn a_stall_is_shown_once_it_lasts() {
        let mut sampler = Sampler::default();
        let begun = Instant::now();
        let mut stall = |milliseconds, activity| {
            let now = begun + Duration::from_millis(milliseconds);
            let sample = sampler.take(now, &reading(0, 0, 2), &maps(activity, 10), None);
            sample.stall
        };
        assert_eq!(stall(0, Activity::Consuming), None);
        assert_eq!(stall(900, Activity::Consuming), None);
        assert_eq!(stall(1000, Activity::Consuming), Some(Stall::Consumer));
        assert_eq!(stall(1100, Activity::TakingInputs), None);
        assert_eq!(stall(1200, Activity::Consuming), None);
        assert_eq!(stall(2200, Activity::Consuming), Some(Stall::Consumer));
    }

    #[test]
    fn the_time_of_workers_is_summed_up_by_what_they_wait_for() {
        let mut sampler = Sampler::default();
        let begun = Instant::now();
        let mut take = |seconds, function, maps: &MapsReading| {
            let now = begun + Duration::from_secs(seconds);
            sampler.take(now, &function, maps, None).note
        };
        let consuming = maps(Activity::Consuming, 10);
        assert_eq!(take(0, reading(0, 2, 0), &consuming), None);
        assert_eq!(take(2, reading(0, 1, 1), &consuming), None);
        assert_eq!(take(3, reading(0, 0, 2), &consuming), None);
        assert_eq!(
            take(6, reading(0, 0, 2), &maps(Activity::TakingInputs, 10)),
            None
        );
        // No calls for two seconds.
        assert_eq!(
            take(8, reading(0, 0, 2), &maps(Activity::Waiting, 20)),
            None
        );
        assert_eq!(take(10, reading(0, 0, 2), &consuming), None);
        let noted = take(30, reading(0, 0, 2), &consuming).unwrap();
        assert_eq!(
            noted,
            "note: the workers of resize are idle for 80% of the time, waiting for the program to take results"
        );
        assert_eq!(take(40, reading(0, 0, 2), &consuming), None, "once");
        let found = sampler.functions["app::resize"].occupancy;
        let expected = Occupancy {
            elapsed: 38.0,
            available: 80.0,
            occupied: 2.0,
            starting: 0.0,
            consumer: 68.0,
            inputs: 6.0,
            order: 0.0,
            retries: 0.0,
            without_calls: 4.0,
        };
        assert_eq!(found, expected);
    }
}
