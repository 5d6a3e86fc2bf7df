//! Crashes of workers that execute several inputs at once.

use super::*;

/// Creates a world whose workers execute several inputs at once.
fn together(at_once: usize, max_workers: usize) -> World {
    World::new(FunctionPolicy {
        at_once,
        separable: true,
        crash_limit: CrashLimit::unlimited(),
        ..function_policy(max_workers)
    })
}

impl World {
    fn begin_all(&mut self, key: WorkerKey) -> Vec<u64> {
        let mut begun = Vec::new();
        while let Some((input, _)) = self.begin(key) {
            begun.push(input);
        }
        begun
    }

    /// Runs everything to its end. An input crashes its worker if `crashes` returns `true` for it.
    fn run_through(&mut self, crashes: impl Fn(u64) -> bool) {
        for _ in 0..1000 {
            self.all_ready();
            for key in self.workers.keys().copied().collect::<Vec<_>>() {
                let begun = self.begin_all(key);
                if begun.iter().any(|input| crashes(*input)) {
                    self.exit(key, SIGSEGV);
                } else {
                    for input in begun {
                        self.answer(key, ok(input));
                    }
                }
            }
        }
        assert!(self.scheduler.calls.is_empty(), "not all came to an end");
    }

    fn attempts(&self, input: u64) -> usize {
        self.outcomes[&input].attempts().len()
    }

    fn crashed(&self) -> Vec<u64> {
        let outcomes = self.outcomes.iter();
        let failed = outcomes.filter(|(_, outcome)| outcome.result.is_err());
        failed.map(|(input, _)| *input).collect()
    }
}

#[test]
fn only_the_input_that_crashes_alone_is_blamed() {
    for max_workers in [1, 2, 4] {
        for chunks in [false, true] {
            let mut world = together(8, max_workers);
            world.chunks = chunks;
            world.submit(call_policy(Retries::none()), 0..100);
            world.run_through(|input| input == 50);
            assert_eq!(world.crashed(), [50]);
            assert_eq!(world.attempts(50), 3);
            let most = (0..100).map(|input| world.attempts(input)).max();
            assert_eq!(most, Some(3));
        }
    }
}

#[test]
fn several_culprits_are_found() {
    let mut world = together(8, 2);
    world.submit(call_policy(Retries::none()), 0..100);
    world.run_through(|input| input % 10 == 3);
    let expected: Vec<u64> = (0..100).filter(|input| input % 10 == 3).collect();
    assert_eq!(world.crashed(), expected);
}

#[test]
fn suspects_are_executed_alone_until_the_culprit_is_found() {
    let mut world = together(3, 1);
    world.submit(call_policy(Retries::none()), 0..3);
    world.all_ready();
    let worker = world.first();
    assert_eq!(world.begin_all(worker), [0, 1, 2]);
    world.exit(worker, SIGSEGV);
    world.submit(call_policy(Retries::none()), [3, 4]);
    world.all_ready();
    let worker = world.first();
    assert_eq!(world.begin_all(worker), [0]);
    assert!(world.workers[&worker].inbox.is_empty());
    world.answer(worker, ok(0));
    assert_eq!(world.begin_all(worker), [1]);
    world.exit(worker, SIGSEGV);
    world.all_ready();
    let worker = world.first();
    // The third input is cleared, and the culprit goes to the back.
    assert_eq!(world.begin_all(worker), [3, 4, 2]);
}

#[test]
fn repeated_crashes_without_a_culprit_blame_no_input() {
    let mut world = together(3, 1);
    world.submit(call_policy(Retries::none()), 0..6);
    for _ in 0..10 {
        world.all_ready();
        let worker = world.first();
        while world.begin_all(worker).len() < 2 {
            let input = world.workers[&worker].executing[0].1;
            world.answer(worker, ok(input));
            if world.scheduler.calls.is_empty() {
                break;
            }
        }
        if world.scheduler.calls.is_empty() {
            break;
        }
        world.exit(worker, SIGSEGV);
    }
    world.run_through(|_| false);
    assert_eq!(world.crashed(), [0; 0]);
}

#[test]
fn a_worker_is_reserved_for_suspects_despite_a_queue() {
    let mut world = together(2, 2);
    world.submit(call_policy(Retries::none()), 0..4);
    world.all_ready();
    let victim = world.first();
    let suspects = world.begin_all(victim);
    assert_eq!(suspects.len(), 2);
    // There is no place for another worker, and the existing one always has something to do.
    world.scheduler.set_max_processes(Some(1));
    world.exit(victim, SIGSEGV);
    let worker = world.first();
    for next in 100..120 {
        world.submit(call_policy(Retries::none()), [next]);
        world.begin_all(worker);
        if let Some((_, input, ..)) = world.workers[&worker].executing.first().copied() {
            world.answer(worker, ok(input));
        }
    }
    assert!(suspects.iter().all(|one| world.outcomes.contains_key(one)));
}

#[test]
fn at_most_once_inputs_are_blamed_with_the_others() {
    let mut world = together(3, 1);
    let once = Policy {
        at_most_once: true,
        ..call_policy(Retries::none())
    };
    world.submit(once, [0]);
    world.submit(call_policy(Retries::none()), [1, 2]);
    world.run_through(|input| input == 2);
    assert_eq!(world.crashed(), [0, 2]);
    let Failure::Crashed(crash) = world.failure(0) else {
        panic!("{:?}", world.failure(0));
    };
    assert_eq!(crash.executing(), 3);
}

#[test]
fn a_withdrawn_running_input_counts_as_executing() {
    let mut world = together(2, 1);
    let keys = world.submit(call_policy(Retries::none()), [0, 1]);
    world.all_ready();
    let worker = world.first();
    world.begin_all(worker);
    world.shows_work = false;
    world.scheduler.cancel([keys[0]], Cancelled::ByCaller);
    world.perform();
    world.exit(worker, SIGSEGV);
    world.run_through(|_| false);
    assert!(world.outcomes[&1].result.is_ok());
    assert_eq!(world.attempts(1), 1);
}
