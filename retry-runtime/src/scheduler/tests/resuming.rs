//! Calls that enter with attempts behind them, and calls that are handed back for another scheduler.

use super::*;
use crate::job::resumption::Resumption;

const SECOND: Duration = Duration::from_secs(1);

impl World {
    fn resume(&mut self, policy: Policy, input: u64, resumption: Resumption) {
        let terms = Arc::new(Terms {
            name: "f",
            policy,
            budget: None,
            called: None,
            show: None,
            longest_delay: Some(SECOND),
        });
        self.scheduler.resume(
            self.now,
            self.function,
            terms,
            Inputs::one(input),
            resumption,
        );
        self.scheduler.dispatch(self.now, self.function);
        self.perform();
        self.all_ready();
    }

    fn handed_back(&self, input: u64) -> &Resumption {
        match self.failure(input) {
            Failure::HandedBack(resumption) => resumption,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_resumed_call_goes_on_with_its_numbers_and_budgets() {
    let mut world = World::new(function_policy(1));
    let behind = Resumption {
        attempt: 3,
        failures: 2,
        ..Resumption::default()
    };
    world.resume(call_policy(Retries::fixed(3, SECOND / 2)), 1, behind);
    let worker = world.first();
    assert_eq!(world.begin(worker), Some((1, 3)));
    world.answer(worker, err(true));
    world.advance(SECOND / 2);
    assert_eq!(world.begin(worker), Some((1, 4)));
    world.answer(worker, err(true));
    assert!(matches!(world.failure(1), Failure::Function(_)));
}

#[test]
fn crashes_elsewhere_count() {
    let mut world = World::new(function_policy(1));
    let behind = Resumption {
        attempt: 3,
        crashes: 2,
        ..Resumption::default()
    };
    world.resume(call_policy(Retries::none()), 1, behind);
    let worker = world.first();
    assert_eq!(world.begin(worker), Some((1, 3)));
    world.exit(worker, SIGSEGV);
    assert!(matches!(world.failure(1), Failure::Crashed(_)));
}

#[test]
fn a_resumed_call_waits_for_the_rest_of_its_delay() {
    let mut world = World::new(function_policy(1));
    let behind = Resumption {
        attempt: 2,
        delay: 10 * SECOND,
        ..Resumption::default()
    };
    world.resume(call_policy(Retries::none()), 1, behind);
    world.submit(call_policy(Retries::none()), [2]);
    world.all_ready();
    let worker = world.first();
    assert_eq!(world.begin(worker), Some((2, 1)), "it holds nothing up");
    world.answer(worker, ok(2));
    world.advance(10 * SECOND - Duration::from_millis(1));
    assert_eq!(world.begin(worker), None);
    world.advance(Duration::from_millis(1));
    assert_eq!(world.begin(worker), Some((1, 2)));
}

#[test]
fn the_rest_of_a_deadline_is_kept_with_the_last_error() {
    let mut world = World::new(function_policy(1));
    // Inputs of maps have a deadline that begins with the first attempt, which was made elsewhere.
    world.map = true;
    let behind = Resumption {
        attempt: 2,
        delay: SECOND,
        left: Some(SECOND / 2),
        last: Some(Failure::Function(Bytes::from_static(b"elsewhere"))),
        ..Resumption::default()
    };
    let policy = Policy {
        deadline: Some(60 * SECOND),
        ..call_policy(Retries::fixed(3, SECOND / 10))
    };
    world.resume(policy, 1, behind);
    world.advance(SECOND / 2);
    assert!(matches!(world.failure(1), Failure::Function(error) if error == "elsewhere"));
}

#[test]
fn a_call_with_a_long_delay_is_handed_back() {
    let mut world = World::new(function_policy(1));
    let policy = Policy {
        deadline: Some(60 * SECOND),
        ..call_policy(Retries::fixed(3, 5 * SECOND))
    };
    world.resume(policy, 1, Resumption::default());
    let worker = world.first();
    assert_eq!(world.begin(worker), Some((1, 1)));
    world.advance(2 * SECOND);
    world.answer(worker, err(true));
    let back = world.handed_back(1);
    assert_eq!((back.attempt, back.failures), (2, 1));
    assert_eq!(back.attempts.len(), 1);
    assert_eq!((back.delay, back.left), (5 * SECOND, Some(58 * SECOND)));
    assert!(matches!(back.last, Some(Failure::Function(_))));
    let counts = world.scheduler.read()[0].counts;
    assert_eq!(
        (counts.submitted, counts.finished),
        (0, 0),
        "it is not here any more"
    );

    // The last failure is final wherever it happens.
    let last = Resumption {
        failures: 3,
        ..back.clone()
    };
    world.outcomes.clear();
    world.resume(policy, 1, last);
    world.advance(5 * SECOND);
    assert_eq!(world.begin(worker), Some((1, 2)));
    world.answer(worker, err(true));
    assert!(matches!(world.failure(1), Failure::Function(_)));
}

#[test]
fn a_short_delay_is_waited_for_where_the_call_is() {
    let mut world = World::new(function_policy(1));
    world.resume(
        call_policy(Retries::fixed(1, SECOND)),
        1,
        Resumption::default(),
    );
    let worker = world.first();
    world.begin(worker);
    world.answer(worker, err(true));
    world.advance(SECOND);
    assert_eq!(world.begin(worker), Some((1, 2)));
}

#[test]
fn calls_of_a_lost_task_are_killed_whatever_their_grace() {
    let mut world = World::new(function_policy(1));
    let policy = Policy {
        grace: Some(60 * SECOND),
        ..call_policy(Retries::none())
    };
    world.submit(policy, [1, 2, 3]);
    world.all_ready();
    let worker = world.first();
    world.begin(worker);
    world.scheduler.kill_where(|inputs| inputs.first == 2);
    world.perform();
    assert!(!world.workers[&worker].killed, "it executes another call");
    assert!(matches!(world.failure(2), Failure::Cancelled(_)));
    world.scheduler.kill_where(|inputs| inputs.first == 1);
    world.perform();
    assert!(world.workers[&worker].killed);
    world.exit(worker, SIGSEGV);
    assert!(matches!(world.failure(1), Failure::Cancelled(_)));
    world.all_ready();
    let worker = world.first();
    assert_eq!(
        world.begin(worker),
        Some((3, 1)),
        "nothing has happened to it"
    );
}

#[test]
fn an_at_most_once_call_that_has_begun_is_not_handed_back() {
    let mut world = World::new(function_policy(1));
    let policy = Policy {
        at_most_once: true,
        ..call_policy(Retries::none())
    };
    world.submit(policy, [1, 2]);
    world.all_ready();
    let worker = world.first();
    world.begin(worker);
    world.scheduler.hand_back_where(world.now, |_| true);
    world.perform();
    assert_eq!(world.handed_back(2).attempt, 1, "it has not begun");
    assert!(world.workers[&worker].killed);
    world.exit(worker, SIGSEGV);
    assert!(matches!(
        world.failure(1),
        Failure::Cancelled(Cancelled::ByShutdown)
    ));
}

#[test]
fn a_call_that_is_handed_back_while_it_runs_keeps_its_attempt() {
    let mut world = World::new(function_policy(1));
    world.submit(call_policy(Retries::fixed(2, Duration::ZERO)), [1]);
    world.all_ready();
    let worker = world.first();
    world.begin(worker);
    world.answer(worker, err(true));
    world.begin(worker);
    world.scheduler.hand_back_where(world.now, |_| true);
    world.perform();
    world.exit(worker, SIGSEGV);
    let back = world.handed_back(1);
    assert_eq!((back.attempt, back.failures), (3, 1));
    assert_eq!(back.attempts.len(), 2);
}

#[test]
fn workers_of_a_stopped_agent_crash_without_blame() {
    let policy = FunctionPolicy {
        crash_limit: CrashLimit::new(1, 60 * SECOND),
        ..function_policy(2)
    };
    let mut world = World::new(policy);
    world.submit(call_policy(Retries::none()), [1]);
    for _ in 0..5 {
        world.all_ready();
        let worker = world.first();
        assert_eq!(world.begin(worker), Some((1, 1)), "no attempt has failed");
        world.outlive_lease(worker);
    }
    // One that is being started does not count as a failed start either.
    for _ in 0..5 {
        let worker = world.first();
        world.outlive_lease(worker);
    }
    world.all_ready();
    let worker = world.first();
    world.begin(worker);
    world.answer(worker, ok(1));
    assert!(world.outcomes[&1].result.is_ok());
}
