//! Machines: what each makes of a task, and a simple local scheduler.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::world::{Event, From, Message, Note, World, check_numbers};
use super::{HOST_TIMEOUT, MILLI, SECOND, numbers, values};
use crate::agent::execution::{Execution, HostFacts, LocalCall, Opened, open};
use crate::api::call_id::CallNumber;
use crate::api::context::{Attempt, AttemptOutcome};
use crate::api::engine::Verdict;
use crate::api::failure::{Cancelled, Crash, ExitCause, Limit, TimedOut};
use crate::codec::payload::Payload;
use crate::job::budget::Budget;
use crate::job::outcome::{Failure, History, Outcome};
use crate::job::resumption::Resumption;
use crate::wire::task::{self, Answer};

/// The time between two signs of life of a task.
const BEAT: Duration = Duration::from_secs(2);

/// The longest time that the calls of a lost task take to end.
const KILL: Duration = Duration::from_millis(500);

/// The number of crashes that end a call.
const CRASHES: u32 = 3;

const SIGSEGV: ExitCause = ExitCause::Signal {
    signal: 11,
    core_dumped: false,
};

/// A simulated machine.
pub(super) struct Machine {
    /// The times until which it is cut off from the engine, in either direction.
    pub(super) mute_until: Instant,
    pub(super) deaf_until: Instant,
    pub(super) works: BTreeMap<u64, Work>,
    pub(super) runs: BTreeMap<u64, LocalRun>,
    queue: VecDeque<u64>,
    /// The number of tasks that are on their way.
    pub(super) awaited: u32,
    is_draining: bool,
}

/// A task that a machine has.
pub(super) struct Work {
    pub(super) from: From,
    pub(super) group: usize,
    pub(super) execution: Execution,
    budget: Option<Budget>,
    verdict: Option<Verdict>,
    /// Set once the engine does not want to hear of it any more.
    is_refused: bool,
}

/// A call, or several that succeed together, in a machine's scheduler.
pub(super) struct LocalRun {
    work: u64,
    call: LocalCall,
    past: Resumption,
    deadline: Option<Instant>,
    /// The start of the attempt that is under way.
    started: Option<Instant>,
    /// The number of the next step; a step of another number is outdated.
    step: u32,
}

impl Machine {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            mute_until: now,
            deaf_until: now,
            works: BTreeMap::new(),
            runs: BTreeMap::new(),
            queue: VecDeque::new(),
            awaited: 0,
            is_draining: false,
        }
    }

    pub(super) fn has_room(&self, slots: u32) -> bool {
        let works = self.works.values().filter(|work| work.verdict.is_none());
        let used: u32 = works.map(|work| work.execution.unfinished()).sum();
        !self.is_draining && used + self.awaited < slots
    }

    fn executing(&self) -> usize {
        let runs = self.runs.values();
        runs.filter(|run| run.started.is_some()).count()
    }
}

impl Work {
    pub(super) fn counts(&self) -> (u64, u64) {
        self.budget.as_ref().map_or((0, 0), Budget::counts)
    }
}

fn host(machine: u32) -> String {
    format!("host{machine}")
}

impl World {
    fn machine(&mut self, number: u32) -> Option<&mut Machine> {
        self.machines.get_mut(&number)
    }

    fn work(&mut self, machine: u32, work: u64) -> Option<&mut Work> {
        self.machine(machine)?.works.get_mut(&work)
    }

    pub(super) fn take_note(&mut self, machine: u32, note: Note) {
        let now = self.now;
        match note {
            Note::Deliver {
                from,
                group,
                delivery,
            } => {
                let Some(known) = self.machine(machine) else {
                    return;
                };
                known.awaited -= 1;
                let opened = open(now, &host(machine), delivery);
                let work = from.work;
                match opened.unwrap_or_else(|error| panic!("seed {}: {error}", self.seed)) {
                    Opened::Run {
                        calls,
                        allowance,
                        execution,
                    } => {
                        let name = self.groups[group].registration.spec.name;
                        assert_eq!(calls.function, name, "seed {}", self.seed);
                        assert_eq!(
                            calls.policy, self.groups[group].policy,
                            "seed {}",
                            self.seed
                        );
                        let has_budget = self.groups[group].budget.is_some();
                        assert_eq!(allowance.is_some(), has_budget, "seed {}", self.seed);
                        let budget = allowance.map(|one| Budget::lent(one.ratio, one.retries));
                        let one = Work {
                            from,
                            group,
                            execution: *execution,
                            budget,
                            verdict: None,
                            is_refused: false,
                        };
                        let known = self.machine(machine).expect("it is there");
                        known.works.insert(work, one);
                        if known.is_draining {
                            self.drain_work(machine, work);
                        }
                        self.beat(machine, work);
                    }
                    Opened::End(verdict) => {
                        self.report(machine, Message::Verdict { from, verdict })
                    }
                }
            }
            Note::Acknowledged {
                work,
                asked,
                is_cancelled,
            } => {
                let Some(one) = self.work(machine, work) else {
                    return;
                };
                if is_cancelled {
                    return self.cancel_work(machine, work);
                }
                let calls = one.execution.acknowledge(now, asked);
                self.enter(machine, work, calls);
                self.conclude(machine, work);
            }
            Note::Refused { work } => {
                if let Some(one) = self.work(machine, work) {
                    one.is_refused = true;
                    self.cancel_work(machine, work);
                }
            }
            Note::Taken { work } => self.leave(machine, work),
        }
    }

    /// Sends a sign of life with the ledger.
    pub(super) fn beat(&mut self, machine: u32, work: u64) {
        let asked = self.now;
        let Some(one) = self.work(machine, work) else {
            return;
        };
        if one.verdict.is_none() && !one.is_refused {
            let (from, ledger) = (one.from.clone(), one.execution.ledger());
            self.report(
                machine,
                Message::Beat {
                    from,
                    asked,
                    ledger,
                },
            );
            self.after(BEAT, Event::Beat(machine, work));
        }
    }

    fn cancel_work(&mut self, machine: u32, work: u64) {
        if let Some(one) = self.work(machine, work)
            && one.execution.cancel()
        {
            self.stop(machine, work, KILL, false);
        }
        self.conclude(machine, work);
    }

    fn drain_work(&mut self, machine: u32, work: u64) {
        if let Some(one) = self.work(machine, work)
            && one.execution.drain()
        {
            // Functions may have a grace that is longer than the engine waits.
            let grace = self.random.choice([KILL, 15 * SECOND]).expect("one");
            self.stop(machine, work, grace, true);
        }
        self.conclude(machine, work);
    }

    fn stop(&mut self, machine: u32, work: u64, most: Duration, is_drain: bool) {
        let time = self.random_time(most);
        self.after(
            time,
            Event::Stopped {
                machine,
                work,
                is_drain,
            },
        );
    }

    pub(super) fn drain(&mut self, number: u32) {
        let Some(machine) = self.machine(number) else {
            return;
        };
        machine.is_draining = true;
        let works: Vec<u64> = machine.works.keys().copied().collect();
        for work in works {
            self.drain_work(number, work);
        }
        self.retire(number);
    }

    /// Replaces a machine that has nothing left to do.
    fn retire(&mut self, number: u32) {
        let machine = self.machines.get(&number);
        if machine.is_some_and(|machine| {
            machine.is_draining && machine.works.is_empty() && machine.awaited == 0
        }) {
            self.die(number);
        }
    }

    /// Calls what is due at machines.
    pub(super) fn tick_works(&mut self) {
        let (now, seed) = (self.now, self.seed);
        let (mut due, mut lost) = (Vec::new(), Vec::new());
        for (number, machine) in &mut self.machines {
            for (key, work) in &mut machine.works {
                if work.execution.next_timer().is_some_and(|at| at <= now) {
                    let (calls, must_end) = work.execution.tick(now);
                    let next = work.execution.next_timer();
                    let is_later = next.is_none_or(|at| at > now);
                    assert!(
                        is_later,
                        "seed {seed}: the machine's timer stays due: {:?}",
                        work.execution
                    );
                    due.push((*number, *key, calls));
                    lost.extend(must_end.then_some((*number, *key)));
                }
            }
        }
        for (machine, work) in lost {
            self.stop(machine, work, KILL, false);
        }
        for (machine, work, calls) in due {
            self.enter(machine, work, calls);
            self.conclude(machine, work);
        }
    }

    /// Makes the verdict on a task once there is one, and sends it.
    fn conclude(&mut self, machine: u32, key: u64) {
        let (now, slots) = (self.now, self.style.slots);
        let Some(work) = self.work(machine, key) else {
            return;
        };
        let counts = work.counts();
        if work.verdict.is_none() {
            let host = HostFacts {
                slots,
                executed: 0,
                counts,
            };
            let Some(verdict) = work.execution.verdict(now, host) else {
                return;
            };
            let group = work.group;
            work.verdict = Some(verdict.clone());
            let id = work.from.id.clone();
            self.reports.insert(key, (group, counts));
            match verdict {
                Verdict::Answer(answer) => self.note_smaller(&id, answer),
                Verdict::Again { .. } => {
                    assert_eq!(counts, (0, 0), "seed {}: forgotten retries", self.seed);
                }
                _ => {}
            }
            self.match_later();
        }
        let Some(work) = self.work(machine, key) else {
            return;
        };
        if work.is_refused || matches!(work.verdict, Some(Verdict::Lost)) {
            return self.leave(machine, key);
        }
        if work.verdict.is_some() {
            self.send_verdict(machine, key);
        }
    }

    /// Notes the inputs that an answer asks to be made again as if they had never been made.
    fn note_smaller(&mut self, id: &crate::api::engine::TaskId, answer: Vec<u8>) {
        let Some(inputs) = self.inputs_of(id) else {
            return;
        };
        let (answer, mut payload) = task::decode::<Answer>(answer).expect("it is an answer");
        for reply in answer.replies {
            let place = reply.number as usize;
            let outcome = reply.take(&mut payload).expect("it has its values");
            if let Err(Failure::HandedBack(past)) = outcome.result
                && past.failures == 0
            {
                let input = self.inputs.get_mut(&inputs[place]).expect("it is known");
                input.is_forgiven = true;
            }
        }
    }

    pub(super) fn send_verdict(&mut self, machine: u32, key: u64) {
        if let Some(work) = self.work(machine, key)
            && let Some(verdict) = work.verdict.clone()
        {
            let from = work.from.clone();
            self.report(machine, Message::Verdict { from, verdict });
            self.after(4 * SECOND, Event::Resend(machine, key));
        }
    }

    fn leave(&mut self, machine: u32, key: u64) {
        let Some(known) = self.machine(machine) else {
            return;
        };
        if known
            .works
            .get(&key)
            .is_some_and(|work| work.verdict.is_some())
        {
            known.works.remove(&key);
        }
        self.retire(machine);
        self.match_later();
    }

    /// Gives calls to a machine's scheduler.
    fn enter(&mut self, machine: u32, work: u64, calls: Vec<LocalCall>) {
        for mut call in calls {
            let expected = numbers(&call.input);
            if let Some(index) = call.index {
                let group = self.inputs[&expected[0]].group;
                let first = self.groups[group].first;
                assert_eq!(
                    first + index,
                    expected[0],
                    "seed {}: another place",
                    self.seed
                );
            }
            if let Some(past) = call.resumption.take() {
                assert_eq!(
                    expected.len(),
                    1,
                    "seed {}: several with one history",
                    self.seed
                );
                self.enter_one(machine, work, call, *past);
                continue;
            }
            while call.input.count() > 1 {
                let whole = call.input.count();
                let wanted = self.random.u32(1..=whole);
                let is_killer = |number: &u64| self.inputs[number].is_killer;
                let calm = expected[expected.len() - whole as usize..]
                    .iter()
                    .position(is_killer);
                let take = calm.map_or(wanted, |calm| wanted.min((calm as u32).max(1)));
                if take == whole {
                    break;
                }
                let part = LocalCall {
                    number: call.number,
                    index: call.index,
                    input: call.input.split_front(take),
                    resumption: None,
                };
                call.number += take;
                call.index = call.index.map(|index| index + u64::from(take));
                self.enter_one(machine, work, part, Resumption::default());
            }
            self.enter_one(machine, work, call, Resumption::default());
        }
        self.begin(machine);
    }

    fn enter_one(&mut self, machine: u32, work: u64, call: LocalCall, past: Resumption) {
        let first = numbers(&call.input)[0];
        let policy = self.groups[self.inputs[&first].group].policy;
        check_numbers(self.seed, &past.attempts, past.attempt);
        assert!(
            past.failures <= policy.retries.max_retries() && past.crashes < CRASHES,
            "seed {}: {first} resumes after {past:?}",
            self.seed
        );
        let own = policy.deadline.filter(|_| call.index.is_none());
        let deadline = past.left.or(own).map(|left| self.now + left);
        let delay = past.delay;
        let run = LocalRun {
            work,
            call,
            past,
            deadline,
            started: None,
            step: 0,
        };
        let key = self.next_work;
        self.next_work += 1;
        if let Some(deadline) = deadline {
            self.after(
                deadline - self.now,
                Event::RunDeadline { machine, run: key },
            );
        }
        let Some(known) = self.machine(machine) else {
            return;
        };
        known.runs.insert(key, run);
        if delay.is_zero() {
            known.queue.push_back(key);
        } else {
            self.after(
                delay,
                Event::Step {
                    machine,
                    run: key,
                    step: 0,
                },
            );
        }
    }

    /// Starts what is queued while there are slots.
    fn begin(&mut self, number: u32) {
        let slots = self.style.slots as usize;
        while let Some(machine) = self.machine(number)
            && machine.executing() < slots
            && let Some(key) = machine.queue.pop_front()
        {
            self.start(number, key);
        }
    }

    fn start(&mut self, number: u32, key: u64) {
        let (now, seed) = (self.now, self.seed);
        let Some(machine) = self.machines.get_mut(&number) else {
            return;
        };
        let Some(run) = machine.runs.get_mut(&key) else {
            return;
        };
        run.started = Some(now);
        run.step += 1;
        let (step, inputs) = (run.step, numbers(&run.call.input));
        let mut kills = false;
        for one in &inputs {
            let input = self.inputs.get_mut(one).expect("it is known");
            let policy = self.groups[input.group].policy;
            assert_eq!(
                input.executing, None,
                "seed {seed}: {one} starts on machine {number} too"
            );
            assert!(
                !policy.at_most_once || !input.is_unsettled,
                "seed {seed}: {one} starts again: {input:?}"
            );
            input.executing = Some(number);
            input.is_unsettled = true;
            kills |= input.is_killer;
        }
        let group = &self.groups[self.inputs[&inputs[0]].group];
        if run.deadline.is_none()
            && let (true, Some(limit)) = (group.is_map, group.policy.deadline)
        {
            run.deadline = Some(now + limit);
            self.after(
                limit,
                Event::RunDeadline {
                    machine: number,
                    run: key,
                },
            );
        }
        let longest = match self.random.u8(0..100) {
            roll if roll < self.style.long => 3 * HOST_TIMEOUT,
            80.. => SECOND,
            _ => 20 * MILLI,
        };
        let time = self.random_time(longest * inputs.len().min(10) as u32);
        let event = match kills {
            true => Event::Die(number),
            false => Event::Step {
                machine: number,
                run: key,
                step,
            },
        };
        self.after(if kills { MILLI } else { time }, event);
    }

    pub(super) fn step(&mut self, number: u32, key: u64, step: u32) {
        let Some(machine) = self.machines.get_mut(&number) else {
            return;
        };
        let Some(run) = machine.runs.get_mut(&key).filter(|run| run.step == step) else {
            return;
        };
        if run.started.is_none() {
            machine.queue.push_back(key);
        } else {
            self.end_attempt(number, key);
        }
        self.begin(number);
    }

    /// Forgets that the inputs of a run execute.
    fn halt(&mut self, number: u32, key: u64) -> Option<(Instant, Vec<u64>)> {
        let run = self.machines.get_mut(&number)?.runs.get_mut(&key)?;
        let started = run.started.take()?;
        run.step += 1;
        let inputs = numbers(&run.call.input);
        for one in &inputs {
            self.inputs.get_mut(one).expect("it is known").executing = None;
        }
        Some((started, inputs))
    }

    fn end_attempt(&mut self, number: u32, key: u64) {
        let Some((started, inputs)) = self.halt(number, key) else {
            return;
        };
        let (now, size, work) = (
            self.now,
            self.style.size,
            self.machines[&number].runs[&key].work,
        );
        let one = inputs[0];
        let count = inputs.len() as u64;
        let roll = if count == 1 {
            self.random.u8(0..100)
        } else {
            99
        };
        let group = self.inputs[&one].group;
        let policy = self.groups[group].policy;
        if roll >= self.style.errors + self.style.crashes {
            for one in &inputs {
                let input = self.inputs.get_mut(one).expect("it is known");
                input.has_succeeded = true;
            }
            if let Some(budget) = self.budget(number, work) {
                budget.count_attempts(count as u32);
            }
            return self.end_run(number, key, Ok(values(inputs, size)));
        }
        let is_error = roll < self.style.errors;
        let retry = self.random.u8(0..10) > 0;
        let mut random = self.random.fork();
        let input = self.inputs.get_mut(&one).expect("it is known");
        let Some(machine) = self.machines.get_mut(&number) else {
            return;
        };
        let (Some(run), Some(work)) = (machine.runs.get_mut(&key), machine.works.get(&work)) else {
            return;
        };
        let outcome = match is_error {
            true => AttemptOutcome::Failed,
            false => AttemptOutcome::Crashed(SIGSEGV),
        };
        record(run, number, started, now, outcome);
        if !is_error {
            run.past.crashes += 1;
            if policy.at_most_once || run.past.crashes >= CRASHES {
                input.has_crashed = true;
                let crash = Failure::Crashed(Crash::new(SIGSEGV, 1));
                return self.end_run(number, key, Err(crash));
            }
            machine.queue.push_back(key);
            return;
        }
        input.charged += 1;
        input.is_unsettled = false;
        let error = Failure::Function(Bytes::copy_from_slice(&one.to_le_bytes()));
        let failures = run.past.failures + 1;
        let mut delay = policy
            .retries
            .draw_delay(failures, &mut random)
            .filter(|_| retry);
        if let Some(budget) = &work.budget {
            budget.count_attempts(1);
            delay = delay.filter(|_| budget.try_retry());
        }
        let in_time = |delay: &Duration| run.deadline.is_none_or(|at| now + *delay < at);
        let Some(delay) = delay.filter(in_time) else {
            input.has_failed = true;
            return self.end_run(number, key, Err(error));
        };
        run.past.failures = failures;
        run.past.last = run.deadline.is_some().then_some(error);
        if run.past.last.is_some() {
            // The caller gets it if the deadline passes.
            input.has_failed = true;
        }
        if delay > SECOND {
            let back = Resumption {
                delay,
                left: run.deadline.map(|at| at.saturating_duration_since(now)),
                ..run.past.clone()
            };
            self.end_run(number, key, Err(Failure::HandedBack(Box::new(back))));
        } else if delay.is_zero() {
            machine.queue.push_front(key);
        } else {
            let step = run.step;
            self.after(
                delay,
                Event::Step {
                    machine: number,
                    run: key,
                    step,
                },
            );
        }
    }

    fn budget(&mut self, machine: u32, work: u64) -> Option<&Budget> {
        self.work(machine, work)?.budget.as_ref()
    }

    pub(super) fn run_deadline(&mut self, number: u32, key: u64) {
        let run = self
            .machines
            .get(&number)
            .and_then(|machine| machine.runs.get(&key));
        let Some(run) = run else {
            return;
        };
        let timed_out = Failure::TimedOut(TimedOut::new(Limit::Deadline, SECOND));
        let why = run.past.last.clone().unwrap_or(timed_out);
        self.halt(number, key);
        // The values of several inputs are not an error.
        let count = self.machines[&number].runs[&key].call.input.count();
        if count > 1 {
            return self.split_run(number, key, &why);
        }
        self.end_run(number, key, Err(why));
        self.begin(number);
    }

    /// Ends the calls of a run one by one, as their scheduler does when they fail.
    fn split_run(&mut self, number: u32, key: u64, why: &Failure) {
        let Some(machine) = self.machines.get_mut(&number) else {
            return;
        };
        let Some(mut run) = machine.runs.remove(&key) else {
            return;
        };
        machine.queue.retain(|queued| *queued != key);
        let count = run.call.input.count();
        for place in 0..count {
            let part = LocalCall {
                number: run.call.number + place,
                index: run.call.index.map(|index| index + u64::from(place)),
                input: match place + 1 < count {
                    true => run.call.input.split_front(1),
                    false => std::mem::replace(&mut run.call.input, Payload::NONE),
                },
                resumption: None,
            };
            self.end_call(number, run.work, part, Err(why.clone()), Vec::new());
        }
        self.conclude(number, run.work);
        self.begin(number);
    }

    fn end_run(&mut self, number: u32, key: u64, result: Result<Payload, Failure>) {
        let Some(machine) = self.machines.get_mut(&number) else {
            return;
        };
        machine.queue.retain(|queued| *queued != key);
        let Some(run) = machine.runs.remove(&key) else {
            return;
        };
        let work = run.work;
        self.end_call(number, work, run.call, result, run.past.attempts);
        self.conclude(number, work);
    }

    fn end_call(
        &mut self,
        machine: u32,
        work: u64,
        call: LocalCall,
        result: Result<Payload, Failure>,
        attempts: Vec<Attempt>,
    ) {
        let now = self.now;
        if let Ok(values) = &result
            && values.count() == 1
        {
            let is_large = values.bytes().len() + 400 > self.style.max_body;
            let one = numbers(&call.input)[0];
            self.inputs.get_mut(&one).expect("it is known").is_too_large = is_large;
        }
        let outcome = Outcome {
            call: CallNumber::NONE,
            result,
            history: History::new(attempts, None),
        };
        if let Some(work) = self.work(machine, work) {
            work.execution.end(now, call, outcome);
        }
        self.match_later();
    }

    /// Ends the calls of a task that were to end.
    pub(super) fn stopped(&mut self, number: u32, work: u64, is_drain: bool) {
        let now = self.now;
        let Some(machine) = self.machine(number) else {
            return;
        };
        let runs = machine.runs.iter();
        let keys: Vec<u64> = runs
            .filter(|(_, run)| run.work == work)
            .map(|(key, _)| *key)
            .collect();
        for key in keys {
            let Some(run) = self.machine(number).and_then(|one| one.runs.get_mut(&key)) else {
                continue;
            };
            let first = numbers(&run.call.input)[0];
            let started = run.started;
            let once = self.groups[self.inputs[&first].group].policy.at_most_once;
            if is_drain && once && started.is_some() {
                // It could not be made elsewhere.
                continue;
            }
            self.halt(number, key);
            let Some(run) = self.machine(number).and_then(|one| one.runs.get_mut(&key)) else {
                continue;
            };
            if let Some(started) = started {
                record(run, number, started, now, AttemptOutcome::Cancelled);
            }
            let why = match is_drain {
                false => Failure::Cancelled(Cancelled::ByCaller),
                true => Failure::HandedBack(Box::new(Resumption {
                    delay: Duration::ZERO,
                    left: run.deadline.map(|at| at.saturating_duration_since(now)),
                    ..run.past.clone()
                })),
            };
            match run.call.input.count() {
                1 => self.end_run(number, key, Err(why)),
                _ => self.split_run(number, key, &why),
            }
        }
        self.conclude(number, work);
        self.begin(number);
    }
}

/// Records an attempt that has ended without a value.
fn record(run: &mut LocalRun, machine: u32, start: Instant, now: Instant, outcome: AttemptOutcome) {
    let attempt = Attempt {
        number: run.past.attempt,
        worker_pid: Some(1),
        host: host(machine).into(),
        start,
        duration: now.saturating_duration_since(start),
        outcome,
        error: None,
    };
    crate::api::context::remember(&mut run.past.attempts, attempt);
    run.past.attempt += 1;
}
