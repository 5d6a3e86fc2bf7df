//! Compares the calls of an epoch with the records of their executions.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use retry_runtime::{AttemptOutcome, ExitCause};

use crate::book::{Entry, Failure, Kind, Page, State};
use crate::faults::Faults;
use crate::job::Token;
use crate::ledger::{Mark, Record};
use crate::run::World;
use crate::stubs::Pool;
use crate::{ledger, system};

/// Time in nanoseconds that an epoch waits for unexpected executions after its last outcome.
const SETTLES: u64 = 2_000_000_000;

/// Time in nanoseconds, from the last outcome of their epoch, within which calls without a handle must run.
const DETACHED: u64 = 60_000_000_000;

/// An attempt of this length has entered the function, unless its worker was stopped.
const ENTERED: Duration = Duration::from_secs(1);

/// Number of crashes that a call survives.
const CRASHES: usize = 2;

/// Number of further executions that inputs of a shared worker may have: they run again, unblamed, when
/// another input of their worker is stopped.
const UNBLAMED: usize = 20;

/// Checks all epochs that are complete.
pub fn audit(world: &World) {
    for epoch in world.book.complete() {
        let Some(page) = world.book.take(epoch) else {
            continue;
        };
        let last = page
            .calls
            .values()
            .map(|entry| entry.resolved)
            .max()
            .unwrap_or(0);
        let now = system::now();
        let Some(records) = (now > last + SETTLES).then(|| ledger::read(epoch)) else {
            world.book.put_back(epoch, page);
            continue;
        };
        let records = match records {
            Ok(records) => records,
            Err(_) if world.faults.limits_are_low() => {
                world.book.put_back(epoch, page);
                continue;
            }
            Err(error) => {
                world
                    .book
                    .violation("the ledger cannot be read", error.to_string());
                continue;
            }
        };
        let ledger = Ledger::of(&records);
        let is_late = now > last + DETACHED;
        if !is_late
            && page
                .calls
                .values()
                .any(|entry| ledger.has_yet_to_run(entry, world))
        {
            world.book.put_back(epoch, page);
            continue;
        }
        check(world, &page, &ledger);
        world
            .book
            .count(|counts| counts.executions += ledger.executions());
        ledger::remove(epoch);
    }
}

/// The records of one call in chronological order.
#[derive(Default)]
struct Executions {
    started: Vec<Record>,
    ended: Vec<Record>,
}

struct Ledger {
    calls: HashMap<Token, Executions>,
    /// Workers whose function was about to end them.
    died: HashSet<u32>,
    /// For each place and worker, the start times of its first and its last execution.
    lives: HashMap<(u32, u32), (u64, u64)>,
}

impl Ledger {
    fn of(records: &[Record]) -> Self {
        let mut ledger = Self {
            calls: HashMap::new(),
            died: HashSet::new(),
            lives: HashMap::new(),
        };
        for record in records {
            let call = ledger.calls.entry(record.token).or_default();
            match record.mark {
                Mark::Started => {
                    call.started.push(*record);
                    let life = ledger.lives.entry((record.place, record.pid));
                    let (first, last) = life.or_insert((record.nanos, record.nanos));
                    *first = record.nanos.min(*first);
                    *last = record.nanos.max(*last);
                }
                Mark::Ended => call.ended.push(*record),
                Mark::Dies => {
                    ledger.died.insert(record.pid);
                }
            }
        }
        ledger
    }

    fn executions(&self) -> u64 {
        self.calls
            .values()
            .map(|call| call.started.len() as u64)
            .sum()
    }

    fn has_yet_to_run(&self, entry: &Entry, world: &World) -> bool {
        matches!(entry.state, State::Detached) && !self.has_run(entry, world)
    }

    /// Returns whether a call without a handle has run, or has failed for a known reason.
    fn has_run(&self, entry: &Entry, world: &World) -> bool {
        let plan = &entry.plan;
        let (started, ended) = match self.calls.get(&plan.token) {
            Some(call) => (call.started.len(), call.ended.len()),
            None => (0, 0),
        };
        let until = plan.submitted + DETACHED;
        let may_not_start = world.faults.limits_were_low(plan.submitted, until)
            || plan.pool.is_flaky() && world.faults.starts_failed(plan.submitted, until)
            || plan.pool == Pool::Licensed;
        let may_be_given_up = plan.pool == Pool::Once && started == 1;
        ended > 0 || started > CRASHES || may_not_start || may_be_given_up
    }

    /// Returns a worker of this place that executed inputs both before and after these times.
    fn live_worker(&self, place: u32, from: u64, to: u64) -> Option<u32> {
        let mut lives = self.lives.iter();
        let live =
            lives.find(|((of, _), (first, last))| *of == place && *first < from && *last > to);
        live.map(|((_, pid), _)| *pid)
    }
}

fn check(world: &World, page: &Page, ledger: &Ledger) {
    for (token, executions) in &ledger.calls {
        if !page.calls.contains_key(&token.outermost()) {
            let text = format!("{token}: {:?}", executions.started);
            world
                .book
                .violation("an execution of a call that was not made", text);
        }
    }
    let none = Executions::default();
    for entry in page.calls.values() {
        let executions = ledger.calls.get(&entry.plan.token).unwrap_or(&none);
        for (rule, found) in violated(entry, executions, ledger, world) {
            let report = match &entry.state {
                State::Failed(failure) => format!("{}\n{found}", failure.report),
                state => format!("{state:?}\n{found}"),
            };
            let plan = &entry.plan;
            let (started, ended) = (&executions.started, &executions.ended);
            let text = format!(
                "{plan:?}, resolved at {}\n{report}\nstarted: {started:?}\nended: {ended:?}",
                entry.resolved
            );
            world.book.violation(rule, text);
        }
    }
}

/// Returns the rules that a call violates, with the findings.
fn violated(
    entry: &Entry,
    executions: &Executions,
    ledger: &Ledger,
    world: &World,
) -> Vec<(&'static str, String)> {
    let mut found = Vec::new();
    let plan = &entry.plan;
    let started = &executions.started;

    let mut most = 1 + plan.retries as usize + CRASHES;
    if !matches!(entry.state, State::Succeeded) {
        most += 1;
    }
    if plan.pool.is_shared() {
        most += UNBLAMED;
    }
    if plan.pool == Pool::Once {
        most = 1;
    }
    if started.len() > most {
        found.push(("a call ran too often", format!("{} times", started.len())));
    }
    if executions.ended.len() > started.len() {
        found.push(("an execution ended that did not start", String::new()));
    }
    let mut attempts: Vec<u32> = started.iter().map(|record| record.attempt).collect();
    attempts.sort_unstable();
    if !plan.pool.is_shared() && attempts.windows(2).any(|pair| pair[0] == pair[1]) {
        found.push(("one attempt ran twice", format!("{attempts:?}")));
    }
    match &entry.state {
        State::Succeeded => {
            let last = started.iter().max_by_key(|record| record.nanos);
            let ended = last.is_some_and(|last| {
                let mut ended = executions.ended.iter();
                ended.any(|end| end.pid == last.pid && end.nanos >= last.nanos)
            });
            if !ended {
                found.push((
                    "a call succeeded that did not run to its end",
                    String::new(),
                ));
            }
        }
        State::Failed(failure) => {
            check_failure(
                entry,
                failure,
                executions,
                ledger,
                &world.faults,
                &mut found,
            );
        }
        State::Detached if !ledger.has_run(entry, world) => {
            found.push(("a call without a handle did not run", String::new()));
        }
        State::Detached | State::Abandoned => {}
        State::Pending => found.push(("a call is pending in a complete epoch", String::new())),
    }
    found
}

fn check_failure(
    entry: &Entry,
    failure: &Failure,
    executions: &Executions,
    ledger: &Ledger,
    faults: &Faults,
    found: &mut Vec<(&'static str, String)>,
) {
    let plan = &entry.plan;
    let started = &executions.started;
    if failure.did_not_run && !started.is_empty() {
        found.push(("a call ran that is said not to have run", String::new()));
    }
    if failure.kind == Kind::Startup
        && let Some(pid) = ledger.live_worker(plan.place, plan.submitted, entry.resolved)
    {
        let text = format!("process {pid} served before and after");
        found.push(("a failed start while a worker was alive", text));
    }
    // Attempts that the context no longer holds cannot be compared.
    if failure
        .attempts
        .first()
        .is_none_or(|attempt| attempt.number == 1)
    {
        compare_attempts(plan.pool, failure, started, faults, found);
    }
    for attempt in &failure.attempts {
        let AttemptOutcome::Crashed(cause) = attempt.outcome else {
            continue;
        };
        let pid = attempt.worker_pid.unwrap_or(0);
        let died = ledger.died.contains(&pid);
        let is_explained = match cause {
            ExitCause::OutOfMemory { .. } => died && plan.pool == Pool::Limited,
            _ => died || faults.was_signalled(pid),
        };
        if !is_explained {
            found.push(("a crash that nothing explains", format!("{attempt:?}")));
        }
    }
}

/// Compares the attempts that an error reports with those in the ledger.
fn compare_attempts(
    pool: Pool,
    failure: &Failure,
    started: &[Record],
    faults: &Faults,
    found: &mut Vec<(&'static str, String)>,
) {
    let count = |pid: u32| started.iter().filter(|record| record.pid == pid).count();
    let reported = |pid: u32| {
        let attempts = failure.attempts.iter();
        attempts
            .filter(|attempt| attempt.worker_pid == Some(pid))
            .count()
    };
    for record in started {
        if !pool.is_shared() && reported(record.pid) < count(record.pid) {
            found.push(("an attempt ran that is not reported", format!("{record:?}")));
        }
    }
    for attempt in &failure.attempts {
        let Some(pid) = attempt.worker_pid else {
            continue;
        };
        if count(pid) >= reported(pid) {
            continue;
        }
        let was_stopped_early = matches!(
            attempt.outcome,
            AttemptOutcome::Crashed(_) | AttemptOutcome::TimedOut(_) | AttemptOutcome::Cancelled
        );
        let is_quick = attempt.duration < ENTERED || faults.was_signalled(pid);
        if !was_stopped_early || !is_quick {
            found.push((
                "an attempt is reported that did not run",
                format!("{attempt:?}"),
            ));
        }
    }
}
