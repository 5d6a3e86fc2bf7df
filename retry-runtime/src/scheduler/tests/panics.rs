//! Retries after a panic, which run in workers in which nothing has panicked.

use super::*;

fn at_once(retries: u32) -> Policy {
    call_policy(Retries::fixed(retries, Duration::ZERO))
}

impl World {
    /// Lets all workers execute one input each, until nothing is left to do. An attempt panics if
    /// `panics` returns `true` for it.
    fn run(&mut self, panics: impl Fn(u64, u32) -> bool) {
        for _ in 0..1_000_000 {
            self.all_ready();
            let retired = self.workers.iter().filter(|(_, worker)| worker.retired);
            for key in retired.map(|(key, _)| *key).collect::<Vec<_>>() {
                self.exit(key, ExitCause::Code(0));
            }
            let keys: Vec<_> = self.workers.keys().copied().collect();
            let mut idle = true;
            for key in keys {
                if let Some((input, attempt)) = self.begin(key) {
                    idle = false;
                    let answer = if panics(input, attempt) {
                        panic()
                    } else {
                        ok(input)
                    };
                    self.answer(key, answer);
                }
            }
            if idle
                && self
                    .workers
                    .values()
                    .all(|worker| worker.ready && !worker.retired)
            {
                return;
            }
        }
        panic!("it does not come to rest");
    }
}

#[test]
fn a_retry_after_a_panic_gets_a_clean_worker() {
    let mut world = World::new(function_policy(1));
    world.submit(at_once(2), [1]);
    world.all_ready();
    let first = world.first();
    assert_eq!(world.begin(first), Some((1, 1)));
    world.answer(first, panic());
    assert!(world.workers[&first].retired, "it had nothing else to do");
    world.exit(first, ExitCause::Code(0));
    world.all_ready();
    let second = world.first();
    assert_eq!(world.begin(second), Some((1, 2)));
    world.answer(second, panic());
    world.exit(second, ExitCause::Code(0));
    world.run(|_, _| false);
    assert_eq!(world.spawned, 3);
    assert!(world.outcomes[&1].result.is_ok());
}

#[test]
fn without_retries_no_worker_is_replaced() {
    let mut world = World::new(function_policy(2));
    world.submit(call_policy(Retries::none()), 0..1000);
    world.run(|_, _| true);
    assert_eq!(world.outcomes.len(), 1000);
    assert_eq!(world.spawned, 2);
}

#[test]
fn first_attempts_continue_in_a_panicked_worker() {
    let mut world = World::new(function_policy(2));
    world.submit(at_once(1), [1]);
    world.all_ready();
    let first = world.first();
    world.begin(first);
    world.answer(first, err(true));
    world.begin(first);
    world.answer(first, ok(1));
    world.submit(call_policy(Retries::none()), [2]);
    world.begin(first);
    world.answer(first, panic());
    world.submit(at_once(1), [3]);
    assert_eq!(world.begin(first), Some((3, 1)));
    world.answer(first, err(true));
    assert_eq!(
        world.begin(first),
        Some((3, 2)),
        "it has not panicked itself"
    );
    world.answer(first, ok(3));
    assert_eq!(world.spawned, 1);
}

#[test]
fn transient_panics_take_few_workers() {
    for workers in [1, 2, 8] {
        let mut world = World::new(function_policy(workers));
        let inputs = 3000;
        world.submit(at_once(3), 0..inputs);
        world.run(|input, attempt| input % 3 == 0 && attempt == 1);
        assert_eq!(world.outcomes.len() as u64, inputs);
        assert!(world.outcomes.values().all(|one| one.result.is_ok()));
        // Retries share a worker while there is other work.
        assert!(
            world.spawned < 40 + workers,
            "{} of {workers}",
            world.spawned
        );
    }
}

#[test]
fn a_persistent_panic_takes_a_worker_per_retry() {
    let mut world = World::new(function_policy(2));
    world.submit(at_once(3), 0..100);
    world.run(|input, _| input == 50);
    assert!(matches!(world.failure(50), Failure::Panicked(_)));
    assert_eq!(world.outcomes[&50].attempts().len(), 4);
    assert!(world.spawned <= 5, "{}", world.spawned);
}

#[test]
fn a_retry_succeeds_without_room_for_another_worker() {
    let mut world = World::new(function_policy(8));
    world.scheduler.set_max_processes(Some(1));
    world.submit(at_once(1), [1]);
    world.run(|_, attempt| attempt == 1);
    assert!(world.outcomes[&1].result.is_ok());
    assert_eq!(world.spawned, 2);
}

#[test]
fn a_busy_clean_worker_is_kept_for_the_retry() {
    let mut world = World::new(function_policy(2));
    world.submit(at_once(1), 0..4);
    world.all_ready();
    let keys: Vec<_> = world.workers.keys().copied().collect();
    let [panics, is_clean] = keys[..] else {
        panic!("two workers");
    };
    let (input, _) = world.begin(panics).unwrap();
    let (other, _) = world.begin(is_clean).unwrap();
    world.answer(panics, panic());
    // The retry may not be sent behind an input that may panic.
    assert!(world.workers[&is_clean].inbox.is_empty());
    world.answer(is_clean, ok(other));
    assert_eq!(world.begin(is_clean), Some((input, 2)));
    world.answer(is_clean, ok(input));
    world.run(|_, _| false);
    assert_eq!(world.outcomes.len(), 4);
}
