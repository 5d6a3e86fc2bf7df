//! Deadlines of calls, and of the inputs of maps.

use super::*;
use crate::api::failure::Waiting;

const SECOND: Duration = Duration::from_secs(1);

fn policy(retries: Retries) -> Policy {
    Policy {
        deadline: Some(SECOND),
        ..call_policy(retries)
    }
}

impl World {
    fn waited_for(&self, input: u64) -> Option<Waiting> {
        match self.failure(input) {
            Failure::TimedOut(timed_out) => timed_out.waiting_for(),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn queue_time_counts_for_calls_but_not_for_map_inputs() {
    for map in [false, true] {
        let mut world = World::new(function_policy(1));
        world.map = map;
        world.chunks = map;
        world.submit(policy(Retries::none()), 1..=4);
        world.all_ready();
        let worker = world.first();
        for input in 1..=4 {
            assert_eq!(world.begin(worker), Some((input, 1)));
            world.advance(SECOND * 7 / 10);
            if !map && input == 2 {
                break;
            }
            world.answer(worker, ok(input));
        }
        if map {
            assert!(world.outcomes.values().all(|one| one.result.is_ok()));
        } else {
            assert_eq!(world.waited_for(2), Some(Waiting::Attempt));
            assert_eq!(world.waited_for(3), Some(Waiting::Worker));
            assert!(world.outcomes[&3].attempts().is_empty());
        }
    }
}

#[test]
fn a_deadline_begins_after_the_delay_of_the_start() {
    let mut world = World::new(function_policy(1));
    let later = Policy {
        after: 10 * SECOND,
        ..policy(Retries::none())
    };
    let keys = world.submit(later, [1, 2]);
    world.all_ready();
    world.advance(9 * SECOND);
    assert_eq!(world.spawned, 0, "nothing is to be done yet");
    world.scheduler.cancel([keys[1]], Cancelled::ByCaller);
    world.perform();
    assert!(matches!(world.failure(2), Failure::Cancelled(_)));
    world.advance(SECOND);
    world.all_ready();
    let worker = world.first();
    assert_eq!(world.begin(worker), Some((1, 1)));
    world.advance(SECOND);
    assert_eq!(world.waited_for(1), Some(Waiting::Attempt));
}

/// The deadline of the outer call counts from its own start.
#[test]
fn an_outer_deadline_ends_the_delay_of_a_nested_start() {
    let mut world = World::new(function_policy(1));
    world.submit(policy(Retries::none()), [1]);
    world.all_ready();
    let outer = world.first();
    world.begin(outer);
    world.nested_after = 10 * SECOND;
    world.nest(outer, 1, 10);
    world.advance(SECOND);
    assert!(matches!(
        world.failure(10),
        Failure::TimedOut(_) | Failure::Cancelled(_)
    ));
    assert!(world.outcomes[&10].attempts().is_empty());
}

#[test]
fn a_map_deadline_counts_from_the_first_attempt() {
    let mut world = World::new(function_policy(1));
    world.map = true;
    world.submit(policy(Retries::fixed(9, SECOND / 5)), [1]);
    world.advance(10 * SECOND);
    world.all_ready();
    let worker = world.first();
    let mut attempts = 0;
    while world.outcomes.is_empty() {
        if world.begin(worker).is_some() {
            attempts += 1;
            world.advance(SECOND / 5);
            world.answer(worker, err(true));
        } else {
            world.advance(SECOND / 10);
        }
    }
    assert_eq!(attempts, 3, "after 200, 600 and 1000 ms");
    assert!(matches!(world.failure(1), Failure::Function(_)));
}

#[test]
fn a_deadline_before_the_retry_keeps_the_error() {
    let mut world = World::new(function_policy(1));
    world.submit(policy(Retries::fixed(1, SECOND / 2)), [1]);
    world.all_ready();
    let worker = world.first();
    world.begin(worker);
    world.submit(call_policy(Retries::none()), [2]);
    world.answer(worker, err(true));
    world.begin(worker);
    world.advance(2 * SECOND);
    assert!(matches!(world.failure(1), Failure::Function(_)));
}

#[test]
fn a_crash_of_another_input_does_not_begin_the_deadline() {
    for chunks in [false, true] {
        let mut world = World::new(function_policy(1));
        world.map = true;
        world.chunks = chunks;
        world.submit(policy(Retries::none()), 1..=2);
        world.all_ready();
        let worker = world.first();
        world.begin(worker);
        assert_eq!(world.workers[&worker].inbox.len(), 1);
        world.exit(worker, SIGSEGV);
        // The next worker takes longer than the deadline to start.
        world.advance(10 * SECOND);
        world.all_ready();
        let worker = world.first();
        assert_eq!(world.begin(worker), Some((2, 1)));
        world.answer(worker, ok(2));
        assert!(world.outcomes[&2].result.is_ok(), "chunks: {chunks}");
    }
}
