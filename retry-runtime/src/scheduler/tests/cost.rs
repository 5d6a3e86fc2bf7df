//! Measures the cost of a call. The test asserts nothing and prints times for a reader.
//!
//! ```text
//! cargo test --release -p retry-runtime --lib cost -- --ignored --nocapture
//! ```

use super::*;
use crate::job::Job;

const HOUR: Duration = Duration::from_secs(60 * 60);

/// The tickets that were sent and are not answered.
type Sent = VecDeque<(WorkerKey, u64)>;

/// A minimal simulation whose workers answer when the test says so.
struct Mill {
    scheduler: Scheduler<Inputs>,
    function: FunctionKey,
    terms: Arc<Terms>,
    now: Instant,
    sent: Sent,
    starting: Vec<WorkerKey>,
}

impl Mill {
    /// Creates a simulation with idle workers.
    fn new(workers: usize, policy: Policy) -> Self {
        let mut scheduler = Scheduler::new(1, Arc::default());
        let function = scheduler.add_function(FunctionPolicy {
            min_workers: workers,
            ..function_policy(workers)
        });
        let mut mill = Self {
            scheduler,
            function,
            terms: Arc::new(Terms {
                name: "f",
                policy,
                budget: None,
                called: None,
                show: None,
                longest_delay: None,
            }),
            now: Instant::now(),
            sent: Sent::new(),
            starting: Vec::new(),
        };
        mill.dispatch();
        for key in std::mem::take(&mut mill.starting) {
            mill.scheduler.mark_ready(mill.now, key);
        }
        mill
    }

    fn submit(&mut self, input: u64) -> CallKey {
        let terms = Arc::clone(&self.terms);
        self.scheduler
            .submit(self.now, self.function, terms, Inputs::one(input))
    }

    fn dispatch(&mut self) {
        self.scheduler.dispatch(self.now, self.function);
        self.act();
    }

    fn act(&mut self) {
        while self.scheduler.rebalance(self.now) {
            while let Some(action) = self.scheduler.next_action() {
                match action {
                    Action::Spawn { worker } => self.starting.push(worker),
                    Action::Send { worker, ticket, .. } => self.sent.push_back((worker, ticket)),
                    Action::Recall { worker } => {
                        let (now, last) = (self.now, self.scheduler.last_ticket(worker));
                        self.scheduler.handle_recall(now, worker, last);
                    }
                    _ => {}
                }
            }
        }
    }

    /// Answers the oldest ticket, with the given duration. Returns whether there was one.
    fn answer(&mut self, duration: Duration) -> bool {
        let Some((worker, ticket)) = self.sent.pop_front() else {
            return false;
        };
        self.now += Duration::from_micros(1);
        let reply = AnswerReport {
            duration,
            timed: 1,
            ..AnswerReport::untimed(Payload::NONE)
        };
        let known = self
            .scheduler
            .handle_answer(self.now, worker, ticket, reply);
        assert!(known.is_ok_and(|function| function.is_some()));
        self.dispatch();
        true
    }
}

/// Prints the least time of several runs, in nanoseconds per call.
fn print(what: &str, calls: usize, mut run: impl FnMut() -> Duration) {
    let least = (0..15).map(|_| run()).min().expect("there were some");
    println!("{what:44} {:6} ns", least.as_nanos() / calls as u128);
}

fn policies() -> [(&'static str, Policy); 3] {
    let plain = call_policy(Retries::none());
    let (timeout, deadline) = (Some(HOUR), Some(HOUR));
    [
        ("plain", plain),
        ("timeout", Policy { timeout, ..plain }),
        ("deadline", Policy { deadline, ..plain }),
    ]
}

#[test]
#[ignore = "it measures"]
fn a_call() {
    println!(
        "in bytes: a call {}, queued {}, a timer {}, its outcome {}, its slot {}",
        size_of::<Call<Job>>(),
        size_of::<CallKey>(),
        size_of::<Reverse<(Instant, Timer)>>(),
        size_of::<Outcome>(),
        size_of::<crate::job::slot::Slot>(),
    );
    for (name, policy) in policies() {
        for workers in [1, 10, 100, 1000] {
            print(
                &format!("{name}: {workers} idle, one at a time"),
                20_000,
                || {
                    let mut mill = Mill::new(workers, policy);
                    let start = Instant::now();
                    for input in 0..20_000 {
                        mill.submit(input);
                        mill.dispatch();
                        mill.answer(Duration::from_micros(1));
                    }
                    start.elapsed()
                },
            );
        }
        for workers in [1, 10, 100, 1000] {
            // Attempts are slow, so each worker has one or two of them.
            print(&format!("{name}: {workers} busy"), 20_000, || {
                let mut mill = Mill::new(workers, policy);
                let slow = Duration::from_millis(10);
                let mut inputs = 0..;
                for input in inputs.by_ref().take(4 * workers) {
                    mill.submit(input);
                }
                mill.dispatch();
                let start = Instant::now();
                for input in inputs.take(20_000) {
                    mill.submit(input);
                    mill.dispatch();
                    mill.answer(slow);
                }
                start.elapsed()
            });
        }
        for queued in [10, 1000, 100_000] {
            let rounds = 100_000 / queued;
            print(
                &format!("{name}: {queued} queued, 2 workers"),
                100_000,
                || {
                    let mut mill = Mill::new(2, policy);
                    let start = Instant::now();
                    for _ in 0..rounds {
                        for input in 0..queued {
                            mill.submit(input as u64);
                        }
                        mill.dispatch();
                        while mill.answer(Duration::from_micros(1)) {}
                    }
                    start.elapsed()
                },
            );
        }
        for queued in [10, 1000, 100_000] {
            let rounds = 100_000 / queued;
            print(
                &format!("{name}: {queued} queued and cancelled"),
                100_000,
                || {
                    let mut mill = Mill::new(2, policy);
                    let start = Instant::now();
                    for _ in 0..rounds {
                        let keys: Vec<_> =
                            (0..queued).map(|input| mill.submit(input as u64)).collect();
                        for key in keys {
                            mill.scheduler.cancel([key], Cancelled::ByCaller);
                            mill.act();
                        }
                        mill.dispatch();
                    }
                    start.elapsed()
                },
            );
        }
    }
}
