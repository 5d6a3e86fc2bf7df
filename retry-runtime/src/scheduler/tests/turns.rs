//! The turns of callers, and callers that are held back.

use super::*;

const CALLERS: [Caller; 3] = [Caller(1), Caller(2), Caller(3)];

impl World {
    fn submit_as(&mut self, caller: Caller, inputs: impl IntoIterator<Item = u64>) {
        self.caller = caller;
        self.chunks = true;
        self.map = true;
        self.submit(call_policy(Retries::none()), inputs);
    }

    fn next(&mut self) -> Option<u64> {
        let worker = self.first();
        let (input, _) = self.begin(worker)?;
        self.answer(worker, ok(input));
        Some(input)
    }
}

/// Creates a world with one worker that reports 20 ms per input.
fn slow_world() -> World {
    let mut world = World::new(function_policy(1));
    world.duration = Duration::from_millis(20);
    world.submit_as(CALLERS[0], [0]);
    world.all_ready();
    world.next();
    world
}

#[test]
fn a_call_waits_only_for_prefetched_map_inputs() {
    let mut world = slow_world();
    world.submit_as(CALLERS[0], 1..=600);
    for _ in 0..10 {
        world.next();
    }
    world.submit_as(CALLERS[1], [1000]);
    let order: Vec<_> = std::iter::from_fn(|| world.next()).take(4).collect();
    assert_eq!(order, [11, 12, 1000, 13]);
}

#[test]
fn callers_take_turns_and_each_keeps_its_order() {
    let mut world = slow_world();
    for (caller, first) in CALLERS.into_iter().zip([1, 101, 201]) {
        world.submit_as(caller, first..first + 50);
    }
    let order: Vec<_> = std::iter::from_fn(|| world.next()).collect();
    assert_eq!(order.len(), 150);
    for part in order[2..140].windows(6) {
        let callers: Vec<_> = part.iter().map(|input| input / 100).collect();
        assert!((0..3).all(|caller| callers.contains(&caller)), "{order:?}");
    }
    for caller in 0..3 {
        let own = order.iter().filter(|input| *input / 100 == caller);
        assert!(own.is_sorted());
    }
}

#[test]
fn new_callers_do_not_starve_earlier_ones() {
    let mut world = slow_world();
    world.submit_as(CALLERS[0], 1..=100);
    let mut served = 0;
    for round in 0..200 {
        // The same two callers alternate, as threads do that make one call after another.
        world.submit_as(CALLERS[1 + round as usize % 2], [1000 + round]);
        served += usize::from(world.next().is_some_and(|input| input < 1000));
    }
    assert!(served > 50, "{served} of 200 turns");
}

#[test]
fn held_back_inputs_stay_in_the_queue() {
    let mut world = slow_world();
    world.submit_as(CALLERS[0], 1..=20);
    world.scheduler.hold(CALLERS[0], Some(None));
    world.submit_as(CALLERS[1], [1000]);
    // Inputs that were sent before the hold stay with the worker.
    let order: Vec<_> = std::iter::from_fn(|| world.next()).collect();
    assert_eq!(order, [1, 2, 1000]);
    world.scheduler.hold(CALLERS[0], Some(Some(3)));
    world.perform();
    assert_eq!(world.next(), Some(3));
    assert_eq!(world.next(), None);
    world.scheduler.hold(CALLERS[0], None);
    world.perform();
    let order: Vec<_> = std::iter::from_fn(|| world.next()).collect();
    assert!(order.into_iter().eq(4..=20));
}

#[test]
fn holding_a_caller_back_gives_it_no_credit() {
    let mut world = slow_world();
    world.submit_as(CALLERS[0], 1..=600);
    world.scheduler.hold(CALLERS[0], Some(None));
    for input in 1000..1300 {
        world.submit_as(CALLERS[1], [input]);
        while world.next() != Some(input) {}
    }
    world.scheduler.hold(CALLERS[0], None);
    world.perform();
    for _ in 0..10 {
        world.next();
    }
    world.submit_as(CALLERS[1], [2000]);
    let order: Vec<_> = std::iter::from_fn(|| world.next()).take(4).collect();
    assert!(order.contains(&2000), "{order:?}");
}

#[test]
fn held_back_inputs_do_not_block_stealing() {
    let mut world = World::new(function_policy(2));
    world.duration = Duration::from_millis(20);
    world.submit_as(CALLERS[1], 0..4);
    world.all_ready();
    let workers: Vec<WorkerKey> = world.workers.keys().copied().collect();
    world.submit_as(CALLERS[0], 100..120);
    world.scheduler.hold(CALLERS[0], Some(None));
    world.begin(workers[0]);
    while let Some((input, _)) = world.begin(workers[1]) {
        world.answer(workers[1], ok(input));
    }
    let mine = world.outcomes.keys().filter(|input| **input < 100);
    assert_eq!(mine.count(), 3, "{:?}", world.outcomes);
}
