//! The life of a call: limits, stops, nesting and shutdown.

use super::*;
use crate::api::events::EventKind;
use crate::api::failure::Rejected;

const SECOND: Duration = Duration::from_secs(1);

const KILLED: ExitCause = ExitCause::Signal {
    signal: 9,
    core_dumped: false,
};

fn with_timeout(timeout: Duration) -> Policy {
    Policy {
        timeout: Some(timeout),
        ..call_policy(Retries::none())
    }
}

impl World {
    fn with_grace(grace: Duration) -> Self {
        Self::new(FunctionPolicy {
            grace,
            ..function_policy(1)
        })
    }

    /// Makes a nested call from the first input that a worker executes.
    pub(super) fn nest(&mut self, worker: WorkerKey, number: u32, payload: u64) -> CallKey {
        let (ticket, ..) = self.workers[&worker].executing[0];
        let origin = NestedOrigin {
            id: CallNumber::nested(worker.id, number),
            worker,
            ticket,
        };
        let terms = Arc::new(Terms {
            name: "f",
            policy: Policy {
                after: self.nested_after,
                ..call_policy(Retries::none())
            },
            budget: None,
            called: None,
            show: None,
            longest_delay: None,
        });
        let (now, function) = (self.now, self.function);
        let inputs = Inputs {
            map: self.map,
            caller: self.caller,
            ..Inputs::one(payload)
        };
        let key = self
            .scheduler
            .submit_nested(now, function, terms, origin, inputs);
        self.scheduler.dispatch(now, function);
        self.perform();
        key
    }

    /// Creates a worker that has been executing the first of these calls until its timeout, with a grace of two seconds.
    fn at_the_timeout(payloads: impl IntoIterator<Item = u64>) -> (Self, WorkerKey) {
        let mut world = Self::with_grace(2 * SECOND);
        world.submit(with_timeout(SECOND), payloads);
        world.all_ready();
        let worker = world.first();
        world.begin(worker);
        world.advance(SECOND);
        (world, worker)
    }

    fn worker_of(&self, payload: u64) -> WorkerKey {
        let holds = |worker: &FakeWorker| worker.inbox.iter().any(|(_, held, _)| *held == payload);
        let mut workers = self.workers.iter();
        *workers
            .find(|(_, worker)| holds(worker))
            .expect("it was sent")
            .0
    }

    fn is_ok(&self, payload: u64) -> bool {
        self.outcomes[&payload].result.is_ok()
    }
}

#[test]
fn a_grace_asks_then_terminates_then_kills() {
    let (mut world, worker) = World::at_the_timeout([1]);
    assert_eq!(world.workers[&worker].asked, [1]);
    assert!(!world.workers[&worker].terminated);
    world.advance(SECOND);
    assert!(world.workers[&worker].terminated && !world.workers[&worker].killed);
    assert!(world.outcomes.is_empty(), "the attempt has not ended yet");
    world.advance(SECOND);
    assert!(world.workers[&worker].killed);
    assert!(matches!(world.failure(1), Failure::TimedOut(_)));
}

#[test]
fn a_call_may_have_its_own_grace() {
    for (of_workers, of_call) in [(Duration::ZERO, 2 * SECOND), (2 * SECOND, Duration::ZERO)] {
        let mut world = World::with_grace(of_workers);
        let policy = Policy {
            grace: Some(of_call),
            ..call_policy(Retries::none())
        };
        let keys = world.submit(policy, [1]);
        world.all_ready();
        let worker = world.first();
        world.begin(worker);
        world.scheduler.cancel(keys, Cancelled::ByCaller);
        world.perform();
        assert!(matches!(world.failure(1), Failure::Cancelled(_)));
        world.advance(Duration::from_millis(900));
        let killed = world.workers[&worker].killed;
        assert_eq!(killed, of_call.is_zero());
        world.advance(2 * SECOND);
        assert!(world.workers[&worker].killed);
    }
}

#[test]
fn a_timed_out_attempt_may_end_within_its_grace() {
    let (mut world, worker) = World::at_the_timeout([1, 2]);
    world.answer(worker, ok(1));
    assert!(matches!(world.failure(1), Failure::TimedOut(_)));
    assert_eq!(world.begin(worker), Some((2, 1)));
    world.advance(Duration::from_millis(1500));
    assert!(!world.workers[&worker].terminated, "that was the other one");
}

#[test]
fn one_of_several_async_inputs_is_aborted_alone() {
    let mut world = World::new(FunctionPolicy {
        at_once: 3,
        separable: true,
        ..function_policy(1)
    });
    world.submit(with_timeout(SECOND), [1]);
    world.submit(with_timeout(10 * SECOND), [2, 3]);
    world.all_ready();
    let worker = world.first();
    while world.begin(worker).is_some() {}
    world.advance(SECOND);
    assert_eq!(world.workers[&worker].aborted, [1]);
    assert!(!world.workers[&worker].killed);
    world.answer(worker, Answer::Aborted);
    assert!(matches!(world.failure(1), Failure::TimedOut(_)));
    world.answer(worker, ok(2));
    world.answer(worker, ok(3));
    assert!(world.is_ok(2) && world.is_ok(3));
}

#[test]
fn killing_an_unyielding_call_does_not_blame_others() {
    let mut world = World::new(FunctionPolicy {
        at_once: 2,
        separable: true,
        ..function_policy(1)
    });
    world.submit(with_timeout(SECOND), [1]);
    world.submit(call_policy(Retries::none()), [2]);
    world.all_ready();
    let worker = world.first();
    while world.begin(worker).is_some() {}
    world.advance(SECOND);
    world.advance(Duration::from_millis(50));
    assert!(world.workers[&worker].killed);
    world.exit(worker, KILLED);
    world.all_ready();
    let worker = world.first();
    assert_eq!(world.begin(worker), Some((2, 1)));
}

#[test]
fn the_time_of_an_attempt_that_crashes_counts() {
    let (mut world, worker) = World::with_worker(&[call_policy(Retries::none())]);
    world.begin(worker);
    world.advance(SECOND);
    world.exit(worker, SIGSEGV);
    let statistics = &world.scheduler.statistics()["f"];
    let (begun, ended) = statistics.period.unwrap();
    assert_eq!((statistics.busy, ended - begun), (SECOND, SECOND));
}

/// The signal that asks it to end kills it.
#[test]
fn the_time_of_an_attempt_counts_whose_worker_dies_after_the_timeout() {
    let (mut world, worker) = World::at_the_timeout([1]);
    world.advance(SECOND);
    assert!(world.workers[&worker].terminated && !world.workers[&worker].killed);
    world.exit(worker, KILLED);
    assert!(matches!(world.failure(1), Failure::TimedOut(_)));
    assert_eq!(world.scheduler.statistics()["f"].busy, 2 * SECOND);
}

/// All three have run for too long, but only one of them has kept the others from ending.
#[test]
fn an_unyielding_call_does_not_make_others_time_out() {
    for shows_polled in [true, false] {
        let mut world = World::new(FunctionPolicy {
            at_once: 3,
            separable: true,
            ..function_policy(1)
        });
        world.shows_polled = shows_polled;
        let once = Policy {
            at_most_once: true,
            ..with_timeout(SECOND)
        };
        world.submit(with_timeout(SECOND), [1, 2]);
        world.submit(once, [3]);
        world.all_ready();
        let worker = world.first();
        while world.begin(worker).is_some() {}
        world.advance(SECOND);
        assert_eq!(world.workers[&worker].aborted, [1, 2, 3]);
        world.advance(Duration::from_millis(50));
        assert!(world.workers[&worker].killed);
        world.exit(worker, KILLED);
        assert!(matches!(world.failure(1), Failure::TimedOut(_)));
        assert!(matches!(world.failure(3), Failure::TimedOut(_)));
        if !shows_polled {
            assert!(matches!(world.failure(2), Failure::TimedOut(_)));
            continue;
        }
        world.all_ready();
        let worker = world.first();
        assert_eq!(world.begin(worker), Some((2, 1)), "this is not a retry");
        world.answer(worker, ok(2));
        assert!(world.is_ok(2));
    }
}

#[test]
fn a_batch_is_not_stopped_for_one_of_its_inputs() {
    let mut world = World::new(FunctionPolicy {
        at_once: 2,
        ..function_policy(1)
    });
    let keys = world.submit(call_policy(Retries::none()), [1, 2]);
    world.all_ready();
    let worker = world.first();
    while world.begin(worker).is_some() {}
    world.scheduler.cancel([keys[0]], Cancelled::ByCaller);
    world.perform();
    assert!(!world.workers[&worker].killed);
    world.scheduler.cancel([keys[1]], Cancelled::ByCaller);
    world.perform();
    assert!(world.workers[&worker].killed, "now it is not wanted at all");
}

#[test]
fn exceeding_the_memory_limit_is_a_named_crash() {
    let mut world = World::new(FunctionPolicy {
        memory: Some(100),
        ..function_policy(1)
    });
    let once = Policy {
        at_most_once: true,
        ..call_policy(Retries::none())
    };
    world.submit(once, [1]);
    world.all_ready();
    let worker = world.first();
    world.begin(worker);
    world.scheduler.handle_memory(world.now, worker, 100);
    assert!(!world.workers[&worker].killed);
    world.scheduler.handle_memory(world.now, worker, 101);
    world.perform();
    assert!(world.workers[&worker].killed);
    world.exit(worker, KILLED);
    let Failure::Crashed(crash) = world.failure(1) else {
        panic!("{:?}", world.failure(1));
    };
    let limit = 100;
    assert_eq!(crash.cause(), ExitCause::OutOfMemory { limit, peak: 101 });
}

#[test]
fn arguments_that_exceed_the_memory_limit_are_given_up() {
    for at_most_once in [false, true] {
        let mut world = World::new(FunctionPolicy {
            memory: Some(100),
            ..function_policy(1)
        });
        let policy = Policy {
            at_most_once,
            ..call_policy(Retries::none())
        };
        world.submit(policy, [1]);
        for _ in 0..CRASHES_PER_INPUT {
            assert!(
                world.outcomes.is_empty(),
                "{at_most_once} {:?}",
                world.failure(1)
            );
            world.all_ready();
            // While it receives the call, and has begun none.
            let worker = world.first();
            world.scheduler.handle_memory(world.now, worker, 101);
            world.perform();
            world.exit(worker, KILLED);
        }
        let Failure::Crashed(crash) = world.failure(1) else {
            panic!("{:?}", world.failure(1));
        };
        let limit = 100;
        assert_eq!(crash.cause(), ExitCause::OutOfMemory { limit, peak: 101 });
        // A call that lost nothing but a worker's earlier memory begins in the next one.
        world.submit(policy, [2]);
        world.all_ready();
        let worker = world.first();
        world.scheduler.handle_memory(world.now, worker, 101);
        world.perform();
        world.exit(worker, KILLED);
        world.all_ready();
        let worker = world.first();
        assert!(world.begin(worker).is_some());
        world.answer(worker, ok(2));
        assert!(world.outcomes[&2].result.is_ok());
    }
}

#[test]
fn a_used_up_worker_returns_its_inputs_and_is_replaced() {
    let mut world = World::new(function_policy(1));
    world.submit(call_policy(Retries::none()), [1, 2]);
    world.all_ready();
    let worker = world.first();
    world.begin(worker);
    world.used_up = true;
    world.answer(worker, ok(1));
    assert!(world.workers[&worker].retired);
    world.exit(worker, ExitCause::Code(0));
    world.all_ready();
    let worker = world.first();
    assert_eq!(world.begin(worker), Some((2, 1)));
}

#[test]
fn a_used_up_worker_is_retired_after_its_nested_call() {
    let mut world = World::new(FunctionPolicy {
        max_calls_per_worker: Some(1),
        ..function_policy(1)
    });
    let first = world.function;
    let other = world.scheduler.add_function(function_policy(1));
    world.submit(call_policy(Retries::none()), [1, 2]);
    world.all_ready();
    let outer = world.first();
    world.begin(outer);
    world.function = other;
    world.nest(outer, 1, 10);
    world.function = first;
    world.all_ready();
    let inner = world.worker_of(10);
    // The outer call ends without waiting for the nested one.
    world.answer(outer, ok(1));
    world.begin(inner);
    world.answer(inner, ok(10));
    assert!(world.workers[&outer].retired);
}

#[test]
fn a_draining_worker_gets_no_further_calls() {
    let mut world = World::new(FunctionPolicy {
        at_once: 3,
        separable: true,
        grace: 10 * SECOND,
        ..function_policy(1)
    });
    world.submit(with_timeout(SECOND), [1]);
    world.submit(with_timeout(3 * SECOND), [2]);
    world.all_ready();
    let worker = world.first();
    while world.begin(worker).is_some() {}
    world.advance(SECOND);
    assert_eq!(world.workers[&worker].asked, [1]);
    // Meanwhile the other input is probed.
    let keys = world.submit(with_timeout(SECOND), [3]);
    world.scheduler.handle_progress(
        world.now,
        worker,
        &Progress {
            claimed: 2,
            is_sending: false,
            executing: vec![Executing {
                ticket: 2,
                since: Some(world.now),
            }],
            polled: None,
        },
    );
    world.perform();
    assert!(world.workers[&worker].inbox.is_empty());
    world.scheduler.cancel(keys, Cancelled::ByCaller);
    world.perform();
}

#[test]
fn min_workers_are_kept_without_a_restart_loop() {
    let mut world = World::new(FunctionPolicy {
        min_workers: 2,
        ..function_policy(4)
    });
    world.submit(call_policy(Retries::none()), [1]);
    assert_eq!(world.spawned, 2);
    world.all_ready();
    let worker = world.worker_of(1);
    world.begin(worker);
    world.answer(worker, ok(1));
    world.advance(Duration::from_secs(200));
    assert!(world.workers.values().all(|worker| !worker.retired));
    world.exit(worker, KILLED);
    assert_eq!(world.spawned, 3, "restored");
    let starting = world.workers.iter().find(|(_, worker)| !worker.ready);
    let starting = *starting.expect("the new one").0;
    world.exit(starting, ExitCause::Code(1));
    assert_eq!(world.spawned, 3, "no call waits");
}

#[test]
fn resolved_calls_take_no_memory() {
    let mut world = World::new(function_policy(1));
    let deadline = Policy {
        deadline: Some(3600 * SECOND),
        ..call_policy(Retries::none())
    };
    world.submit(deadline, [0]);
    world.all_ready();
    let worker = world.first();
    world.begin(worker);
    // One call stays in the queue, behind all of the others.
    let keys = world.submit(deadline, 1..10_000);
    assert!(world.scheduler.timers.len() >= 10_000);
    let cancelled = keys[..keys.len() - 1].iter().copied();
    world.scheduler.cancel(cancelled, Cancelled::ByCaller);
    world.perform();
    assert!(world.scheduler.timers.capacity() < 300);
    assert!(world.scheduler.functions[0].queue.len() < 200);
    world.answer(worker, ok(0));
    let (last, _) = world.begin(worker).expect("the last one");
    world.answer(worker, ok(last));
    assert_eq!(world.scheduler.calls.capacity(), 0);
    assert!(world.scheduler.actions.capacity() <= MAX_IDLE_CAPACITY);
}

#[test]
fn retiring_idle_workers_keeps_min_workers() {
    let mut world = World::new(FunctionPolicy {
        min_workers: 2,
        ..function_policy(4)
    });
    world.submit(call_policy(Retries::none()), 0..4);
    world.all_ready();
    let workers: Vec<WorkerKey> = world.workers.keys().copied().collect();
    for key in workers {
        let (input, _) = world.begin(key).expect("one for each");
        world.answer(key, ok(input));
    }
    world.advance(Duration::from_secs(200));
    let retired = |worker: &&FakeWorker| worker.retired;
    assert_eq!(world.workers.values().filter(retired).count(), 2);
    assert_eq!(world.spawned, 4);
}

#[test]
fn a_waiting_worker_makes_room_for_its_nested_call() {
    let mut world = World::new(function_policy(1));
    world.submit(call_policy(Retries::none()), [1, 2]);
    world.all_ready();
    let outer = world.first();
    world.begin(outer);
    assert_eq!(world.workers[&outer].inbox.len(), 1);
    world.nest(outer, 1, 10);
    assert!(world.workers[&outer].inbox.is_empty(), "it was taken back");
    assert_eq!(world.spawned, 2);
    world.all_ready();
    let inner = world.worker_of(10);
    assert_eq!(
        world.begin(inner),
        Some((10, 1)),
        "before what waited longer"
    );
    world.answer(inner, ok(10));
    assert!(world.is_ok(10));
    // Both workers could run the other call now, but only one may.
    assert_eq!(world.begin(inner), None);
    world.answer(outer, ok(1));
    let next = world.worker_of(2);
    assert_eq!(world.begin(next), Some((2, 1)));
}

#[test]
fn top_level_calls_do_not_wait_for_waiting_workers() {
    let mut world = World::new(function_policy(1));
    world.submit(call_policy(Retries::none()), 1..=4);
    let first = world.function;
    let other = world.scheduler.add_function(function_policy(1));
    let mut outer = Vec::new();
    for (input, nested) in (1..=2).zip(10..) {
        world.all_ready();
        let worker = world.worker_of(input);
        world.begin(worker);
        world.function = other;
        world.nest(worker, 1, nested);
        world.function = first;
        outer.push(worker);
    }
    world.all_ready();
    let executing = |world: &World| {
        let workers = world.workers.values();
        workers.map(|worker| worker.executing.len()).sum::<usize>()
    };
    assert_eq!(executing(&world), 2);
    assert_eq!(world.workers.len(), 3, "a third one might wait as well");
    let inner = world.worker_of(10);
    for input in 10..=11 {
        world.begin(inner);
        world.answer(inner, ok(input));
    }
    for (worker, input) in outer.iter().zip(1..) {
        world.answer(*worker, ok(input));
    }
    for _ in 3..=4 {
        let (worker, input) = outer
            .iter()
            .find_map(|worker| Some((*worker, world.begin(*worker)?.0)))
            .expect("the next one");
        world.answer(worker, ok(input));
    }
    assert_eq!(world.outcomes.len(), 6);
}

#[test]
fn nesting_depth_is_limited() {
    let mut world = World::new(function_policy(1));
    world.submit(call_policy(Retries::none()), [0]);
    for level in 0..10 {
        world.all_ready();
        let worker = world.worker_of(level);
        world.begin(worker);
        world.nest(worker, 1, level + 1);
    }
    world.all_ready();
    let deepest = world.worker_of(10);
    world.begin(deepest);
    world.nest(deepest, 1, 11);
    let Failure::Rejected(Rejected::TooDeep { limit }) = world.failure(11) else {
        panic!("{:?}", world.failure(11));
    };
    assert_eq!(*limit, 10);
    assert_eq!(world.outcomes.len(), 1);
}

#[test]
fn a_nested_call_ends_with_its_outer_call() {
    let mut world = World::new(function_policy(1));
    world.submit(call_policy(Retries::none()), [1]);
    world.all_ready();
    let outer = world.first();
    world.begin(outer);
    world.nest(outer, 1, 10);
    world.all_ready();
    let inner = world.worker_of(10);
    world.begin(inner);
    world.exit(outer, SIGSEGV);
    let Failure::Cancelled(why) = world.failure(10) else {
        panic!("{:?}", world.failure(10));
    };
    assert_eq!(*why, Cancelled::WithOuterCall);
    assert!(world.workers[&inner].killed);
}

#[test]
fn a_shutdown_rejects_calls_and_ends_after_its_grace() {
    let mut world = World::new(function_policy(2));
    world.submit(call_policy(Retries::none()), [1, 2]);
    world.all_ready();
    let (quick, slow) = (world.worker_of(1), world.worker_of(2));
    world.begin(quick);
    world.begin(slow);
    world.scheduler.shut_down(world.now, SECOND, true, true);
    world.perform();
    world.submit(call_policy(Retries::none()), [3]);
    let shut_down = |failure: &Failure| matches!(failure, Failure::Rejected(Rejected::ShutDown));
    assert!(shut_down(world.failure(3)));
    world.answer(quick, ok(1));
    assert!(world.is_ok(1));
    world.advance(SECOND);
    assert!(matches!(world.failure(2), Failure::Cancelled(_)));
    assert_eq!(world.scheduler.abandoned().len(), 1);
    assert!(world.workers[&slow].killed);
    world.exit(slow, KILLED);
    assert!(world.workers[&quick].retired);
    assert!(!world.scheduler.is_drained());
    world.exit(quick, ExitCause::Code(0));
    assert!(world.scheduler.is_drained());
}

#[test]
fn prefetched_is_not_executing_and_cancelled_is_not_failed() {
    let mut world = World::new(function_policy(1));
    world.submit(call_policy(Retries::none()), 0..6);
    let worker = world.first();
    world.ready(worker);
    assert!(world.begin(worker).is_some());
    world.answer(worker, ok(0));
    assert!(world.begin(worker).is_some());
    assert!(world.workers[&worker].inbox.len() > 1, "it has work ahead");
    assert_eq!(world.scheduler.pending(), (1, 4));
    world.scheduler.shut_down(world.now, SECOND, false, true);
    world.perform();
    world.advance(SECOND);
    world.exit(worker, KILLED);
    let counts = world.scheduler.read()[0].counts;
    assert_eq!(
        (counts.finished, counts.cancelled, counts.failed),
        (6, 5, 0)
    );
    assert_eq!(world.scheduler.pending(), (0, 0));
}

#[test]
fn cancelled_calls_that_a_worker_still_has_are_not_pending() {
    let mut world = World::new(function_policy(1));
    world.submit(call_policy(Retries::none()), 0..6);
    let worker = world.first();
    world.ready(worker);
    assert!(world.begin(worker).is_some());
    world.scheduler.cancel_where(|_| true, Cancelled::ByCaller);
    assert!(world.scheduler.read()[0].counts.finished < 6);
    assert_eq!(world.scheduler.pending(), (0, 0));
}

/// The outer function passes the error of the nested call on, or panics because of it.
#[test]
fn a_call_that_fails_since_a_nested_one_is_cancelled_is_cancelled() {
    for answer in [err(false), panic()] {
        let mut world = World::new(function_policy(1));
        world.submit(call_policy(Retries::none()), [1]);
        world.all_ready();
        let outer = world.first();
        world.begin(outer);
        world.nest(outer, 1, 10);
        world.scheduler.shut_down(world.now, SECOND, false, true);
        world.perform();
        assert!(matches!(world.failure(10), Failure::Cancelled(_)));
        world.answer(outer, answer);
        assert!(matches!(
            world.failure(1),
            Failure::Cancelled(Cancelled::ByShutdown)
        ));
        let counts = world.scheduler.read()[0].counts;
        assert_eq!((counts.cancelled, counts.failed), (2, 0));
    }
}

/// Answers that are not taken in yet cannot be recalled: their inputs still wait behind another
/// one.
#[test]
fn a_shutdown_does_not_restart_starting_workers() {
    let mut world = World::new(function_policy(2));
    world.submit(call_policy(Retries::none()), 0..3);
    let worker = world.first();
    world.ready(worker);
    while world.begin(worker).is_some() {
        world.answer_unread(worker);
    }
    let spawned = world.spawned;
    world.scheduler.shut_down(world.now, SECOND, false, true);
    world.perform();
    let killed = |(key, worker): (&WorkerKey, &FakeWorker)| worker.killed.then_some(*key);
    if let Some(killed) = world.workers.iter().find_map(killed) {
        world.exit(killed, KILLED);
    }
    assert_eq!(world.spawned, spawned);
    world.read(worker);
    assert_eq!(world.outcomes.len(), 3);
    for key in world.workers.keys().copied().collect::<Vec<_>>() {
        world.exit(key, KILLED);
    }
    assert!(world.scheduler.is_drained());
}

/// Random histories with everything at once. Whatever happens, every call is resolved once, an
/// at-most-once call runs at most once, and a shutdown completes.
#[test]
fn every_history_with_a_shutdown_ends() {
    let first = std::env::var("RETRY_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let seeds = first.map_or(0..3000, |seed: u64| seed..seed + 1);
    for seed in seeds {
        if let Err(panic) = std::panic::catch_unwind(|| life(seed)) {
            eprintln!("RETRY_SEED={seed}");
            std::panic::resume_unwind(panic);
        }
    }
}

pub(super) fn random_policy(random: &mut fastrand::Rng) -> Policy {
    let milliseconds = |random: &mut fastrand::Rng| Duration::from_millis(random.u64(1..200));
    let at_most_once = random.u8(0..5) == 0;
    let retries = if at_most_once { 0 } else { random.u32(0..3) };
    Policy {
        retries: Retries::fixed(retries, Duration::from_millis(random.u64(0..5))),
        timeout: random.bool().then(|| milliseconds(random)),
        deadline: (random.u8(0..4) == 0).then(|| 3 * milliseconds(random)),
        at_most_once,
        grace: random
            .choice([None, Some(Duration::ZERO), Some(Duration::from_millis(20))])
            .unwrap_or(None),
        after: Duration::from_millis(random.choice([0, 0, 0, 30]).unwrap_or(0)),
    }
}

fn life(seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    let at_once = random.choice([1, 1, 1, 3]).unwrap_or(1);
    let mut world = World::new(FunctionPolicy {
        at_once,
        separable: at_once > 1 && random.bool(),
        grace: Duration::from_millis(random.choice([0, 0, 40]).unwrap_or(0)),
        crash_limit: CrashLimit::unlimited(),
        min_workers: random.usize(0..2),
        ..function_policy(random.usize(1..4))
    });
    world.chunks = random.bool();
    world.map = random.bool();
    world.shows_work = random.u8(0..8) > 0;
    world.shows_time = random.u8(0..8) > 0;
    world.shows_polled = random.bool();
    if random.bool() {
        world.scheduler.set_interest(Interest::Failures);
    }
    let mut keys = Vec::new();
    let mut once = Vec::new();
    let mut executions = BTreeMap::<u64, u32>::new();
    let mut next = 0;
    let mut nested = 0;
    for step in 0..400 {
        world.used_up = random.u8(0..10) == 0;
        if step < 300 && random.u8(0..3) == 0 {
            let policy = random_policy(&mut random);
            let last = next + if world.chunks { random.u64(0..8) } else { 0 };
            if policy.at_most_once {
                once.extend(next..=last);
            }
            keys.extend(world.submit(policy, next..=last));
            next = last + 1;
        }
        if random.u8(0..10) == 0
            && let Some(key) = random.choice(&keys)
        {
            world.scheduler.cancel([*key], Cancelled::ByCaller);
            world.perform();
        }
        if step == 350 {
            let grace = Duration::from_millis(random.u64(0..50));
            let now = world.now;
            world
                .scheduler
                .shut_down(now, grace, random.bool(), random.bool());
            world.perform();
        }
        let workers: Vec<WorkerKey> = world.workers.keys().copied().collect();
        let Some(key) = random.choice(&workers).copied() else {
            world.advance(Duration::from_millis(random.u64(0..20)));
            continue;
        };
        let worker = &world.workers[&key];
        if worker.killed || worker.terminated || worker.retired && worker.inbox.is_empty() {
            world.exit(key, KILLED);
        } else if !worker.ready {
            if random.u8(0..20) == 0 {
                world.exit(key, ExitCause::Code(1));
            } else {
                world.ready(key);
            }
        } else if let Some((input, _)) = world.begin(key) {
            *executions.entry(input).or_default() += 1;
        } else if !world.workers[&key].executing.is_empty() {
            match random.u8(0..12) {
                0 => world.exit(key, SIGSEGV),
                1 | 2 => world.answer(key, err(random.bool())),
                3 if step < 300 => {
                    nested += 1;
                    world.nest(key, nested, next);
                    next += 1;
                }
                4..=6 => world.advance(Duration::from_millis(random.u64(0..60))),
                _ => {
                    let first = world.workers[&key].executing[0];
                    if world.workers[&key].aborted.contains(&first.0) {
                        world.answer(key, Answer::Aborted);
                    } else if random.bool() {
                        world.answer_unread(key);
                    } else {
                        world.answer(key, ok(first.1));
                    }
                }
            }
        } else {
            world.read(key);
            world.advance(Duration::from_millis(random.u64(0..20)));
        }
    }
    // Let everything that still runs end.
    world.used_up = false;
    for step in 0.. {
        assert!(
            step < 10_000,
            "it does not end: {:?} {:?} {:?}",
            world.scheduler.calls,
            world.scheduler.workers,
            world.workers
        );
        if world.scheduler.is_drained() {
            break;
        }
        world.advance(Duration::from_millis(10));
        let workers: Vec<WorkerKey> = world.workers.keys().copied().collect();
        for key in workers {
            let worker = &world.workers[&key];
            if worker.killed || worker.terminated || worker.retired {
                world.exit(key, KILLED);
            } else if !worker.ready {
                world.ready(key);
            } else if let Some((input, _)) = world.begin(key) {
                *executions.entry(input).or_default() += 1;
            } else if !world.workers[&key].executing.is_empty() {
                world.answer(key, ok(0));
            } else {
                world.read(key);
            }
        }
    }
    assert_eq!(world.outcomes.len() as u64, next, "every call is resolved");
    let mut slow = BTreeSet::new();
    for event in &world.events {
        if let EventKind::Slow { .. } = event.kind {
            let attempt = (
                event.call.map(|call| call.number()),
                event.attempt,
                event.worker,
            );
            assert!(slow.insert(attempt), "{attempt:?} is slow twice");
        }
    }
    for input in once {
        let executed = executions.get(&input).copied().unwrap_or(0);
        assert!(executed <= 1, "input {input} was executed {executed} times");
    }
}

#[test]
fn an_overview_has_the_calls_in_each_state() {
    let mut world = World::new(function_policy(1));
    world.submit(call_policy(Retries::fixed(1, 5 * SECOND)), [1, 2]);
    world.submit(call_policy(Retries::none()), 3..=7);
    world.all_ready();
    let worker = world.first();
    for answer in [err(true), err(true), ok(3)] {
        world.begin(worker);
        world.advance(SECOND);
        world.answer(worker, answer);
    }
    world.begin(worker);
    let overview = world.scheduler.overview();
    let expected = Overview {
        executing: 1,
        queued: 3,
        delayed: 2,
        next_retry: Some(world.now + 3 * SECOND),
        done: 1,
    };
    assert_eq!(overview, expected);
    let keys = world
        .scheduler
        .keys_where(|call| call.state == CallState::Delayed);
    world.scheduler.cancel(keys, Cancelled::ByCaller);
    world.perform();
    let overview = world.scheduler.overview();
    assert_eq!(
        (overview.delayed, overview.next_retry, overview.done),
        (0, None, 3)
    );
}

#[test]
fn an_unknown_ticket_breaks_the_protocol() {
    let mut world = World::new(function_policy(1));
    world.submit(call_policy(Retries::none()), [1]);
    world.all_ready();
    let worker = world.first();
    world.begin(worker);
    for answer in [ok(1), err(false)] {
        let reply = AnswerReport {
            answer,
            ..AnswerReport::untimed(Payload::NONE)
        };
        let now = world.now;
        let taken = world.scheduler.handle_answer(now, worker, u64::MAX, reply);
        assert!(taken.is_err());
    }
    let impossible = Progress {
        claimed: u64::MAX,
        is_sending: false,
        executing: vec![Executing {
            ticket: u64::MAX,
            since: Some(world.now),
        }],
        polled: Some(u64::MAX),
    };
    world
        .scheduler
        .handle_progress(world.now, worker, &impossible);
}

#[test]
fn withdrawn_concurrent_inputs_each_have_an_attempt() {
    for chunks in [false, true] {
        let mut world = World::new(FunctionPolicy {
            at_once: 3,
            separable: true,
            ..function_policy(1)
        });
        world.chunks = chunks;
        let policy = Policy {
            deadline: Some(SECOND),
            ..call_policy(Retries::none())
        };
        world.submit(policy, 0..3);
        world.all_ready();
        let worker = world.first();
        while world.begin(worker).is_some() {}
        world.advance(SECOND);
        let attempts = world.outcomes.values().map(|one| one.attempts().len());
        assert_eq!(attempts.collect::<Vec<_>>(), [1, 1, 1], "chunks: {chunks}");
    }
}
