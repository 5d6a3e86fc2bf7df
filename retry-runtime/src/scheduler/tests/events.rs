//! When slow attempts, attempts that are asked to end, and failed starts are published.

use super::*;
use crate::api::events::EventKind;

const SECOND: Duration = Duration::from_secs(1);

fn with_timeout(timeout: Duration, retries: Retries) -> Policy {
    Policy {
        timeout: Some(timeout),
        ..call_policy(retries)
    }
}

/// An event about an attempt: its input in the map, the attempt, and what has happened.
type OfAttempt = (Option<u64>, Option<u32>, EventKind);

impl World {
    /// Creates a simulation with a subscriber, and inputs that belong to a map.
    fn observed(policy: FunctionPolicy) -> Self {
        let mut world = Self::new(policy);
        world.map = true;
        world.scheduler.set_interest(Interest::Failures);
        world
    }

    /// Takes the events of attempts that are slow or asked to end.
    fn take_warnings(&mut self) -> Vec<OfAttempt> {
        let is_warning = |event: &Event| {
            matches!(
                event.kind,
                EventKind::Slow { .. } | EventKind::Terminating { .. }
            )
        };
        let events = std::mem::take(&mut self.events).into_iter();
        let warnings = events.filter(is_warning);
        warnings
            .map(|event| {
                assert!(event.call.is_some() && event.worker.is_some());
                (event.input_index, event.attempt, event.kind)
            })
            .collect()
    }

    /// Takes whether a start is tried again, for each that has failed.
    fn take_failed_starts(&mut self) -> Vec<bool> {
        let events = std::mem::take(&mut self.events).into_iter();
        let failed = events.filter_map(|event| match event.kind {
            EventKind::SetUpFailed { tries_again, .. } => Some(tries_again),
            _ => None,
        });
        failed.collect()
    }
}

fn slow(input: u64, attempt: u32, elapsed: Duration, timeout: Duration) -> OfAttempt {
    let kind = EventKind::Slow {
        elapsed,
        timeout,
        max_attempts: 2,
    };
    (Some(input), Some(attempt), kind)
}

fn twice() -> Retries {
    Retries::fixed(1, Duration::ZERO)
}

#[test]
fn an_attempt_is_slow_once_at_half_of_its_timeout() {
    let mut world = World::observed(function_policy(1));
    world.submit(with_timeout(4 * SECOND, twice()), [7]);
    // The time in the queue does not count.
    world.advance(10 * SECOND);
    for attempt in 1..=2 {
        world.all_ready();
        let worker = *world.workers.keys().last().expect("a worker");
        assert_eq!(world.begin(worker), Some((7, attempt)));
        world.advance(Duration::from_millis(1999));
        assert_eq!(world.take_warnings(), []);
        world.advance(Duration::from_millis(1));
        let expected = slow(7, attempt, 2 * SECOND, 4 * SECOND);
        assert_eq!(world.take_warnings(), [expected]);
        for _ in 0..4 {
            world.advance(SECOND / 2);
        }
        assert_eq!(world.take_warnings(), [], "without a grace it just ends");
    }
    assert!(matches!(world.failure(7), Failure::TimedOut(_)));
}

#[test]
fn each_input_behind_others_has_its_own_time() {
    for chunks in [false, true] {
        let mut world = World::observed(function_policy(1));
        world.chunks = chunks;
        world.submit(with_timeout(4 * SECOND, twice()), 0..4);
        world.all_ready();
        let worker = world.first();
        let mut warned = Vec::new();
        for (input, tenths) in [(0, 15), (1, 25), (2, 1), (3, 39)] {
            assert_eq!(world.begin(worker), Some((input, 1)));
            for _ in 0..tenths {
                world.advance(SECOND / 10);
            }
            warned.extend(world.take_warnings());
            world.answer(worker, ok(input));
        }
        let expected = [1, 3].map(|input| slow(input, 1, 2 * SECOND, 4 * SECOND));
        assert_eq!(warned, expected, "chunks: {chunks}");
        let times = world.scheduler.statistics();
        assert_eq!(times["f"].slow, 2);
    }
}

#[test]
fn each_of_several_inputs_at_once_is_named() {
    for (separable, chunks) in [(true, false), (true, true), (false, true)] {
        let mut world = World::observed(FunctionPolicy {
            at_once: 3,
            separable,
            ..function_policy(1)
        });
        world.chunks = chunks;
        world.submit(with_timeout(4 * SECOND, twice()), 0..3);
        world.all_ready();
        let worker = world.first();
        let mut warned = Vec::new();
        for _ in 0..3 {
            world.begin(worker);
            world.advance(SECOND / 2);
            warned.extend(world.take_warnings());
        }
        for _ in 0..4 {
            world.advance(SECOND / 2);
            warned.extend(world.take_warnings());
        }
        let expected = [0, 1, 2].map(|input| slow(input, 1, 2 * SECOND, 4 * SECOND));
        assert_eq!(warned, expected, "{separable} {chunks}");
    }
}

#[test]
fn nothing_is_looked_at_without_an_observer_or_a_timeout() {
    for (observed, timeout, first) in [
        (false, Some(4 * SECOND), Some(4 * SECOND)),
        (true, Some(4 * SECOND), Some(2 * SECOND)),
        (true, None, None),
    ] {
        let mut world = World::new(function_policy(1));
        if observed {
            world.scheduler.set_interest(Interest::Failures);
        }
        let policy = Policy {
            timeout,
            ..call_policy(Retries::none())
        };
        world.submit(policy, [1]);
        world.all_ready();
        let worker = world.first();
        world.begin(worker);
        let probes = world.scheduler.timers.iter().filter_map(|timer| {
            let Reverse((at, timer)) = timer;
            matches!(timer, Timer::Probe(_)).then(|| *at - world.now)
        });
        assert_eq!(probes.collect::<Vec<_>>(), Vec::from_iter(first));
        for _ in 0..8 {
            world.advance(SECOND / 2);
        }
        assert_eq!(
            world.take_warnings().len(),
            usize::from(first == Some(2 * SECOND))
        );
    }
}

#[test]
fn an_attempt_with_a_grace_is_asked_to_end_once() {
    let mut world = World::observed(FunctionPolicy {
        grace: 2 * SECOND,
        ..function_policy(1)
    });
    world.submit(with_timeout(SECOND, twice()), [7, 8]);
    world.all_ready();
    let worker = world.first();
    world.begin(worker);
    world.advance(SECOND / 2);
    assert_eq!(world.take_warnings(), [slow(7, 1, SECOND / 2, SECOND)]);
    world.advance(SECOND / 2);
    let kind = EventKind::Terminating {
        timeout: SECOND,
        grace: 2 * SECOND,
        max_attempts: 2,
    };
    assert_eq!(world.take_warnings(), [(Some(7), Some(1), kind)]);
    assert_eq!(world.workers[&worker].asked, [1]);
    for _ in 0..4 {
        world.advance(SECOND / 2);
    }
    assert!(world.workers[&worker].killed);
    assert_eq!(world.take_warnings(), []);
}

#[test]
fn a_call_that_is_cancelled_has_no_timeout_to_tell_of() {
    let mut world = World::observed(FunctionPolicy {
        grace: 2 * SECOND,
        ..function_policy(1)
    });
    let keys = world.submit(with_timeout(4 * SECOND, twice()), [7]);
    world.all_ready();
    let worker = world.first();
    world.begin(worker);
    world.advance(SECOND);
    world.scheduler.cancel(keys, Cancelled::ByCaller);
    world.perform();
    assert_eq!(world.workers[&worker].asked, [1]);
    for _ in 0..4 {
        world.advance(SECOND / 2);
    }
    assert_eq!(world.take_warnings(), []);
}

#[test]
fn a_failed_start_says_whether_it_is_tried_again() {
    let mut world = World::observed(function_policy(2));
    world.submit(call_policy(Retries::none()), 0..10);
    let starting: Vec<_> = world.workers.keys().copied().collect();
    world.advance(SECOND);
    world.exit(starting[0], ExitCause::Code(3));
    let told = world.events.iter().find_map(|event| match &event.kind {
        EventKind::SetUpFailed {
            reason, elapsed, ..
        } => Some((event.worker_pid, &**reason, *elapsed)),
        _ => None,
    });
    let reason = "the worker exited with code 3 before it was ready";
    assert_eq!(told, Some((Some(1), reason, SECOND)));
    assert_eq!(
        world.take_failed_starts(),
        [true],
        "the other one may serve"
    );
    world.exit(starting[1], ExitCause::Code(3));
    let kinds: Vec<_> = world.events.iter().map(|event| &event.kind).collect();
    let place = |is: fn(&EventKind) -> bool| kinds.iter().position(|kind| is(kind));
    let failed = place(|kind| matches!(kind, EventKind::SetUpFailed { .. })).expect("it is told");
    let finished = place(|kind| matches!(kind, EventKind::Finished { .. })).expect("it has ended");
    assert!(failed < finished, "the cause comes first");
    assert_eq!(world.take_failed_starts(), [false]);
}

#[test]
fn the_third_failed_start_in_a_row_is_the_last() {
    let mut world = World::observed(function_policy(1));
    world.submit(call_policy(Retries::none()), [1]);
    world.all_ready();
    let worker = world.first();
    world.begin(worker);
    world.answer(worker, ok(1));
    world.exit(worker, SIGSEGV);
    world.chunks = true;
    world.submit(call_policy(Retries::none()), 1000..2000);
    for _ in 0..3 {
        let worker = world.first();
        world.exit(worker, ExitCause::Code(3));
    }
    assert_eq!(world.take_failed_starts(), [true, true, false]);
    assert_eq!(world.outcomes.len(), 1001);
    assert_eq!(world.spawned, 4);
    for _ in 0..60 {
        world.advance(60 * SECOND);
    }
    assert_eq!(world.spawned, 4, "nothing waits for a worker");
    assert_eq!(world.scheduler.statistics()["f"].failed_starts, 3);
}
