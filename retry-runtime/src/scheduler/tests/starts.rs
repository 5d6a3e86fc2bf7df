//! Starts of workers that fail, and places for them.

use super::*;
use crate::error::Startup;

const KILLED: ExitCause = ExitCause::Signal {
    signal: 9,
    core_dumped: false,
};

const REFUSED: ExitCause = ExitCause::Code(1);

impl World {
    fn starting(&self) -> Vec<WorkerKey> {
        let is_starting = |worker: &&WorkerKey| {
            let worker = &self.workers[worker];
            !worker.ready && !worker.killed
        };
        self.workers.keys().filter(is_starting).copied().collect()
    }

    /// The process of a worker cannot be started.
    fn refuse(&mut self, key: WorkerKey) {
        self.workers.remove(&key);
        let reason = "Too many open files".into();
        self.scheduler.spawn_failed(self.now, key, reason, true);
        self.perform();
    }

    /// Calls of another function.
    fn submit_to(&mut self, function: FunctionKey, inputs: impl IntoIterator<Item = u64>) {
        let first = std::mem::replace(&mut self.function, function);
        self.submit(call_policy(Retries::none()), inputs);
        self.function = first;
    }

    fn serve(&mut self, key: WorkerKey) -> Option<u64> {
        let (input, _) = self.begin(key)?;
        self.answer(key, ok(input));
        Some(input)
    }
}

#[test]
fn while_one_worker_serves_calls_wait_for_it() {
    let mut world = World::new(function_policy(4));
    world.submit(call_policy(Retries::none()), 0..100);
    let starting = world.starting();
    assert_eq!(starting.len(), 4);
    // One fails before any is ready: the others may still be.
    world.exit(starting[1], REFUSED);
    assert!(world.outcomes.is_empty());
    world.ready(starting[0]);
    world.exit(starting[2], REFUSED);
    world.refuse(starting[3]);
    assert!(world.outcomes.is_empty());
    assert_eq!(world.spawned, 4, "the next start is put off");
    world.advance(Duration::from_millis(100));
    assert_eq!(world.spawned, 5, "and tried alone");
    world.exit(world.starting()[0], REFUSED);
    world.advance(Duration::from_millis(199));
    assert_eq!(world.spawned, 5, "the pauses grow");
    world.advance(Duration::from_millis(1));
    assert_eq!(world.spawned, 6);
    while world.serve(starting[0]).is_some() {}
    assert_eq!(world.outcomes.len(), 100);
    assert!(world.outcomes.values().all(|one| one.result.is_ok()));
}

#[test]
fn the_last_start_that_fails_is_told() {
    let mut world = World::new(function_policy(3));
    world.submit(call_policy(Retries::none()), 0..9);
    for key in world.starting() {
        assert!(world.outcomes.is_empty());
        world.exit(key, REFUSED);
    }
    assert_eq!(world.outcomes.len(), 9);
    assert_eq!(world.spawned, 3);
}

#[test]
fn a_start_that_is_killed_from_outside_is_a_crash() {
    let mut world = World::new(function_policy(1));
    world.submit(call_policy(Retries::none()), [1]);
    for _ in 0..2 {
        world.exit(world.starting()[0], KILLED);
    }
    assert!(world.outcomes.is_empty());
    world.all_ready();
    let worker = world.first();
    assert_eq!(world.serve(worker), Some(1));
    // Without an end it is limited as crashes are.
    world.submit(call_policy(Retries::none()), [2]);
    world.exit(worker, KILLED);
    for _ in 0..20 {
        match world.starting().first() {
            Some(key) => world.exit(*key, KILLED),
            None => world.advance(Duration::from_secs(1)),
        }
    }
    assert!(matches!(world.failure(2), Failure::CrashLimit(_)));
}

#[test]
fn an_idle_worker_of_another_function_yields_its_place() {
    let mut world = World::new(function_policy(2));
    world.submit(call_policy(Retries::none()), [1]);
    world.all_ready();
    let idle = world.first();
    world.serve(idle);
    let other = world.scheduler.add_function(function_policy(1));
    world.submit_to(other, [2]);
    world.refuse(world.starting()[0]);
    assert!(!world.outcomes.contains_key(&2), "it waits for a place");
    assert!(world.workers[&idle].retired);
    world.exit(idle, ExitCause::Code(0));
    world.all_ready();
    let worker = world.first();
    assert_eq!(world.serve(worker), Some(2));
}

#[test]
fn without_any_other_process_a_want_of_resources_is_told_at_once() {
    let mut world = World::new(function_policy(2));
    world.submit(call_policy(Retries::none()), [1]);
    world.refuse(world.starting()[0]);
    let Failure::Startup(Startup::Spawn(reason)) = world.failure(1) else {
        panic!("{:?}", world.failure(1));
    };
    assert_eq!(&**reason, "Too many open files");
}

#[test]
fn a_place_is_not_waited_for_without_an_end() {
    let mut world = World::new(function_policy(1));
    world.submit(call_policy(Retries::none()), [1]);
    world.all_ready();
    let busy = world.first();
    world.begin(busy);
    let other = world.scheduler.add_function(function_policy(1));
    world.submit_to(other, [2]);
    for _ in 0..70 {
        if let Some(key) = world.starting().first() {
            world.refuse(*key);
        }
        world.advance(Duration::from_secs(1));
    }
    assert!(matches!(world.failure(2), Failure::Startup(_)));
    assert!(world.spawned < 20, "{} starts", world.spawned);
}

#[test]
fn all_functions_together_keep_to_the_limit_on_processes() {
    let mut world = World::new(function_policy(2));
    world.scheduler.set_max_processes(Some(2));
    let others: Vec<_> = (0..10)
        .map(|_| world.scheduler.add_function(function_policy(2)))
        .collect();
    world.submit(call_policy(Retries::none()), 0..50);
    for (function, input) in others.into_iter().zip(100..) {
        world.submit_to(function, [input]);
    }
    for step in 0.. {
        assert!(step < 10_000, "it does not end");
        assert!(world.workers.len() <= 2, "{:?}", world.workers);
        if world.outcomes.len() == 60 {
            break;
        }
        world.all_ready();
        let keys: Vec<WorkerKey> = world.workers.keys().copied().collect();
        for key in keys {
            if world.workers[&key].retired {
                world.exit(key, ExitCause::Code(0));
            } else {
                world.serve(key);
            }
        }
    }
    let first = |input| world.outcomes[&input].result.is_ok();
    assert!((0..50).all(first) && (100..110).all(first));
}

#[test]
fn workers_that_are_slow_to_end_are_limited() {
    let mut world = World::new(FunctionPolicy {
        max_calls_per_worker: Some(1),
        ..function_policy(2)
    });
    world.submit(call_policy(Retries::none()), 0..30);
    for _ in 0..100 {
        world.all_ready();
        let keys: Vec<WorkerKey> = world.workers.keys().copied().collect();
        for key in keys {
            world.serve(key);
        }
        assert!(world.workers.len() <= 4, "{}", world.workers.len());
    }
    let ending = world.workers.iter().find(|(_, worker)| worker.retired);
    let ending = *ending.expect("one that ends").0;
    let spawned = world.spawned;
    world.exit(ending, ExitCause::Code(0));
    assert_eq!(world.spawned, spawned + 1);
}
