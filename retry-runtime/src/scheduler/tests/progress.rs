//! Calls that end while a worker has them, and workers that show nothing useful about their work.

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn with_timeout() -> Policy {
    Policy {
        timeout: Some(SECOND),
        ..call_policy(Retries::none())
    }
}

fn with_deadline() -> Policy {
    Policy {
        deadline: Some(SECOND),
        ..call_policy(Retries::none())
    }
}

impl World {
    pub(super) fn with_worker(policies: &[Policy]) -> (Self, WorkerKey) {
        let mut world = Self::new(function_policy(1));
        for (policy, input) in policies.iter().zip(1..) {
            world.submit(*policy, [input]);
        }
        world.all_ready();
        let worker = world.first();
        (world, worker)
    }
}

#[test]
fn a_withdrawn_prefetched_input_has_no_attempt() {
    let (mut world, worker) = World::with_worker(&[with_deadline(), with_deadline()]);
    world.begin(worker);
    assert_eq!(world.workers[&worker].inbox.len(), 1);
    world.advance(SECOND);
    assert_eq!(world.outcomes[&1].attempts().len(), 1);
    assert_eq!(world.outcomes[&2].attempts().len(), 0);
}

#[test]
fn a_withdrawn_attempt_starts_with_its_execution() {
    let (mut world, worker) = World::with_worker(&[call_policy(Retries::none()), with_deadline()]);
    world.begin(worker);
    world.advance(SECOND / 2);
    world.answer(worker, ok(1));
    world.begin(worker);
    world.advance(SECOND / 2);
    let [attempt] = world.outcomes[&2].attempts() else {
        panic!("one attempt");
    };
    assert_eq!(attempt.duration, SECOND / 2);
}

#[test]
fn a_claim_without_a_start_times_out() {
    for shows_work in [false, true] {
        let (mut world, worker) = World::with_worker(&[with_timeout()]);
        world.shows_work = shows_work;
        world.shows_time = false;
        world.begin(worker);
        world.advance(SECOND);
        assert!(
            world.outcomes.is_empty(),
            "its answer may be about to be read"
        );
        world.advance(SECOND / 2);
        assert!(matches!(world.failure(1), Failure::TimedOut(_)));
        assert!(world.workers[&worker].killed);
    }
}

#[test]
fn an_unwanted_hidden_input_is_stopped() {
    let mut world = World::new(function_policy(1));
    let keys = world.submit(call_policy(Retries::none()), [1]);
    world.all_ready();
    let worker = world.first();
    world.shows_work = false;
    world.begin(worker);
    world.scheduler.cancel(keys, Cancelled::ByCaller);
    world.perform();
    for _ in 0..3 {
        world.advance(SECOND / 5);
    }
    assert_eq!(world.outcomes[&1].attempts().len(), 1);
    assert!(world.workers[&worker].killed);
}

#[test]
fn a_worker_that_claims_nothing_is_replaced() {
    let (mut world, _) = World::with_worker(&[with_timeout()]);
    for round in 0..3 {
        world.all_ready();
        let worker = world.first();
        for _ in 0..4 {
            world.advance(SECOND / 2);
        }
        assert_eq!(world.outcomes.is_empty(), round < 2);
        assert!(world.workers[&worker].killed);
        world.exit(worker, SIGSEGV);
    }
    assert!(matches!(world.failure(1), Failure::Lost(_)));
    assert!(world.outcomes[&1].attempts().is_empty(), "it has not begun");
}

#[test]
fn an_at_most_once_input_that_may_have_run_is_not_retried() {
    let once = Policy {
        at_most_once: true,
        ..with_timeout()
    };
    let (mut world, _) = World::with_worker(&[once]);
    for _ in 0..4 {
        world.advance(SECOND / 2);
    }
    assert!(matches!(world.failure(1), Failure::Lost(_)));
}

#[test]
fn a_final_answer_after_the_withdrawal_counts() {
    for retries in [0, 3] {
        let mut world = World::new(function_policy(1));
        let keys = world.submit(call_policy(Retries::from(retries)), [1, 2]);
        world.all_ready();
        let worker = world.first();
        world.shows_work = false;
        world.begin(worker);
        world.scheduler.cancel([keys[0]], Cancelled::ByCaller);
        world.perform();
        assert!(world.outcomes.is_empty());
        world.answer(worker, err(true));
        match world.failure(1) {
            Failure::Function(_) => assert_eq!(retries, 0),
            Failure::Cancelled(_) => assert_eq!(retries, 3, "it is not retried"),
            other => panic!("{other:?}"),
        }
        assert_eq!(world.outcomes[&1].attempts().len(), 1);
    }
}
