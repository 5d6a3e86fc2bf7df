//! Tests of the scheduler's rules without processes, among them thousands of random histories. A
//! failing history prints its seed.

mod cost;
mod deadlines;
mod events;
mod life;
mod panics;
mod progress;
mod resuming;
mod starts;
mod suspects;
mod turmoil;
mod turns;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::*;
use crate::api::crash_limit::CrashLimit;
use crate::api::events::Event;
use crate::api::failure::{Cancelled, ExitCause, Panic};
use crate::api::options::Policy;
use crate::api::retries::Retries;
use crate::api::retryable::Retry;
use crate::codec::payload::{self, Payload};
use crate::job::caller::Caller;

const SIGSEGV: ExitCause = ExitCause::Signal {
    signal: 11,
    core_dumped: false,
};

fn function_policy(max_workers: usize) -> FunctionPolicy {
    FunctionPolicy {
        name: "f",
        max_workers,
        min_workers: 0,
        startup_timeout: Duration::from_secs(60),
        scaledown_window: Duration::from_secs(60),
        max_calls_per_worker: None,
        at_once: 1,
        separable: false,
        grace: Duration::ZERO,
        memory: None,
        crash_limit: CrashLimit::default(),
    }
}

fn call_policy(retries: Retries) -> Policy {
    Policy {
        retries,
        timeout: None,
        deadline: None,
        at_most_once: false,
        grace: None,
        after: Duration::ZERO,
    }
}

/// A call's inputs, as a range of consecutive numbers.
#[derive(Debug)]
struct Inputs {
    first: u64,
    count: u32,
    map: bool,
    caller: Caller,
}

impl Parts for Inputs {
    fn count(&self) -> u32 {
        self.count
    }

    fn split_front(&mut self, count: u32) -> Self {
        assert!(0 < count && count < self.count, "both parts have inputs");
        let first = self.first;
        self.first += u64::from(count);
        self.count -= count;
        Self {
            first,
            count,
            ..*self
        }
    }

    fn index(&self) -> Option<u64> {
        self.map.then_some(self.first)
    }

    fn caller(&self) -> Caller {
        self.caller
    }
}

impl Inputs {
    fn one(first: u64) -> Self {
        Self {
            first,
            count: 1,
            map: false,
            caller: Caller(0),
        }
    }
}

/// A simulated worker that the scheduler's actions control.
#[derive(Debug, Default)]
struct FakeWorker {
    ready: bool,
    killed: bool,
    retired: bool,
    /// The unclaimed calls: ticket, input and attempt.
    inbox: VecDeque<(u64, u64, u32)>,
    claimed: u64,
    /// The executing calls: ticket, input, attempt and start.
    executing: Vec<(u64, u64, u32, Instant)>,
    /// The values that the worker has answered and the scheduler has not taken in yet, with the
    /// first ticket.
    unread: Option<(u64, Vec<u64>)>,
    /// The tickets that were asked to stop, and those to abort.
    asked: Vec<u64>,
    aborted: Vec<u64>,
    terminated: bool,
    /// Set once an attempt has panicked in the worker.
    panicked: bool,
}

/// A simulation around a scheduler: workers that obey it, and a clock that the test moves.
struct World {
    scheduler: Scheduler<Inputs>,
    function: FunctionKey,
    now: Instant,
    workers: BTreeMap<WorkerKey, FakeWorker>,
    outcomes: BTreeMap<u64, Outcome>,
    events: Vec<Event>,
    /// The inputs that have panicked.
    panicked: BTreeSet<u64>,
    spawned: usize,
    /// The number of inputs that a worker executes at once.
    at_once: usize,
    /// `true` if workers ask to be replaced when they answer.
    used_up: bool,
    /// `true` if inputs are submitted as one chunk; they must be consecutive then.
    chunks: bool,
    /// `true` if the inputs belong to a map.
    map: bool,
    caller: Caller,
    /// The duration of each attempt that workers report.
    duration: Duration,
    /// `true` if workers show the tickets that they execute.
    shows_work: bool,
    /// `true` if they also show when each began.
    shows_time: bool,
    /// `true` if they show that they poll the first of them.
    shows_polled: bool,
    /// The delay before nested calls.
    nested_after: Duration,
}

impl World {
    fn new(policy: FunctionPolicy) -> Self {
        let mut scheduler = Scheduler::new(1, Arc::default());
        let at_once = policy.at_once;
        let function = scheduler.add_function(policy);
        Self {
            scheduler,
            function,
            now: Instant::now(),
            workers: BTreeMap::new(),
            outcomes: BTreeMap::new(),
            events: Vec::new(),
            panicked: BTreeSet::new(),
            spawned: 0,
            at_once,
            used_up: false,
            chunks: false,
            map: false,
            caller: Caller(0),
            duration: Duration::from_micros(1),
            shows_work: true,
            shows_time: true,
            shows_polled: false,
            nested_after: Duration::ZERO,
        }
    }

    fn submit(&mut self, policy: Policy, payloads: impl IntoIterator<Item = u64>) -> Vec<CallKey> {
        let terms = Arc::new(Terms {
            name: "f",
            policy,
            budget: None,
            called: None,
            show: None,
            longest_delay: None,
        });
        let mut submitted: Vec<Inputs> = Vec::new();
        for input in payloads {
            match submitted.last_mut() {
                Some(chunk) if self.chunks => chunk.count += 1,
                _ => submitted.push(Inputs {
                    map: self.map,
                    caller: self.caller,
                    ..Inputs::one(input)
                }),
            }
        }
        let keys = submitted
            .into_iter()
            .map(|payload| {
                self.scheduler
                    .submit(self.now, self.function, Arc::clone(&terms), payload)
            })
            .collect();
        self.scheduler.dispatch(self.now, self.function);
        self.perform();
        keys
    }

    fn perform(&mut self) {
        self.act();
        let mut rounds = 0;
        while self.scheduler.rebalance(self.now) {
            self.act();
            rounds += 1;
            assert!(rounds < 1000, "the scheduler does not come to rest");
        }
        self.check_queue();
    }

    /// Checks that the counts of queued inputs match the calls that are queued.
    fn check_queue(&self) {
        let queued = self
            .scheduler
            .calls
            .iter()
            .map(|(_, call)| match call.state {
                CallState::Queued => call.payload.count as usize,
                CallState::Delayed | CallState::Sent { .. } => 0,
            });
        let counted = self.scheduler.functions.iter().map(|(_, one)| one.queued());
        assert_eq!(queued.sum::<usize>(), counted.sum::<usize>());
    }

    fn act(&mut self) {
        while let Some(action) = self.scheduler.next_action() {
            match action {
                Action::Spawn { worker } => {
                    self.spawned += 1;
                    self.workers.insert(worker, FakeWorker::default());
                    self.scheduler.handle_spawn(self.now, worker, 1);
                }
                Action::Send {
                    worker,
                    ticket,
                    call,
                    attempt,
                } => {
                    // The call may have been withdrawn meanwhile, and its ticket recalled.
                    let Some((_, payload)) = self.scheduler.payload(call) else {
                        continue;
                    };
                    let inputs = payload.first..payload.first + u64::from(payload.count);
                    let worker = self.workers.get_mut(&worker).expect("it is alive");
                    assert!(worker.ready && !worker.killed && !worker.retired);
                    // Tickets that were recalled before they were sent cannot be claimed any more.
                    let sent = (ticket..).zip(inputs).filter(|one| one.0 > worker.claimed);
                    worker
                        .inbox
                        .extend(sent.map(|(ticket, input)| (ticket, input, attempt)));
                }
                Action::Recall { worker: key } => {
                    let last = self.scheduler.last_ticket(key);
                    let worker = self.workers.get_mut(&key).expect("it is alive");
                    let claimed = worker.claimed;
                    worker.claimed = last;
                    worker.inbox.clear();
                    self.scheduler.handle_recall(self.now, key, claimed);
                }
                Action::Probe { worker: key } => {
                    let worker = &self.workers[&key];
                    let executing = worker.executing.iter().map(|one| Executing {
                        ticket: one.0,
                        since: self.shows_time.then_some(one.3),
                    });
                    let progress = Progress {
                        claimed: worker.claimed,
                        is_sending: false,
                        executing: executing.filter(|_| self.shows_work).collect(),
                        polled: worker
                            .executing
                            .iter()
                            .map(|one| one.0)
                            .find(|_| self.shows_polled),
                    };
                    self.scheduler.handle_progress(self.now, key, &progress);
                }
                Action::Kill { worker } => {
                    self.workers.get_mut(&worker).expect("it is alive").killed = true;
                }
                Action::Retire { worker } => {
                    self.workers.get_mut(&worker).expect("it is alive").retired = true;
                }
                Action::Resolve { payload, outcome } => self.resolved(payload, outcome),
                Action::Ask { worker, ticket } => {
                    let worker = self.workers.get_mut(&worker).expect("it is alive");
                    worker.asked.push(ticket);
                }
                Action::Abort { worker, ticket } => {
                    let worker = self.workers.get_mut(&worker).expect("it is alive");
                    worker.aborted.push(ticket);
                }
                Action::Terminate { worker } => {
                    self.workers
                        .get_mut(&worker)
                        .expect("it is alive")
                        .terminated = true;
                }
                Action::Publish(record) => self.events.extend(record.events()),
                Action::Measure { .. } => {}
            }
        }
    }

    fn resolved(&mut self, mut inputs: Inputs, mut outcome: Outcome) {
        loop {
            let mut one = outcome.clone();
            if let Ok(values) = &mut outcome.result {
                assert_eq!(values.count(), inputs.count);
                if inputs.count > 1 {
                    one.result = Ok(values.split_front(1));
                }
            }
            let known = self.outcomes.insert(inputs.first, one);
            assert!(known.is_none(), "{} was resolved twice", inputs.first);
            if inputs.count == 1 {
                break;
            }
            inputs.split_front(1);
            outcome.call.0 += 1;
        }
    }

    fn ready(&mut self, key: WorkerKey) {
        self.workers.get_mut(&key).expect("it is alive").ready = true;
        self.scheduler.mark_ready(self.now, key);
        self.perform();
    }

    fn all_ready(&mut self) {
        let starting: Vec<WorkerKey> = self
            .workers
            .iter()
            .filter(|(_, worker)| !worker.ready && !worker.killed)
            .map(|(key, _)| *key)
            .collect();
        for key in starting {
            self.ready(key);
        }
    }

    /// Lets a worker claim its next input. Returns the input and the attempt.
    fn begin(&mut self, key: WorkerKey) -> Option<(u64, u32)> {
        let now = self.now;
        let worker = self.workers.get_mut(&key)?;
        if worker.executing.len() >= self.at_once || worker.killed {
            return None;
        }
        let next = worker.inbox.pop_front()?;
        let is_retry = next.2 > 1 && self.panicked.contains(&next.1);
        assert!(
            !(is_retry && worker.panicked),
            "{} is tried again where something has panicked",
            next.1
        );
        worker.claimed = next.0;
        worker.executing.push((next.0, next.1, next.2, now));
        Some((next.1, next.2))
    }

    /// Lets a worker answer with a value that the scheduler takes in later.
    fn answer_unread(&mut self, key: WorkerKey) {
        let worker = self.workers.get_mut(&key).expect("it is alive");
        let (ticket, input, ..) = worker.executing.remove(0);
        match &mut worker.unread {
            Some((first, values)) if *first + values.len() as u64 == ticket => values.push(input),
            _ => {
                self.read(key);
                let worker = self.workers.get_mut(&key).expect("it is alive");
                worker.unread = Some((ticket, vec![input]));
            }
        }
    }

    /// Takes in the values that a worker has answered.
    fn read(&mut self, key: WorkerKey) {
        let worker = self.workers.get_mut(&key).expect("it is alive");
        let Some((ticket, values)) = worker.unread.take() else {
            return;
        };
        let mut buffer = Vec::new();
        for value in &values {
            let begun = payload::begin(&mut buffer);
            buffer.extend_from_slice(&value.to_le_bytes());
            payload::end(&mut buffer, begun);
        }
        let values = Payload::new(values.len() as u32, Bytes::from(buffer));
        self.take_in(key, ticket, AnswerReport::untimed(values));
    }

    fn answer(&mut self, key: WorkerKey, answer: Answer) {
        self.read(key);
        let worker = self.workers.get_mut(&key).expect("it is alive");
        let (ticket, input, ..) = worker.executing.remove(0);
        if let Answer::Panicked(_) = answer {
            worker.panicked = true;
            self.panicked.insert(input);
        }
        let report = AnswerReport {
            answer,
            duration: self.duration,
            timed: 1,
            used_up: self.used_up,
            error: None,
            stderr_tail: None,
        };
        self.take_in(key, ticket, report);
    }

    fn take_in(&mut self, key: WorkerKey, ticket: u64, report: AnswerReport) {
        let function = self
            .scheduler
            .handle_answer(self.now, key, ticket, report)
            .expect("the ticket is known");
        if let Some(function) = function {
            self.scheduler.dispatch(self.now, function);
        }
        self.perform();
    }

    fn exit(&mut self, key: WorkerKey, cause: ExitCause) {
        self.exit_with(key, cause, false);
    }

    /// Ends a worker whose agent was stopped for too long.
    fn outlive_lease(&mut self, key: WorkerKey) {
        let cause = ExitCause::Signal {
            signal: 9,
            core_dumped: false,
        };
        self.exit_with(key, cause, true);
    }

    fn exit_with(&mut self, key: WorkerKey, cause: ExitCause, has_outlived_lease: bool) {
        // Answers that a process sent before it ended count.
        self.read(key);
        let worker = self.workers.remove(&key).expect("it is alive");
        let report = ExitReport {
            cause,
            claimed: worker.claimed,
            has_outlived_lease,
            panic: None,
            stderr_tail: None,
        };
        self.scheduler.handle_exit(self.now, key, report);
        self.perform();
    }

    fn advance(&mut self, by: Duration) {
        self.now += by;
        self.scheduler.tick(self.now, Inbound::Drained);
        self.perform();
    }

    fn first(&self) -> WorkerKey {
        *self.workers.keys().next().expect("a worker")
    }

    fn failure(&self, payload: u64) -> &Failure {
        match &self.outcomes[&payload].result {
            Err(failure) => failure,
            Ok(_) => panic!("{payload} succeeded"),
        }
    }
}

fn ok(payload: u64) -> Answer {
    Answer::Ok(Payload::One(Bytes::copy_from_slice(&payload.to_le_bytes())))
}

fn panic() -> Answer {
    Answer::Panicked(Panic::within(1000, "a panic", None, None))
}

fn err(retry: bool) -> Answer {
    Answer::Err {
        error: Bytes::new(),
        retry: if retry { Retry::Default } else { Retry::No },
    }
}

#[test]
fn retry_delays_are_kept_and_zero_is_immediate() {
    let mut world = World::new(function_policy(1));
    world.submit(call_policy(Retries::from(1)), [1]);
    world.submit(call_policy(Retries::fixed(1, Duration::ZERO)), [2]);
    world.all_ready();
    let worker = world.first();
    assert_eq!(world.begin(worker), Some((1, 1)));
    world.answer(worker, err(true));
    assert_eq!(world.begin(worker), Some((2, 1)));
    world.answer(worker, err(true));
    assert_eq!(world.begin(worker), Some((2, 2)), "without a timer");
    world.answer(worker, ok(2));
    world.advance(Duration::from_millis(999));
    assert_eq!(world.begin(worker), None);
    world.advance(Duration::from_millis(1));
    assert_eq!(world.begin(worker), Some((1, 2)));
    world.answer(worker, err(true));
    assert!(matches!(world.failure(1), Failure::Function(_)));
    assert_eq!(world.outcomes[&1].attempts().len(), 2);
}

#[test]
fn only_the_executing_input_is_blamed_for_a_crash() {
    let mut world = World::new(function_policy(1));
    let policy = Policy {
        at_most_once: true,
        ..call_policy(Retries::none())
    };
    world.submit(policy, [1, 2]);
    world.all_ready();
    let worker = world.first();
    world.begin(worker);
    world.exit(worker, SIGSEGV);
    assert!(matches!(world.failure(1), Failure::Crashed(_)));
    world.all_ready();
    let worker = world.first();
    assert_eq!(
        world.begin(worker),
        Some((2, 1)),
        "never blamed, first attempt"
    );
}

#[test]
fn the_third_crash_of_an_input_is_final() {
    let mut world = World::new(function_policy(1));
    world.submit(call_policy(Retries::none()), [1]);
    for attempt in 1..=3 {
        world.all_ready();
        let worker = world.first();
        assert_eq!(world.begin(worker), Some((1, attempt)));
        world.exit(worker, SIGSEGV);
    }
    assert!(matches!(world.failure(1), Failure::Crashed(_)));
    assert!(world.workers.is_empty(), "nothing to do, so no worker");
}

#[test]
fn counts_track_calls_by_state() {
    let mut world = World::new(function_policy(1));
    world.submit(call_policy(Retries::fixed(1, Duration::ZERO)), [7, 8]);
    world.all_ready();
    let expect = |world: &World, numbers: [u64; 4], running| {
        let [submitted, finished, failed, retried] = numbers;
        let expected = Counts {
            submitted,
            finished,
            failed,
            cancelled: 0,
            retried,
        };
        let reading = world.scheduler.read()[0];
        assert_eq!(
            (reading.name, reading.counts, reading.executing),
            ("f", expected, running)
        );
    };
    expect(&world, [2, 0, 0, 0], 1);
    let worker = world.first();
    world.begin(worker);
    world.exit(worker, SIGSEGV);
    expect(&world, [2, 0, 0, 1], 0);
    world.all_ready();
    // The input that crashed is queued behind the other one.
    for (answer, numbers) in [
        (ok(8), [2, 1, 0, 1]),
        (err(true), [2, 1, 0, 2]),
        (err(true), [2, 2, 1, 2]),
    ] {
        let worker = world.first();
        world.begin(worker);
        world.answer(worker, answer);
        expect(&world, numbers, usize::from(numbers[1] < 2));
    }
}

#[test]
fn a_crash_at_start_up_fails_the_queue_without_a_restart() {
    let mut world = World::new(function_policy(1));
    world.submit(call_policy(Retries::from(5)), 0..10);
    let worker = world.first();
    world.exit(worker, ExitCause::Code(3));
    assert_eq!(world.outcomes.len(), 10);
    assert!(matches!(world.failure(9), Failure::Startup(_)));
    assert_eq!(world.spawned, 1);
}

#[test]
fn calls_fail_after_three_failed_starts_if_workers_were_ready() {
    let mut world = World::new(function_policy(1));
    world.submit(call_policy(Retries::none()), [1, 2]);
    world.all_ready();
    let worker = world.first();
    world.begin(worker);
    world.exit(worker, SIGSEGV);
    for _ in 0..2 {
        let worker = world.first();
        world.exit(worker, ExitCause::Code(3));
        assert!(world.outcomes.is_empty());
    }
    let worker = world.first();
    world.exit(worker, ExitCause::Code(3));
    assert_eq!(world.outcomes.len(), 2);
    assert!(matches!(world.failure(2), Failure::Startup(_)));
}

#[test]
fn the_crash_limit_fails_pending_inputs_and_expires() {
    let mut world = World::new(function_policy(1));
    world.submit(call_policy(Retries::none()), 0..20);
    for _ in 0..8 {
        world.all_ready();
        let worker = world.first();
        world.begin(worker).expect("an input");
        world.exit(worker, SIGSEGV);
    }
    assert_eq!(world.outcomes.len(), 20);
    assert!(matches!(world.failure(19), Failure::CrashLimit(_)));
    world.submit(call_policy(Retries::none()), [100]);
    assert!(matches!(world.failure(100), Failure::CrashLimit(_)));
    world.advance(Duration::from_secs(62));
    world.submit(call_policy(Retries::none()), [101]);
    world.all_ready();
    let worker = world.first();
    assert_eq!(world.begin(worker), Some((101, 1)));
}

#[test]
fn more_completions_than_crashes_keep_a_function_going() {
    let mut world = World::new(function_policy(1));
    world.submit(call_policy(Retries::none()), 0..40);
    for _ in 0..9 {
        world.all_ready();
        let worker = world.first();
        for _ in 0..2 {
            let (input, _) = world.begin(worker).expect("an input");
            world.answer(worker, ok(input));
        }
        world.begin(worker).expect("an input");
        world.exit(worker, SIGSEGV);
    }
    assert!(
        world
            .outcomes
            .values()
            .all(|outcome| outcome.result.is_ok())
    );
}

#[test]
fn a_timeout_counts_execution_only_and_kills_the_worker() {
    let mut world = World::new(function_policy(1));
    let policy = Policy {
        timeout: Some(Duration::from_secs(1)),
        ..call_policy(Retries::none())
    };
    world.submit(policy, [1, 2]);
    world.advance(Duration::from_secs(5));
    world.all_ready();
    let worker = world.first();
    world.begin(worker);
    world.advance(Duration::from_millis(999));
    assert!(world.outcomes.is_empty());
    world.advance(Duration::from_millis(1));
    assert!(matches!(world.failure(1), Failure::TimedOut(_)));
    assert!(world.workers[&worker].killed);
    // The other input was never started, and runs on the next worker.
    world.exit(
        worker,
        ExitCause::Signal {
            signal: 9,
            core_dumped: false,
        },
    );
    world.all_ready();
    let worker = world.first();
    assert_eq!(world.begin(worker), Some((2, 1)));
}

#[test]
fn a_killed_worker_is_replaced_before_it_has_exited() {
    let mut world = World::new(function_policy(1));
    let policy = Policy {
        timeout: Some(Duration::from_secs(1)),
        ..call_policy(Retries::fixed(1, Duration::ZERO))
    };
    world.submit(policy, [1]);
    world.all_ready();
    let first = world.first();
    world.begin(first);
    world.advance(Duration::from_secs(1));
    assert!(world.workers[&first].killed);
    assert_eq!(world.spawned, 2, "a process may take long to end");
}

#[test]
fn a_deadline_covers_the_queue_and_retry_delays() {
    let mut world = World::new(function_policy(1));
    let policy = Policy {
        deadline: Some(Duration::from_millis(500)),
        ..call_policy(Retries::from(3))
    };
    world.submit(policy, [1]);
    world.advance(Duration::from_millis(500));
    assert!(matches!(world.failure(1), Failure::TimedOut(_)));
    world.submit(policy, [2]);
    world.all_ready();
    let worker = world.first();
    world.begin(worker);
    world.answer(worker, err(true));
    assert!(matches!(world.failure(2), Failure::Function(_)));
}

#[test]
fn an_idle_worker_takes_inputs_from_a_busy_one() {
    let mut world = World::new(function_policy(2));
    world.submit(call_policy(Retries::none()), [1, 2]);
    assert_eq!(world.spawned, 2);
    let keys: Vec<WorkerKey> = world.workers.keys().copied().collect();
    world.ready(keys[0]);
    assert_eq!(world.begin(keys[0]), Some((1, 1)));
    assert_eq!(world.workers[&keys[0]].inbox.len(), 1);
    world.ready(keys[1]);
    assert_eq!(world.begin(keys[1]), Some((2, 1)));
}

#[test]
fn cancelling_kills_only_workers_with_cancelled_inputs() {
    let mut world = World::new(function_policy(2));
    let keys = world.submit(call_policy(Retries::none()), 0..100);
    world.all_ready();
    let workers: Vec<WorkerKey> = world.workers.keys().copied().collect();
    let (kept, _) = world.begin(workers[0]).expect("an input");
    world.begin(workers[1]).expect("an input");
    let cancelled = keys
        .iter()
        .zip(0..)
        .filter(|(_, payload)| *payload != kept)
        .map(|(key, _)| *key);
    world.scheduler.cancel(cancelled, Cancelled::ByCaller);
    world.perform();
    assert_eq!(world.outcomes.len(), 99);
    assert!(!world.workers[&workers[0]].killed);
    assert!(world.workers[&workers[1]].killed);
    world.answer(workers[0], ok(kept));
    assert!(world.outcomes[&kept].result.is_ok());
}

#[test]
fn an_idle_worker_is_retired_after_its_window() {
    let mut world = World::new(function_policy(1));
    world.submit(call_policy(Retries::none()), [1]);
    world.all_ready();
    let worker = world.first();
    world.begin(worker);
    world.answer(worker, ok(1));
    world.advance(Duration::from_secs(59));
    assert!(!world.workers[&worker].retired);
    world.advance(Duration::from_secs(2));
    assert!(world.workers[&worker].retired);
}

/// The planned failures of an input, which determine its number of executions and its outcome.
#[derive(Clone, Copy, Debug)]
struct Plan {
    errors: u32,
    crashes: u32,
}

/// Random histories: whatever the order in which workers start, answer, crash and are recalled,
/// every input is resolved once, is executed exactly as often as its plan says, and no worker ever
/// executes what was given to another.
#[test]
fn every_history_resolves_every_input_exactly_once() {
    let first = std::env::var("RETRY_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let seeds = first.map_or(0..4000, |seed: u64| seed..seed + 1);
    for seed in seeds {
        if let Err(panic) = std::panic::catch_unwind(|| history(seed)) {
            eprintln!("RETRY_SEED={seed}");
            std::panic::resume_unwind(panic);
        }
    }
}

fn history(seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut policy = function_policy(random.usize(1..5));
    policy.crash_limit = CrashLimit::unlimited();
    if random.u8(0..4) == 0 {
        policy.max_calls_per_worker = Some(random.u64(1..6));
    }
    let retries = random.u32(0..3);
    let mut world = World::new(policy.clone());
    world.chunks = random.bool();
    let inputs = random.u64(1..60);
    let plans: Vec<Plan> = (0..inputs)
        .map(|_| Plan {
            errors: if random.u8(0..5) == 0 {
                random.u32(0..4)
            } else {
                0
            },
            crashes: if random.u8(0..5) == 0 {
                random.u32(0..5)
            } else {
                0
            },
        })
        .collect();
    let mut executions = vec![0u32; plans.len()];
    let mut submitted = 0;
    let delay = Duration::from_millis(random.u64(0..3));
    for step in 0.. {
        assert!(step < 100_000, "it does not end");
        if world.outcomes.len() as u64 == inputs {
            break;
        }
        if submitted < inputs && random.bool() {
            let more = random.u64(1..=inputs - submitted);
            let policy = call_policy(Retries::fixed(retries, delay));
            world.submit(policy, submitted..submitted + more);
            submitted += more;
        }
        let keys: Vec<WorkerKey> = world.workers.keys().copied().collect();
        assert!(
            keys.iter()
                .filter(|key| !world.workers[key].killed && !world.workers[key].retired)
                .count()
                <= policy.max_workers
        );
        let Some(key) = random.choice(&keys).copied() else {
            world.advance(Duration::from_millis(1));
            continue;
        };
        let worker = &world.workers[&key];
        if worker.retired || worker.killed {
            world.exit(key, ExitCause::Code(0));
        } else if !worker.ready {
            world.ready(key);
        } else if let Some((_, input, ..)) = worker.executing.first().copied() {
            let index = usize::try_from(input).expect("it is small");
            let plan = plans[index];
            let done = executions[index];
            if done <= plan.crashes {
                world.exit(key, SIGSEGV);
            } else if done <= plan.crashes + plan.errors {
                world.answer(key, err(true));
            } else if random.bool() {
                world.answer_unread(key);
            } else {
                world.answer(key, ok(input));
            }
        } else if let Some((input, attempt)) = world.begin(key) {
            let index = usize::try_from(input).expect("it is small");
            executions[index] += 1;
            assert_eq!(
                attempt, executions[index],
                "attempts are numbered as they are made"
            );
        } else if random.u8(0..20) == 0 {
            // An idle worker is killed from outside.
            world.exit(key, SIGSEGV);
        } else {
            world.read(key);
            world.advance(Duration::from_millis(random.u64(0..3)));
        }
    }
    for (index, plan) in plans.iter().enumerate() {
        let outcome = &world.outcomes[&(index as u64)];
        let expected = if plan.crashes >= CRASHES_PER_INPUT {
            assert!(matches!(outcome.result, Err(Failure::Crashed(_))));
            CRASHES_PER_INPUT
        } else if plan.errors > retries {
            assert!(matches!(outcome.result, Err(Failure::Function(_))));
            plan.crashes + retries + 1
        } else {
            let value = outcome.result.clone().expect("a value").into_one();
            assert_eq!(value, &(index as u64).to_le_bytes()[..]);
            plan.crashes + plan.errors + 1
        };
        assert_eq!(executions[index], expected, "input {index}, {plan:?}");
    }
}
