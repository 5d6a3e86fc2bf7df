//! Chooses the number of inputs of a task, and the number of tasks under way.
//!
//! A task costs an engine some milliseconds whatever it contains, so that it should keep its machine busy for
//! about a second. The answers say how long the inputs take.

use std::time::Duration;

use crate::wire::task::Facts;

/// The time that a task should take.
const TASK_TIME: Duration = Duration::from_secs(1);

/// Near the end of a map tasks become smaller, so that no machine works alone for long, but do not take less than this
/// time: a task costs as much whatever it contains.
const LEAST_TIME: Duration = Duration::from_millis(100);

/// The largest factor by which a task is larger than the last one, whose inputs may have been quick ones.
const GROWTH: u32 = 8;

/// The maximum number of inputs of a task.
const MOST_INPUTS: u32 = 4096;

/// The number of tasks under way at first, and its limits.
const FIRST_TASKS: usize = 4;
const FEWEST_TASKS: usize = 2;
const MOST_TASKS: usize = 256;

/// If tasks wait for a machine for less than the first time, machines run out of tasks between two; with more
/// than the second one, tasks only queue up.
const SHORT_WAIT: Duration = Duration::from_millis(100);
const LONG_WAIT: Duration = Duration::from_secs(1);

/// The time after which twice as many tasks are sent if none has been answered: they may all take long.
const SILENCE: Duration = Duration::from_secs(1);

/// The size and the number of the tasks of one function.
#[derive(Debug)]
pub(super) struct Sizing {
    /// The number of inputs of the next task.
    inputs: u32,
    /// The number of tasks that may be under way.
    tasks: usize,
    /// The number of tasks that were under way when there were last made to be fewer, and are not answered yet.
    sent_before: usize,
    /// The number of inputs that take `LEAST_TIME`.
    least: u32,
    /// The number of inputs that a worker takes together.
    batch: u32,
    /// The number of inputs whose results fit into one answer, as far as that is known.
    fitting: u32,
}

impl Sizing {
    pub(super) fn new(batch: u32) -> Self {
        Self {
            inputs: 1,
            tasks: FIRST_TASKS,
            sent_before: 0,
            least: 1,
            batch: batch.max(1),
            fitting: MOST_INPUTS,
        }
    }

    /// Returns the number of inputs of the next task.
    pub(super) fn inputs(&self) -> u32 {
        self.in_batches(self.inputs)
    }

    /// Returns the number of inputs of the next task of a map with `left` inputs, while `others` are under way: at most
    /// half of an even share of the inputs.
    pub(super) fn inputs_of(&self, left: u64, others: usize) -> u32 {
        let share = left / Self::shares(others);
        let share = u32::try_from(share).unwrap_or(u32::MAX);
        self.in_batches(self.inputs.min(share.max(self.least)))
    }

    /// Returns the number of inputs from which on [`inputs_of`](Self::inputs_of) does not depend on how many are left.
    pub(super) fn plenty(&self, others: usize) -> u64 {
        u64::from(self.inputs) * Self::shares(others)
    }

    fn shares(others: usize) -> u64 {
        2 * (others as u64 + 1)
    }

    fn in_batches(&self, inputs: u32) -> u32 {
        match inputs {
            1 => 1,
            inputs => (inputs - inputs % self.batch).max(self.batch),
        }
    }

    /// Returns how many tasks may be under way if none has been answered for a time.
    pub(super) fn tasks(&self, silent: Duration) -> usize {
        let doublings = (silent.as_secs() / SILENCE.as_secs()).min(8) as u32;
        (self.tasks << doublings).min(MOST_TASKS)
    }

    /// Returns the time after which [`tasks`](Self::tasks) is greater.
    pub(super) fn more_after(silent: Duration) -> Duration {
        SILENCE * (silent.as_secs() as u32 + 1)
    }

    /// Takes in the answer to a task of `sent` inputs that was sent with a delay, while others wait for being sent if
    /// `is_limited` is set.
    ///
    /// Short tasks first become larger and then more, since a larger one costs the engine nothing. Their number changes as
    /// the window of TCP does (RFC 5681): by one with each answer that comes soon, which doubles it in the time that all
    /// of them take, and once in that time downwards, since all that are under way were sent by the same rule.
    pub(super) fn learn(&mut self, sent: u32, delay: Duration, facts: &Facts, is_limited: bool) {
        let mut is_growing = false;
        if facts.inputs > 0 {
            let each = facts.took / facts.inputs;
            let within = |time: Duration| {
                let inputs = time.as_nanos().checked_div(each.as_nanos());
                let inputs = inputs.and_then(|inputs| u32::try_from(inputs).ok());
                inputs.unwrap_or(MOST_INPUTS)
            };
            self.least = within(LEAST_TIME).max(facts.slots).max(1);
            // The answers of smaller tasks, which were sent before, say nothing against the present size. A task of fewer
            // inputs than there are workers would leave some of its machine without any.
            let known = sent.saturating_mul(GROWTH).max(self.inputs);
            let wanted = within(TASK_TIME).clamp(1, MOST_INPUTS.min(self.fitting));
            let most = known.max(facts.slots);
            is_growing = wanted > most && facts.took < LEAST_TIME;
            self.inputs = wanted.min(most);
        }
        self.sent_before = self.sent_before.saturating_sub(1);
        let queued = facts.queued.saturating_sub(delay);
        if queued < SHORT_WAIT && is_limited && !is_growing {
            self.tasks = (self.tasks + 1).min(MOST_TASKS);
        } else if queued > LONG_WAIT && self.sent_before == 0 {
            self.sent_before = self.tasks;
            self.tasks = (self.tasks - self.tasks.div_ceil(3)).max(FEWEST_TASKS);
        }
    }

    /// Makes tasks smaller for good, after the results of `sent` inputs were too large for one answer: those that did
    /// not fit have to be made again.
    pub(super) fn halve(&mut self, sent: u32) {
        self.fitting = self.fitting.min(sent / 2).max(1);
        self.inputs = self.inputs.min(self.fitting);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn facts(inputs: u32, took: Duration) -> Facts {
        Facts {
            slots: 2,
            inputs,
            took,
            ..Facts::default()
        }
    }

    fn learn(sizing: &mut Sizing, each: Duration) -> u32 {
        let sent = sizing.inputs();
        sizing.learn(sent, Duration::ZERO, &facts(sent, each * sent), true);
        sizing.inputs()
    }

    #[test]
    fn tasks_grow_to_a_second_of_work() {
        let mut sizing = Sizing::new(1);
        let each = Duration::from_millis(1);
        let sizes: Vec<u32> = (0..5).map(|_| learn(&mut sizing, each)).collect();
        assert_eq!(sizes, [8, 64, 512, 1000, 1000]);
        let mut sizing = Sizing::new(1);
        let sizes: Vec<u32> = (0..5).map(|_| learn(&mut sizing, Duration::ZERO)).collect();
        assert_eq!(sizes, [8, 64, 512, 4096, 4096]);
    }

    #[test]
    fn tasks_become_smaller_near_the_end() {
        let mut sizing = Sizing::new(1);
        for _ in 0..4 {
            learn(&mut sizing, Duration::from_millis(1));
        }
        let sizes = [9000, 8000, 4000, 1600, 800, 100].map(|left| sizing.inputs_of(left, 3));
        assert_eq!(sizes, [1000, 1000, 500, 200, 100, 100]);
        // The whole of a task takes no longer than the least time.
        for _ in 0..4 {
            learn(&mut sizing, Duration::from_micros(10));
        }
        assert_eq!(sizing.inputs_of(4096, 3), 4096);
        // Each worker of a machine has an input.
        for _ in 0..4 {
            learn(&mut sizing, SECOND / 4);
        }
        assert_eq!([sizing.inputs_of(30, 3), sizing.inputs_of(1, 3)], [3, 2]);
    }

    #[test]
    fn tasks_become_larger_before_they_become_more() {
        let mut sizing = Sizing::new(1);
        let each = Duration::from_millis(1);
        for tasks in [4, 4, 4, 5] {
            learn(&mut sizing, each);
            assert_eq!(sizing.tasks(Duration::ZERO), tasks);
        }
        // A small task that was sent before is answered late.
        sizing.learn(8, Duration::ZERO, &facts(8, 8 * each), true);
        assert_eq!((sizing.inputs(), sizing.tasks), (1000, 6));
    }

    #[test]
    fn long_inputs_travel_alone() {
        let mut sizing = Sizing::new(1);
        for _ in 0..3 {
            assert_eq!(learn(&mut sizing, Duration::from_millis(1001)), 1);
        }
        assert_eq!(learn(&mut sizing, Duration::from_millis(500)), 2);
    }

    #[test]
    fn tasks_whose_results_did_not_fit_do_not_grow_again() {
        let mut sizing = Sizing::new(1);
        let each = Duration::from_millis(1);
        for _ in 0..4 {
            learn(&mut sizing, each);
        }
        sizing.halve(20);
        assert_eq!(sizing.inputs(), 10);
        assert_eq!(
            [learn(&mut sizing, each), learn(&mut sizing, each)],
            [10, 10]
        );
    }

    #[test]
    fn tasks_hold_whole_batches() {
        let mut sizing = Sizing::new(10);
        let sizes: Vec<u32> = (0..4)
            .map(|_| learn(&mut sizing, Duration::from_millis(3)))
            .collect();
        assert_eq!(sizes, [10, 80, 330, 330]);
    }

    #[test]
    fn the_number_of_tasks_follows_their_wait() {
        let mut sizing = Sizing::new(1);
        let mut after = |queued, is_limited| {
            // A delay is no wait for a machine.
            let facts = Facts {
                queued: SECOND + queued,
                ..Facts::default()
            };
            sizing.learn(1, SECOND, &facts, is_limited);
            sizing.tasks(Duration::ZERO)
        };
        assert_eq!(
            after(Duration::ZERO, false),
            4,
            "nothing else is to be sent"
        );
        assert_eq!(after(Duration::ZERO, true), 5);
        assert_eq!(after(SHORT_WAIT, true), 5);
        // All five were sent by the same rule.
        let fewer: Vec<_> = (0..6).map(|_| after(2 * LONG_WAIT, true)).collect();
        assert_eq!(fewer, [3, 3, 3, 3, 3, 2]);
        assert_eq!(after(2 * LONG_WAIT, true), FEWEST_TASKS);
        for _ in FEWEST_TASKS..MOST_TASKS {
            after(Duration::ZERO, true);
        }
        assert_eq!(after(Duration::ZERO, true), MOST_TASKS);
    }

    #[test]
    fn more_tasks_are_sent_while_none_is_answered() {
        let sizing = Sizing::new(1);
        let tasks = |millis| sizing.tasks(Duration::from_millis(millis));
        assert_eq!([tasks(999), tasks(1000), tasks(3500)], [4, 8, 32]);
        assert_eq!(tasks(60_000), MOST_TASKS);
        assert_eq!(
            Sizing::more_after(Duration::from_millis(1500)),
            Duration::from_secs(2)
        );
    }
}
