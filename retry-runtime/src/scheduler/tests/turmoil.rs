//! Random histories of several functions and callers that affect each other.

use std::collections::BTreeSet;

use super::*;

const KILLED: ExitCause = ExitCause::Signal {
    signal: 9,
    core_dumped: false,
};

const REFUSED: ExitCause = ExitCause::Code(1);

/// The number of callers: maps and threads.
const CALLERS: u32 = 5;

/// A simulation with several functions and callers.
struct Turmoil {
    world: World,
    random: fastrand::Rng,
    functions: Vec<FunctionKey>,
    /// The inputs of each caller that are not known to be resolved.
    pending: BTreeMap<u32, BTreeSet<u64>>,
    /// The callers that are held back, and whether they keep the order of their inputs.
    held: BTreeMap<u32, bool>,
    /// The nested calls that each worker's functions wait for.
    waits: BTreeMap<WorkerKey, Vec<u64>>,
    once: Vec<u64>,
    executions: BTreeMap<u64, u32>,
    next: u64,
    nested: u32,
}

impl Turmoil {
    fn new(seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let at_once = random.choice([1, 1, 1, 3]).unwrap_or(1);
        let separable = at_once > 1 && random.bool();
        let mut policy = || FunctionPolicy {
            at_once,
            separable,
            grace: Duration::from_millis(random.choice([0, 0, 40]).unwrap_or(0)),
            crash_limit: CrashLimit::unlimited(),
            min_workers: random.usize(0..2),
            max_calls_per_worker: random.bool().then(|| random.u64(1..10)),
            scaledown_window: Duration::from_millis(random.u64(1..1000)),
            ..function_policy(random.usize(1..4))
        };
        let mut world = World::new(policy());
        let mut functions = vec![world.function];
        let further: Vec<_> = (0..3).map(|_| policy()).collect();
        for policy in further.into_iter().take(random.usize(0..=3)) {
            functions.push(world.scheduler.add_function(policy));
        }
        let most = random.bool().then(|| random.usize(1..5));
        world.scheduler.set_max_processes(most);
        Self {
            world,
            random,
            functions,
            pending: BTreeMap::new(),
            held: BTreeMap::new(),
            waits: BTreeMap::new(),
            once: Vec::new(),
            executions: BTreeMap::new(),
            next: 0,
            nested: 0,
        }
    }

    /// Selects a random function and caller.
    fn turn(&mut self) {
        self.world.function = *self.random.choice(&self.functions).expect("there is one");
        self.world.caller = Caller(self.random.u32(0..CALLERS));
        self.world.map = self.world.caller.0 > 1;
        self.world.chunks = self.world.map && self.random.bool();
    }

    fn submit(&mut self) -> Vec<CallKey> {
        self.turn();
        let policy = life::random_policy(&mut self.random);
        let more = if self.world.map {
            self.random.u64(0..8)
        } else {
            0
        };
        let inputs = self.next..=self.next + more;
        self.next += more + 1;
        if policy.at_most_once {
            self.once.extend(inputs.clone());
        }
        let pending = self.pending.entry(self.world.caller.0).or_default();
        pending.extend(inputs.clone());
        self.world.submit(policy, inputs)
    }

    /// Makes a nested call from the first input that a worker executes, to a random function.
    fn nest(&mut self, worker: WorkerKey) {
        self.turn();
        let caller = CALLERS + u32::try_from(worker.id).expect("there are few");
        self.world.caller = Caller(caller);
        self.world.map = true;
        let input = self.next;
        self.next += 1;
        self.nested += 1;
        let pending = self.pending.entry(self.world.caller.0).or_default();
        pending.insert(input);
        self.waits.entry(worker).or_default().push(input);
        self.world.nest(worker, self.nested, input);
    }

    /// Holds a map back, as if its consumer had taken nothing for a while or waited for its next
    /// result.
    fn hold(&mut self, caller: u32, is_ordered: bool) {
        self.held.insert(caller, is_ordered);
        let resolved = &self.world.outcomes;
        let pending = self.pending.entry(caller).or_default();
        pending.retain(|input| !resolved.contains_key(input));
        let next = pending.first().copied().filter(|_| is_ordered);
        self.world.scheduler.hold(Caller(caller), Some(next));
        self.world.perform();
    }

    fn let_go(&mut self, caller: u32) {
        self.held.remove(&caller);
        self.world.scheduler.hold(Caller(caller), None);
        self.world.perform();
    }

    fn is_waiting(&self, worker: WorkerKey) -> bool {
        let resolved = &self.world.outcomes;
        let waits = self.waits.get(&worker);
        waits.is_some_and(|inputs| inputs.iter().any(|input| !resolved.contains_key(input)))
    }

    fn refuse(&mut self, key: WorkerKey) {
        let scarce = self.random.bool();
        self.world.workers.remove(&key);
        let now = self.world.now;
        let reason = "Too many open files".into();
        self.world
            .scheduler
            .handle_failed_spawn(now, key, reason, scarce);
        self.world.perform();
    }

    fn pause(&mut self, most: u64) {
        let pause = Duration::from_millis(self.random.u64(0..most));
        self.world.advance(pause);
    }

    /// Lets a worker do something, or lets something happen to it.
    fn go_on(&mut self, key: WorkerKey, is_calm: bool) {
        let worker = &self.world.workers[&key];
        let trouble = if is_calm {
            u8::MAX
        } else {
            self.random.u8(0..20)
        };
        if worker.killed || worker.terminated || worker.retired && worker.inbox.is_empty() {
            self.world.exit(key, KILLED);
        } else if !worker.ready {
            match trouble {
                0..2 => self.world.exit(key, REFUSED),
                2..4 => self.refuse(key),
                4 => self.world.exit(key, KILLED),
                5 => {
                    let startup = crate::api::failure::Startup::Handshake("no".into());
                    self.world.scheduler.fail_start(key, startup);
                    self.world.perform();
                }
                _ => self.world.ready(key),
            }
        } else if let Some((input, _)) = self.world.begin(key) {
            *self.executions.entry(input).or_default() += 1;
        } else if let Some(&first) = self.world.workers[&key].executing.first() {
            match trouble {
                0 => self.world.exit(key, SIGSEGV),
                1..3 => {
                    let retries = self.random.bool();
                    self.world.answer(key, err(retries));
                }
                3 => self.world.answer(key, panic()),
                4..6 => self.nest(key),
                6..9 => self.pause(60),
                _ if self.world.workers[&key].aborted.contains(&first.0) => {
                    self.world.answer(key, Answer::Aborted);
                }
                _ if self.is_waiting(key) => {}
                9..12 => self.world.answer_unread(key),
                _ => self.world.answer(key, ok(first.1)),
            }
        } else {
            self.world.read(key);
        }
    }

    fn workers(&self) -> Vec<WorkerKey> {
        self.world.workers.keys().copied().collect()
    }

    fn run(mut self) {
        let mut keys = Vec::new();
        for _ in 0..300 {
            self.world.used_up = self.random.u8(0..10) == 0;
            match self.random.u8(0..30) {
                0..8 => keys.extend(self.submit()),
                8..10 => {
                    if let Some(key) = self.random.choice(&keys) {
                        self.world.scheduler.cancel([*key], Cancelled::ByCaller);
                        self.world.perform();
                    }
                }
                10 => {
                    // The first two callers are threads, and the third is a map that does not keep
                    // the order.
                    let callers = self.pending.keys().copied().filter(|caller| *caller > 1);
                    if let Some(caller) = self.random.choice(callers.collect::<Vec<_>>()) {
                        self.hold(caller, caller > 2);
                    }
                }
                11 => {
                    let callers: Vec<_> = self.held.keys().copied().collect();
                    if let Some(caller) = self.random.choice(callers) {
                        self.let_go(caller);
                    }
                }
                _ => {}
            }
            match self.random.choice(self.workers()) {
                Some(key) => self.go_on(key, false),
                None => self.pause(20),
            }
        }
        // Whatever has happened, all calls must end, while maps whose consumers wait stay held
        // back.
        self.world.used_up = false;
        for step in 0.. {
            assert!(
                step < 20_000,
                "it does not end: {:?}\n{:?}\n{:?}\nheld {:?} places {:?} waits {:?}\n{:?}",
                self.world.scheduler.calls,
                self.world.scheduler.workers,
                self.world.workers,
                self.world.scheduler.holds,
                self.world.scheduler.places,
                self.waits,
                self.world.scheduler.functions,
            );
            if self.world.outcomes.len() as u64 == self.next {
                break;
            }
            // An ordered consumer takes the next result; the others are released after a while.
            for (caller, is_ordered) in self.held.clone() {
                if is_ordered {
                    self.hold(caller, true);
                } else if step > 5_000 || self.random.u8(0..50) == 0 {
                    self.let_go(caller);
                }
            }
            self.world.advance(Duration::from_millis(10));
            for key in self.workers() {
                if self.world.workers.contains_key(&key) {
                    self.go_on(key, true);
                }
            }
        }
        for input in &self.once {
            let executed = self.executions.get(input).copied().unwrap_or(0);
            assert!(executed <= 1, "input {input} was executed {executed} times");
        }
        assert!(self.world.scheduler.calls.is_empty());
        let now = self.world.now;
        self.world
            .scheduler
            .shut_down(now, Duration::ZERO, true, true);
        self.world.perform();
        for key in self.workers() {
            self.world.exit(key, KILLED);
        }
        assert!(self.world.scheduler.is_drained());
    }
}

#[test]
fn every_history_of_several_functions_ends() {
    let given = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
    let first = given("RETRY_SEED");
    let seeds = given("RETRY_SEEDS").unwrap_or(if first.is_some() { 1 } else { 500 });
    let first = first.unwrap_or(0);
    for seed in first..first + seeds {
        if let Err(panic) = std::panic::catch_unwind(|| Turmoil::new(seed).run()) {
            eprintln!("RETRY_SEED={seed}");
            std::panic::resume_unwind(panic);
        }
    }
}
