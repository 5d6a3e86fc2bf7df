//! The book: records each call and its outcome.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use retry_runtime::Attempt;

use crate::job::{Action, Job, Token};
use crate::stubs::{Pool, Target};
use crate::system;

/// Number of violations of each rule that are printed in full.
const SHOWN: usize = 4;

/// A call at the time when it was made.
#[derive(Clone, Debug)]
pub struct Plan {
    pub token: Token,
    pub pool: Pool,
    pub place: u32,
    pub action: Action,
    pub seed: u64,
    pub answer_size: u32,
    pub retries: u32,
    pub timeout: Option<Duration>,
    pub deadline: Option<Duration>,
    /// The time on the monotonic clock, in nanoseconds.
    pub submitted: u64,
    /// Whether the driver may cancel the call, or shut its runtime down.
    pub may_be_cancelled: bool,
}

/// The kind of an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Function,
    Panicked,
    Crashed,
    AttemptTimedOut,
    DeadlinePassed,
    StartTimedOut,
    Startup,
    CrashLimit,
    Cancelled,
    Rejected,
    Lost,
}

/// The parts of an error that the audit checks.
#[derive(Clone, Debug)]
pub struct Failure {
    pub kind: Kind,
    pub did_not_run: bool,
    pub attempts: Vec<Attempt>,
    pub report: String,
}

#[derive(Clone, Debug)]
pub enum State {
    Pending,
    Succeeded,
    Failed(Failure),
    /// The driver dropped the call or its map: the call may or may not have run.
    Abandoned,
    /// The driver dropped the handle: the call must run.
    Detached,
}

#[derive(Clone, Debug)]
pub struct Entry {
    pub plan: Plan,
    pub state: State,
    /// The time on the monotonic clock, in nanoseconds.
    pub resolved: u64,
}

/// The calls of one epoch.
#[derive(Default)]
pub struct Page {
    pub calls: HashMap<Token, Entry>,
    pub pending: usize,
}

/// The counts for the summary.
#[derive(Default)]
pub struct Counts {
    /// Outcomes by pool and by kind of error; `None` is a success.
    pub outcomes: BTreeMap<(Pool, Option<Kind>), u64>,
    pub abandoned: u64,
    pub detached: u64,
    pub executions: u64,
    pub forks: u64,
    pub lines: u64,
    pub runtimes: u64,
    pub services: u64,
}

pub struct Book {
    epoch: AtomicU16,
    next: AtomicU64,
    pages: Mutex<BTreeMap<u16, Page>>,
    counts: Mutex<Counts>,
    violations: Mutex<BTreeMap<&'static str, (u64, Vec<String>)>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Book {
    pub fn new() -> Self {
        Self {
            epoch: AtomicU16::new(1),
            next: AtomicU64::new(1),
            pages: Mutex::default(),
            counts: Mutex::default(),
            violations: Mutex::default(),
        }
    }

    /// Returns the current epoch.
    pub fn epoch(&self) -> u16 {
        self.epoch.load(Ordering::Relaxed)
    }

    pub fn next_epoch(&self) {
        self.epoch.fetch_add(1, Ordering::Relaxed);
    }

    pub fn token(&self) -> Token {
        Token::new(self.epoch(), self.next.fetch_add(1, Ordering::Relaxed))
    }

    /// Enters a call that is about to be made.
    pub fn submit(&self, target: &Target, job: &Job, may_be_cancelled: bool) {
        let plan = Plan {
            token: job.token,
            pool: target.pool,
            place: job.place,
            action: job.action,
            seed: job.seed,
            answer_size: job.answer_size,
            retries: target.retries,
            timeout: target.timeout,
            deadline: target.deadline,
            submitted: system::now(),
            may_be_cancelled,
        };
        let entry = Entry {
            plan,
            state: State::Pending,
            resolved: 0,
        };
        let mut pages = lock(&self.pages);
        let page = pages.entry(job.token.epoch()).or_default();
        page.pending += 1;
        page.calls.insert(job.token, entry);
    }

    pub fn plan(&self, token: Token) -> Option<Plan> {
        let pages = lock(&self.pages);
        let entry = pages.get(&token.epoch())?.calls.get(&token)?;
        Some(entry.plan.clone())
    }

    /// Enters the outcome of a call. A second outcome of the same call is a violation.
    pub fn resolve(&self, token: Token, state: State) {
        {
            let mut counts = lock(&self.counts);
            match &state {
                State::Abandoned => counts.abandoned += 1,
                State::Detached => counts.detached += 1,
                _ => {}
            }
        }
        let resolved = system::now();
        let mut pages = lock(&self.pages);
        let Some(page) = pages.get_mut(&token.epoch()) else {
            drop(pages);
            return self.violation("an outcome of an old call", format!("{token}: {state:?}"));
        };
        let Some(entry) = page.calls.get_mut(&token) else {
            drop(pages);
            return self.violation(
                "an outcome of an unknown call",
                format!("{token}: {state:?}"),
            );
        };
        if let State::Pending = entry.state {
            page.pending -= 1;
            entry.state = state;
            entry.resolved = resolved;
        } else {
            let text = format!("{entry:?}, and then {state:?}");
            drop(pages);
            self.violation("two outcomes of one call", text);
        }
    }

    /// Returns the epochs before the current one that have no pending calls.
    pub fn complete(&self) -> Vec<u16> {
        let current = self.epoch();
        let pages = lock(&self.pages);
        let complete = pages
            .iter()
            .filter(|(epoch, page)| **epoch < current && page.pending == 0);
        complete.map(|(epoch, _)| *epoch).collect()
    }

    pub fn is_empty(&self) -> bool {
        lock(&self.pages).is_empty()
    }

    pub fn pending(&self) -> usize {
        lock(&self.pages).values().map(|page| page.pending).sum()
    }

    /// Removes and returns the page of an epoch.
    pub fn take(&self, epoch: u16) -> Option<Page> {
        lock(&self.pages).remove(&epoch)
    }

    /// Puts the page of an epoch back, to be checked later.
    pub fn put_back(&self, epoch: u16, page: Page) {
        lock(&self.pages).insert(epoch, page);
    }

    /// Returns the calls that have been pending since before this time, oldest first.
    pub fn overdue(&self, before: u64) -> Vec<Plan> {
        let pages = lock(&self.pages);
        let entries = pages
            .values()
            .filter(|page| page.pending > 0)
            .flat_map(|page| page.calls.values());
        let overdue = entries
            .filter(|entry| matches!(entry.state, State::Pending) && entry.plan.submitted < before);
        let mut plans: Vec<Plan> = overdue.map(|entry| entry.plan.clone()).collect();
        plans.sort_by_key(|plan| plan.submitted);
        plans
    }

    pub fn count(&self, change: impl FnOnce(&mut Counts)) {
        change(&mut lock(&self.counts));
    }

    pub fn violation(&self, rule: &'static str, found: String) {
        let mut violations = lock(&self.violations);
        let (count, shown) = violations.entry(rule).or_default();
        *count += 1;
        if shown.len() < SHOWN {
            eprintln!("VIOLATION: {rule}\n    {}", found.replace('\n', "\n    "));
            shown.push(found);
        }
    }

    /// Returns the number of violations of each rule.
    pub fn violations(&self) -> Vec<(&'static str, u64)> {
        let violations = lock(&self.violations);
        violations
            .iter()
            .map(|(rule, (count, _))| (*rule, *count))
            .collect()
    }
}
