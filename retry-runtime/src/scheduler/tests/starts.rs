//! Failed starts of workers, and places for workers.

use super::*;
use crate::api::failure::Startup;

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

    /// Reports that the process of a worker cannot be started for lack of resources.
    fn refuse(&mut self, key: WorkerKey) {
        self.workers.remove(&key);
        let reason = "Too many open files".into();
        self.scheduler
            .handle_failed_spawn(self.now, key, reason, true);
        self.perform();
    }

    /// Submits calls of another function.
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
fn calls_wait_while_another_worker_serves() {
    let mut world = World::new(function_policy(4));
    world.submit(call_policy(Retries::none()), 0..100);
    let starting = world.starting();
    assert_eq!(starting.len(), 4);
    // One start fails before any worker is ready: the others may still succeed.
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
fn calls_fail_when_the_last_start_fails() {
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
fn a_start_killed_from_outside_is_a_crash() {
    let mut world = World::new(function_policy(1));
    world.submit(call_policy(Retries::none()), [1]);
    for _ in 0..2 {
        world.exit(world.starting()[0], KILLED);
    }
    assert!(world.outcomes.is_empty());
    world.all_ready();
    let worker = world.first();
    assert_eq!(world.serve(worker), Some(1));
    // Endless kills count against the crash limit.
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

/// The outer worker is used up, but waits for the call that needs the place.
#[test]
fn a_waiting_worker_does_not_count_as_leaving() {
    let mut world = World::new(function_policy(1));
    world.scheduler.set_max_processes(Some(1));
    world.submit(call_policy(Retries::none()), [1]);
    world.all_ready();
    let outer = world.first();
    world.begin(outer);
    world.function = world.scheduler.add_function(function_policy(1));
    world.nest(outer, 1, 10);
    world.all_ready();
    let inner = *world
        .workers
        .keys()
        .find(|key| **key != outer)
        .expect("one");
    world.begin(inner);
    world.function = world.scheduler.add_function(function_policy(1));
    world.nest(outer, 2, 11);
    world.used_up = true;
    world.answer(outer, ok(1));
    world.used_up = false;
    world.answer(inner, ok(10));
    assert!(world.workers[&inner].retired);
    world.exit(inner, ExitCause::Code(0));
    world.all_ready();
    let next = *world
        .workers
        .keys()
        .find(|key| **key != outer)
        .expect("one");
    assert_eq!(world.serve(next), Some(11));
    assert!(world.workers[&outer].retired);
}

#[test]
fn lack_of_resources_without_other_processes_fails_at_once() {
    let mut world = World::new(function_policy(2));
    world.submit(call_policy(Retries::none()), [1]);
    world.refuse(world.starting()[0]);
    let Failure::Startup(Startup::Spawn(reason)) = world.failure(1) else {
        panic!("{:?}", world.failure(1));
    };
    assert_eq!(&**reason, "Too many open files");
}

#[test]
fn waiting_for_a_place_is_limited() {
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
fn max_processes_holds_across_functions() {
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
fn slowly_exiting_workers_are_limited() {
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

#[test]
fn starts_that_fail_during_a_pause_are_counted() {
    let mut world = World::new(function_policy(2));
    world.submit(call_policy(Retries::none()), 0..9);
    let starting = world.starting();
    world.ready(starting[0]);
    world.exit(starting[1], REFUSED);
    assert_eq!(world.spawned, 2, "the next start is put off");
    // Meanwhile the only ready worker ends.
    world.begin(starting[0]);
    world.exit(starting[0], SIGSEGV);
    for _ in 0..10 {
        if let Some(key) = world.starting().first() {
            world.exit(*key, REFUSED);
        }
    }
    assert_eq!(world.outcomes.len(), 9);
    assert!(world.spawned <= 5, "{} starts", world.spawned);
}

#[test]
fn top_level_calls_wait_for_a_waiting_worker() {
    let mut world = World::new(function_policy(1));
    let first = world.function;
    let other = world.scheduler.add_function(function_policy(1));
    world.submit(call_policy(Retries::none()), 0..9);
    world.all_ready();
    let outer = world.first();
    world.begin(outer);
    world.function = other;
    world.nest(outer, 1, 100);
    world.function = first;
    let starting = world.starting();
    let is_inner = |key: &WorkerKey| world.scheduler.workers_of(other).contains(key);
    let inner = starting.into_iter().find(is_inner).expect("it is started");
    // No further worker of the first function can start, which may be why the nested call is slow.
    for _ in 0..100 {
        for key in world.starting() {
            if key != inner {
                world.exit(key, REFUSED);
            }
        }
        world.advance(Duration::from_millis(50));
    }
    assert!(world.outcomes.is_empty());
    assert!(world.spawned < 12, "{} starts", world.spawned);
    world.ready(inner);
    world.serve(inner);
    world.answer(outer, ok(0));
    while world.serve(outer).is_some() {}
    assert!((0..9).all(|input| world.outcomes[&input].result.is_ok()));
}

#[test]
fn nested_calls_do_not_wait_for_their_outer_worker() {
    let mut world = World::new(function_policy(1));
    world.submit(call_policy(Retries::none()), [0, 1]);
    world.all_ready();
    let outer = world.first();
    world.begin(outer);
    world.nest(outer, 1, 100);
    for _ in 0..3 {
        world.exit(world.starting()[0], REFUSED);
    }
    assert!(matches!(world.failure(100), Failure::Startup(_)));
    assert_eq!(world.outcomes.len(), 1);
    world.answer(outer, ok(0));
    assert_eq!(world.serve(outer), Some(1));
}

#[test]
fn a_failed_start_leaves_its_place_to_another_function() {
    let mut world = World::new(function_policy(1));
    world.scheduler.set_max_processes(Some(1));
    let other = world.scheduler.add_function(function_policy(1));
    world.submit(call_policy(Retries::none()), [1]);
    world.submit_to(other, [2]);
    world.refuse(world.starting()[0]);
    assert!(matches!(world.failure(1), Failure::Startup(_)));
    world.all_ready();
    let worker = world.first();
    assert_eq!(world.serve(worker), Some(2));
}

#[test]
fn a_worker_with_held_back_inputs_yields_its_place() {
    let mut world = World::new(function_policy(2));
    world.scheduler.set_max_processes(Some(2));
    (world.map, world.caller) = (true, Caller(7));
    world.scheduler.hold(Caller(7), Some(None));
    world.submit(call_policy(Retries::none()), 0..9);
    assert_eq!(world.spawned, 0, "there is nothing to do for it");
    world.scheduler.hold(Caller(7), None);
    world.perform();
    world.all_ready();
    let workers: Vec<WorkerKey> = world.workers.keys().copied().collect();
    world.scheduler.hold(Caller(7), Some(None));
    for key in &workers {
        while world.serve(*key).is_some() {}
    }
    assert!(world.outcomes.len() < 9);
    // Meanwhile the consumer of the map calls another function.
    let other = world.scheduler.add_function(function_policy(1));
    world.caller = Caller(8);
    world.submit_to(other, [100]);
    let retired = workers.iter().find(|key| world.workers[key].retired);
    world.exit(*retired.expect("one of them"), ExitCause::Code(0));
    let starting = world.starting()[0];
    world.ready(starting);
    assert_eq!(world.serve(starting), Some(100));
}

#[test]
fn a_function_with_cancelled_calls_waits_for_no_place() {
    let mut world = World::new(function_policy(1));
    world.scheduler.set_max_processes(Some(1));
    world.submit(call_policy(Retries::none()), [1]);
    world.all_ready();
    let busy = world.first();
    world.begin(busy);
    world.function = world.scheduler.add_function(function_policy(1));
    let keys = world.submit(call_policy(Retries::none()), [2]);
    world.scheduler.cancel(keys, Cancelled::ByCaller);
    world.perform();
    world.answer(busy, ok(1));
    assert!(!world.workers[&busy].retired);
}

#[test]
fn functions_with_one_place_take_turns() {
    let mut world = World::new(function_policy(1));
    world.scheduler.set_max_processes(Some(1));
    let other = world.scheduler.add_function(function_policy(1));
    world.duration = Duration::from_millis(100);
    world.submit(call_policy(Retries::none()), 0..1000);
    world.submit_to(other, [1000]);
    for _ in 0..100 {
        world.advance(Duration::from_millis(100));
        world.all_ready();
        let worker = world.first();
        if world.workers[&worker].retired {
            world.exit(worker, ExitCause::Code(0));
        } else {
            world.serve(worker);
        }
        assert!(world.workers.len() <= 1);
    }
    assert!(world.outcomes.contains_key(&1000));
    assert!(world.outcomes.len() > 80, "the first one goes on");
    assert!(world.outcomes.values().all(|one| one.result.is_ok()));
}
