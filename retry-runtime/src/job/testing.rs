//! The test kit: faults on demand, and a clock that skips the delays between attempts.
//!
//! It needs the feature `testing`, and is for the tests of programs that use this library.
//!
//! ```no_run
//! use retry_runtime::testing::{Fault, Rule, inject, pause_clock};
//! use retry_runtime::{Retries, function};
//!
//! #[function(retries = Retries::exponential(5))]
//! fn fetch(url: &str) -> String {
//!     url.to_owned()
//! }
//!
//! #[retry_runtime::test]
//! fn fetching_survives_two_panics_and_a_segfault() {
//!     let _clock = pause_clock(); // delays of retries take no time
//!     let _faults = inject(1, [
//!         Rule::new(Fault::Panic).function(fetch.name()).times(2),
//!         Rule::new(Fault::Signal(11)).function(fetch.name()).attempt(3),
//!     ]);
//!     assert!(fetch.remote("https://example.org").wait().is_ok());
//! }
//! ```

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};
use std::time::Duration;

use crate::sys::PerProcess;

/// A fault that is injected into a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// The worker dies by this signal in the middle of the call.
    Signal(u8),
    /// The worker exits with this code in the middle of the call.
    Exit(u8),
    /// The function panics.
    Panic,
    /// The function never ends.
    Hang,
    /// The function takes this much longer, in steps of 10 ms and at most 40 s.
    Slow(Duration),
    /// The worker answers with something that is not a message.
    CorruptResult,
    /// The worker is killed as if it had taken too much memory.
    OutOfMemory,
    /// The worker's set-up fails.
    StartUp,
}

/// A fault, and the attempts that it is for: all attempts unless restricted.
#[derive(Clone, Debug)]
#[must_use = "a rule does nothing unless it is injected"]
pub struct Rule {
    fault: Fault,
    function: Option<String>,
    attempt: Option<u32>,
    input: Option<u64>,
    share: f64,
    times: u32,
}

impl Rule {
    /// Returns a rule for every attempt of every function.
    pub fn new(fault: Fault) -> Self {
        Self {
            fault,
            function: None,
            attempt: None,
            input: None,
            share: 1.0,
            times: u32::MAX,
        }
    }

    /// Restricts the rule to the function of this registered name, as `f.name()` returns it.
    pub fn function(mut self, name: impl Into<String>) -> Self {
        self.function = Some(name.into());
        self
    }

    /// Restricts the rule to this attempt of a call, counted from 1.
    pub fn attempt(mut self, number: u32) -> Self {
        self.attempt = Some(number);
        self
    }

    /// Restricts the rule to this input of a map, counted from 0.
    pub fn input(mut self, index: u64) -> Self {
        self.input = Some(index);
        self
    }

    /// Restricts the rule to this share of the attempts, drawn with the seed that is given to [`inject`].
    ///
    /// # Panics
    ///
    /// Panics if `share` is not between 0 and 1.
    #[track_caller]
    pub fn share(mut self, share: f64) -> Self {
        assert!(
            (0.0..=1.0).contains(&share),
            "a share is between 0.0 and 1.0"
        );
        self.share = share;
        self
    }

    /// Restricts the rule to the first `times` attempts that match.
    pub fn times(mut self, times: u32) -> Self {
        self.times = times;
        self
    }

    fn matches(&self, function: &str, attempt: u32, input: Option<u64>) -> bool {
        self.times > 0
            && self.function.as_deref().is_none_or(|name| name == function)
            && self.attempt.is_none_or(|number| number == attempt)
            && self.input.is_none_or(|index| Some(index) == input)
    }
}

/// The rules of one call of [`inject`].
struct Plan {
    number: u64,
    rules: Vec<Rule>,
    random: fastrand::Rng,
}

/// The state of the test kit in this process. Faults and the clock apply to all tests of a process, so only
/// one thread at a time may hold the kit. That thread may hold it several times.
#[derive(Default)]
struct Kit {
    owner: Option<ThreadId>,
    holds: usize,
    /// Number of injections so far.
    injected: u64,
    /// The active injections, the latest last.
    plans: Vec<Plan>,
}

static KIT: PerProcess<Mutex<Kit>> = PerProcess::new();

/// Notified when no thread holds the kit any more.
static FREE: Condvar = Condvar::new();

fn kit() -> MutexGuard<'static, Kit> {
    let kit = KIT.get_or_init(Mutex::default);
    kit.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes a hold on the kit for this thread, after waiting until no other thread has one.
fn hold() -> MutexGuard<'static, Kit> {
    let this = thread::current().id();
    let mut kit = kit();
    while kit.owner.is_some_and(|owner| owner != this) {
        kit = FREE.wait(kit).unwrap_or_else(PoisonError::into_inner);
    }
    kit.owner = Some(this);
    kit.holds += 1;
    kit
}

fn release(mut kit: MutexGuard<'static, Kit>) {
    // After a fork, a hold of the parent process is unknown here.
    kit.holds = kit.holds.saturating_sub(1);
    if kit.holds == 0 {
        kit.owner = None;
        FREE.notify_one();
    }
}

/// Injects faults into the calls of this process, until the returned guard is dropped.
///
/// For each attempt the first matching rule counts. A seed gives the same faults to the same sequence of
/// attempts.
///
/// `cargo test` runs the tests of a file as threads of one process, so this waits until no other thread has
/// injected faults or paused the clock. A thread that injects again adds to its rules; the latest rules are
/// tried first. Without rules it only keeps the faults of other tests away.
pub fn inject(seed: u64, rules: impl IntoIterator<Item = Rule>) -> Injected {
    let rules = rules.into_iter().collect();
    let mut kit = hold();
    kit.injected += 1;
    let number = kit.injected;
    kit.plans.push(Plan {
        number,
        rules,
        random: fastrand::Rng::with_seed(seed),
    });
    Injected(number)
}

/// The guard of [`inject`]: faults happen until it is dropped.
#[derive(Debug)]
#[must_use = "the faults end when this is dropped"]
pub struct Injected(u64);

impl Drop for Injected {
    fn drop(&mut self) {
        let mut kit = kit();
        kit.plans.retain(|plan| plan.number != self.0);
        release(kit);
    }
}

/// Number of guards that pause the clock. It is outside of the kit because it is read at each step.
static PAUSED: AtomicUsize = AtomicUsize::new(0);

/// Pauses the clock that delays retries, until the returned guard is dropped.
///
/// When all calls wait for their next attempt, the clock jumps to the first of them. The start times of
/// attempts show the delays as if they had passed.
///
/// Like [`inject`], it waits for other threads.
pub fn pause_clock() -> Paused {
    let _kit = hold();
    PAUSED.fetch_add(1, Ordering::Relaxed);
    Paused(())
}

/// The guard of [`pause_clock`]: the clock is paused until it is dropped.
#[derive(Debug)]
#[must_use = "the clock goes on when this is dropped"]
pub struct Paused(());

impl Drop for Paused {
    fn drop(&mut self) {
        PAUSED.fetch_sub(1, Ordering::Relaxed);
        release(kit());
    }
}

pub(crate) fn is_clock_paused() -> bool {
    PAUSED.load(Ordering::Relaxed) > 0
}

/// The bit position of the kind of fault in a code; the lower bits are its amount.
pub(crate) const KIND: u32 = 12;

/// Returns whether any fault is planned.
pub(crate) fn are_planned() -> bool {
    !kit().plans.is_empty()
}

/// Returns the code of the fault for an attempt, as it is sent to the worker; 0 for none. Counts the fault.
pub(crate) fn pick(function: &'static str, attempt: u32, input: Option<u64>) -> u16 {
    match draw(|rule| rule.fault != Fault::StartUp && rule.matches(function, attempt, input)) {
        Some(fault) => code(fault),
        None => 0,
    }
}

/// Returns whether the start of a worker must fail, and counts the fault if so.
pub(crate) fn pick_start_fault(function: &'static str) -> bool {
    draw(|rule| rule.fault == Fault::StartUp && rule.matches(function, 1, None)).is_some()
}

fn draw(fits: impl Fn(&Rule) -> bool) -> Option<Fault> {
    kit().plans.iter_mut().rev().find_map(|plan| {
        let Plan { rules, random, .. } = plan;
        let rule = rules
            .iter_mut()
            .find(|rule| fits(rule) && (rule.share >= 1.0 || random.f64() < rule.share))?;
        rule.times -= 1;
        Some(rule.fault)
    })
}

fn code(fault: Fault) -> u16 {
    let (kind, amount) = match fault {
        Fault::Signal(number) => (1, u16::from(number)),
        Fault::Exit(code) => (2, u16::from(code)),
        Fault::Panic => (3, 0),
        Fault::Hang => (4, 0),
        Fault::Slow(by) => {
            let steps = u16::try_from(by.as_millis().div_ceil(10)).unwrap_or(u16::MAX);
            (5, steps.min((1 << KIND) - 1))
        }
        Fault::CorruptResult => (6, 0),
        Fault::OutOfMemory => (7, 0),
        Fault::StartUp => (0, 0),
    };
    kind << KIND | amount
}
