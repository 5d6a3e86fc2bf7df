//! A caller and an engine, with machines around them, and the checks of what the caller gets.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::local::Machine;
use super::{
    BATCH, HOST_TIMEOUT, MILLI, ONCE, PLAIN, SECOND, callee, job, numbers, policy, settings,
};
use crate::api::call_id::CallNumber;
use crate::api::context::Attempt;
use crate::api::engine::{Delivery, Hosts, Task, TaskEnd, TaskId, Verdict};
use crate::api::failure::{Cancelled, Lost, Rejected};
use crate::api::options::Policy;
use crate::api::retries::Retries;
use crate::fleet::tasks::{Action, PoolKey, Tasks};
use crate::function::callee::Callee;
use crate::function::registry::Registration;
use crate::job::Job;
use crate::job::budget::Budget;
use crate::job::caller::Caller;
use crate::job::outcome::{Failure, History, Outcome};
use crate::scheduler::Numbers;
use crate::wire::message::Item;
use crate::wire::task::{self, Body};

/// The limits of a history. A retry may wait for 24 seconds, and a killer takes a few minutes to be found.
const MOST_EVENTS: usize = 100_000;
const MAX_HISTORY_TIME: Duration = Duration::from_secs(60 * 60);

/// The events that a history may have.
#[derive(Clone, Debug)]
pub(super) struct Style {
    pub(super) machines: u32,
    pub(super) slots: u32,
    pub(super) max_body: usize,
    /// The number of things that the caller does.
    pub(super) acts: u32,
    /// The shares of attempts that fail and that crash, in percent.
    pub(super) errors: u8,
    pub(super) crashes: u8,
    /// The share of attempts that may take longer than a machine is waited for, in percent.
    pub(super) long: u8,
    /// The number of times at which something happens to a machine or the engine.
    pub(super) troubles: u32,
    /// The share of inputs that kill their machine, in thousandths.
    pub(super) killers: u16,
    /// `true` if each input is executed alone on its machine, and only inputs harm machines.
    pub(super) is_isolated: bool,
    /// `true` if nothing goes wrong, except that deadlines pass.
    pub(super) is_calm: bool,
    /// `true` if the caller cancels calls and closes.
    pub(super) cancels: bool,
    /// The longest time that a message takes. If it is more than a second, most take less.
    pub(super) latency: Duration,
    /// The sizes of an input and of a result.
    pub(super) input: usize,
    pub(super) size: usize,
}

impl Style {
    pub(super) fn turmoil(random: &mut fastrand::Rng) -> Self {
        Self {
            machines: random.u32(1..5),
            slots: random.u32(1..5),
            max_body: random.choice([3_000, 20_000, 1_900_000]).expect("one"),
            acts: random.u32(1..12),
            errors: random.choice([0, 10, 50]).expect("one"),
            crashes: random.choice([0, 0, 5]).expect("one"),
            long: random.choice([0, 5, 50]).expect("one"),
            troubles: random.u32(0..8),
            killers: random.choice([0, 0, 20]).expect("one"),
            is_isolated: false,
            is_calm: false,
            cancels: random.bool(),
            latency: MILLI * random.choice([5, 100, 8_000]).expect("one"),
            input: random.choice([8, 8, 100]).expect("one"),
            size: random.choice([8, 8, 200]).expect("one"),
        }
    }

    pub(super) fn killers(random: &mut fastrand::Rng) -> Self {
        Self {
            slots: 1,
            acts: 3,
            errors: 0,
            crashes: 0,
            troubles: 0,
            killers: 30,
            is_isolated: true,
            cancels: false,
            latency: 50 * MILLI,
            size: 8,
            max_body: 1_900_000,
            ..Self::turmoil(random)
        }
    }

    pub(super) fn calm(random: &mut fastrand::Rng) -> Self {
        Self {
            killers: 0,
            is_calm: true,
            latency: 50 * MILLI,
            troubles: 0,
            cancels: false,
            errors: 0,
            crashes: 0,
            size: 8,
            ..Self::turmoil(random)
        }
    }
}

/// A call, or a map.
pub(super) struct Group {
    pub(super) registration: &'static Registration,
    pub(super) policy: Policy,
    pub(super) budget: Option<Arc<Budget>>,
    caller: Caller,
    /// The numbers of the call or of the chunks of the map.
    calls: Vec<CallNumber>,
    pub(super) first: u64,
    count: u64,
    pub(super) is_map: bool,
    /// The attempts and the retries that answers have brought to the caller.
    reported: (u64, u64),
}

/// The state of an input, as the test knows it.
#[derive(Debug, Default)]
pub(super) struct Input {
    pub(super) group: usize,
    pub(super) is_killer: bool,
    /// The machine that executes it.
    pub(super) executing: Option<u32>,
    /// Set while an attempt has not ended in a way that lets the function be called again.
    pub(super) is_unsettled: bool,
    pub(super) has_succeeded: bool,
    pub(super) has_failed: bool,
    pub(super) has_crashed: bool,
    pub(super) is_too_large: bool,
    /// The failures that were charged to the policy.
    pub(super) charged: u32,
    /// Set once some of them may have been forgotten with a machine or a result that did not fit.
    pub(super) is_forgiven: bool,
    /// The machines that were lost while it was the only call of its task.
    lost_alone: u32,
    has_expired: bool,
    is_cancelled: bool,
    deadline: Option<Instant>,
    pub(super) is_resolved: bool,
}

/// A task that the engine has.
struct Held {
    number: u64,
    task: Task,
    submitted: Instant,
    ready_at: Instant,
    ledger: Option<Vec<u8>>,
    /// The number of the last delivery; what is said about an earlier one is refused.
    delivery: u32,
    holder: Option<Holder>,
    heard: Instant,
    is_cancelled: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Holder {
    /// `None` if no machine has received the task.
    machine: Option<u32>,
    has_begun: bool,
}

/// A message on its way to the engine.
pub(super) enum Message {
    Submit {
        number: u64,
        task: Box<Task>,
    },
    Cancel(TaskId),
    FindHosts(PoolKey),
    Beat {
        from: From,
        asked: Instant,
        ledger: Vec<u8>,
    },
    Verdict {
        from: From,
        verdict: Verdict,
    },
}

/// A task on a machine.
#[derive(Clone, Debug)]
pub(super) struct From {
    pub(super) machine: u32,
    pub(super) work: u64,
    pub(super) id: TaskId,
    pub(super) delivery: u32,
}

/// A message on its way to a machine.
pub(super) enum Note {
    Deliver {
        from: From,
        group: usize,
        delivery: Delivery,
    },
    Acknowledged {
        work: u64,
        asked: Instant,
        is_cancelled: bool,
    },
    Refused {
        work: u64,
    },
    Taken {
        work: u64,
    },
}

pub(super) enum Event {
    Act,
    Trouble,
    ToEngine(Message),
    ToMachine(u32, Note),
    End(u64, TaskEnd),
    Found(PoolKey),
    Match,
    HostTimeout(TaskId, u32),
    Deadline(TaskId),
    Join,
    Beat(u32, u64),
    Resend(u32, u64),
    /// An attempt of a machine's run has ended, or the delay before it.
    Step {
        machine: u32,
        run: u64,
        step: u32,
    },
    RunDeadline {
        machine: u32,
        run: u64,
    },
    /// The calls of a task that were to end have ended.
    Stopped {
        machine: u32,
        work: u64,
        is_drain: bool,
    },
    Die(u32),
}

pub(super) struct World {
    pub(super) seed: u64,
    pub(super) random: fastrand::Rng,
    pub(super) style: Style,
    pub(super) now: Instant,
    begun: Instant,
    events: BTreeMap<(Instant, u64), Event>,
    next_event: u64,
    tasks: Tasks,
    pub(super) groups: Vec<Group>,
    pub(super) inputs: BTreeMap<u64, Input>,
    /// The inputs of the tasks that were sent.
    sent: BTreeMap<u64, Vec<u64>>,
    held: BTreeMap<TaskId, Held>,
    down_until: Instant,
    /// The time at which the engine looks for a machine, unless it has passed.
    next_match: Instant,
    /// The time at which the last message of the caller arrives: they keep their order.
    last_arrival: Instant,
    pub(super) machines: BTreeMap<u32, Machine>,
    next_machine: u32,
    pub(super) next_work: u64,
    /// The counts of tasks that no answer has brought to the caller.
    pub(super) reports: BTreeMap<u64, (usize, (u64, u64))>,
    acts: u32,
    is_closed: bool,
}

impl World {
    pub(super) fn new(seed: u64, random: fastrand::Rng, style: Style) -> Self {
        let now = Instant::now();
        let mut world = Self {
            seed,
            random,
            now,
            begun: now,
            events: BTreeMap::new(),
            next_event: 0,
            tasks: Tasks::new(settings(style.max_body), Arc::new(Numbers::default())),
            groups: Vec::new(),
            inputs: BTreeMap::new(),
            sent: BTreeMap::new(),
            held: BTreeMap::new(),
            down_until: now,
            next_match: now,
            last_arrival: now,
            machines: BTreeMap::new(),
            next_machine: 1,
            next_work: 1,
            reports: BTreeMap::new(),
            acts: style.acts,
            is_closed: false,
            style,
        };
        for _ in 0..world.style.machines {
            world.after(Duration::ZERO, Event::Join);
        }
        for _ in 0..world.style.troubles {
            let at = world.random_time(60 * SECOND);
            world.after(at, Event::Trouble);
        }
        world.after(Duration::ZERO, Event::Act);
        world
    }

    pub(super) fn after(&mut self, delay: Duration, event: Event) {
        self.next_event += 1;
        self.events
            .insert((self.now + delay, self.next_event), event);
    }

    pub(super) fn random_time(&mut self, most: Duration) -> Duration {
        most.mul_f64(self.random.f64())
    }

    /// Returns the time that a message takes.
    fn way(&mut self) -> Duration {
        let is_quick = self.style.latency > SECOND && self.random.u8(0..10) > 0;
        let most = if is_quick {
            100 * MILLI
        } else {
            self.style.latency
        };
        self.random_time(most)
    }

    pub(super) fn run(mut self) {
        for _ in 0..MOST_EVENTS {
            let event = self.events.first_key_value().map(|((at, _), _)| *at);
            let works = self
                .machines
                .values()
                .flat_map(|machine| machine.works.values());
            let local = works.filter_map(|work| work.execution.next_timer()).min();
            let caller = self.tasks.next_timer();
            let Some(next) = event.into_iter().chain(local).chain(caller).min() else {
                return self.finish();
            };
            self.now = self.now.max(next);
            assert!(
                self.now < self.begun + MAX_HISTORY_TIME,
                "seed {}: it takes too long: {:?}",
                self.seed,
                self.unresolved()
            );
            if caller.is_some_and(|at| at <= self.now) {
                self.tasks.tick(self.now);
                let next = self.tasks.next_timer();
                assert!(
                    next.is_none_or(|at| at > self.now),
                    "seed {}: the caller's timer stays due",
                    self.seed
                );
                self.act();
            } else if local.is_some_and(|at| at <= self.now) {
                self.tick_works();
            } else if let Some((_, event)) = self.events.pop_first() {
                self.handle(event);
            }
        }
        panic!(
            "seed {}: it does not end: {:?}",
            self.seed,
            self.unresolved()
        );
    }

    fn unresolved(&self) -> Vec<(&u64, &Input)> {
        let inputs = self.inputs.iter();
        inputs.filter(|(_, input)| !input.is_resolved).collect()
    }

    fn finish(self) {
        let seed = self.seed;
        assert!(
            self.unresolved().is_empty(),
            "seed {seed}: it hangs: {:?}",
            self.unresolved()
        );
        assert!(
            self.tasks.pending() == (0, 0),
            "seed {seed}: the caller has calls left"
        );
        assert!(
            self.held.is_empty(),
            "seed {seed}: the engine has tasks left"
        );
        for machine in self.machines.values() {
            assert!(
                machine.works.is_empty(),
                "seed {seed}: a machine has a task left"
            );
            assert!(
                machine.runs.is_empty(),
                "seed {seed}: a machine has calls left"
            );
        }
        for (number, input) in &self.inputs {
            let most = self.groups[input.group].policy.retries.max_retries() + 1;
            assert!(
                input.is_forgiven || input.charged <= most,
                "seed {seed}: {number} has failed {} times",
                input.charged
            );
        }
        for group in &self.groups {
            let Some(budget) = &group.budget else {
                continue;
            };
            let (attempts, retries) = group.reported;
            let most = 10.0 + budget.ratio() * attempts as f64;
            assert!(
                retries as f64 <= most,
                "seed {seed}: {retries} retries after {attempts} attempts"
            );
            assert_eq!(budget.counts(), group.reported, "seed {seed}: counts");
            let limit = (budget.ratio() * attempts as f64).max(10.0) as u64;
            let rest = limit.saturating_sub(retries);
            assert_eq!(
                budget.lend(u32::MAX),
                rest,
                "seed {seed}: what is still lent"
            );
        }
    }

    fn handle(&mut self, event: Event) {
        let is_down = self.now < self.down_until;
        match event {
            Event::ToEngine(_) | Event::HostTimeout(..) | Event::Deadline(_) | Event::Match
                if is_down =>
            {
                let delay = self.down_until - self.now + self.random_time(SECOND);
                self.after(delay, event);
            }
            Event::Act => self.caller_acts(),
            Event::Trouble => self.trouble(),
            Event::ToEngine(message) => self.take_message(message),
            Event::ToMachine(machine, note) => {
                let hears = |one: &Machine| one.deaf_until <= self.now;
                if self.machines.get(&machine).is_some_and(hears) {
                    self.take_note(machine, note);
                } else if let Note::Deliver { .. } = note
                    && let Some(known) = self.machines.get_mut(&machine)
                {
                    known.awaited -= 1;
                }
            }
            Event::End(number, end) => self.take_end(number, end),
            Event::Found(pool) => {
                let hosts = Hosts {
                    serve: true,
                    others: Vec::new(),
                };
                self.tasks.found(self.now, &pool, &hosts);
                self.act();
            }
            Event::Match => self.deliver(),
            Event::HostTimeout(id, delivery) => self.host_timeout(&id, delivery),
            Event::Deadline(id) => {
                if let Some(held) = self.held.get(&id) {
                    let limit = held.task.deadline.unwrap_or_default();
                    self.end(&id, TaskEnd::TimedOut(limit));
                }
            }
            Event::Join => {
                let machine = self.next_machine;
                self.next_machine += 1;
                self.machines.insert(machine, Machine::new(self.now));
                self.after(MILLI, Event::Match);
            }
            Event::Beat(machine, work) => self.beat(machine, work),
            Event::Resend(machine, work) => self.send_verdict(machine, work),
            Event::Step { machine, run, step } => self.step(machine, run, step),
            Event::RunDeadline { machine, run } => self.run_deadline(machine, run),
            Event::Stopped {
                machine,
                work,
                is_drain,
            } => self.stopped(machine, work, is_drain),
            Event::Die(machine) => self.die(machine),
        }
    }

    // The caller.

    fn caller_acts(&mut self) {
        self.acts -= 1;
        if self.acts > 0 {
            let longest = self.random.choice([8 * SECOND, 20 * MILLI]).expect("one");
            let pause = self.random_time(longest);
            self.after(pause, Event::Act);
        }
        match self.random.u8(0..10) {
            0..2 if self.style.cancels => self.cancel(),
            2 if self.style.cancels && self.acts < 2 => {
                self.is_closed = true;
                self.tasks.shut_down(self.now, Duration::ZERO, false);
            }
            _ => self.submit(),
        }
        self.act();
    }

    fn submit(&mut self) {
        let kind = self.random.u8(0..4);
        let registration = [&PLAIN, &PLAIN, &BATCH, &ONCE][usize::from(kind)];
        let is_map = self.random.bool();
        let retries = match self.random.u8(0..4) {
            0 => Retries::none(),
            1 => Retries::fixed(2, Duration::ZERO),
            2 => Retries::fixed(3, SECOND),
            _ => Retries::exponential(4)
                .initial_delay(SECOND / 2)
                .backoff_coefficient(3.0),
        };
        let deadline = (self.style.killers == 0 && self.random.u8(0..3) == 0)
            .then(|| SECOND * self.random.u32(1..30));
        let policy = policy(registration, retries, deadline);
        let count = match is_map {
            true => self.random.choice([1, 4, 12, 60]).expect("one"),
            false => 1,
        };
        let ratio = self.random.choice([0.1, 0.5]).expect("one");
        let budget = (is_map && self.random.bool()).then(|| Arc::new(Budget::new(ratio)));
        let first = self.inputs.last_key_value().map_or(1, |(last, _)| last + 1);
        let config = (self.random.u8(0..4) == 0).then(|| b"config".to_vec().into());
        let mut group = Group {
            registration,
            policy,
            budget: budget.clone(),
            caller: Caller(self.groups.len() as u32 + 1),
            calls: Vec::new(),
            first,
            count,
            is_map,
            reported: (0, 0),
        };
        let callee = Callee {
            config: config.clone(),
            ..callee(registration, policy, budget)
        };
        let mut next = first;
        while next < first + count {
            let end = self.random.u64(next + 1..=first + count);
            for number in next..end {
                let input = Input {
                    group: self.groups.len(),
                    is_killer: self.random.u16(0..1000) < self.style.killers,
                    deadline: deadline.filter(|_| !is_map).map(|limit| self.now + limit),
                    ..Input::default()
                };
                self.inputs.insert(number, input);
            }
            let index = is_map.then_some(next - first);
            let job = job(next..end, self.style.input, index, group.caller);
            let call = self.tasks.submit(self.now, &callee, job);
            group.calls.push(call);
            next = end;
        }
        self.groups.push(group);
        let pool = (registration.spec.name, config);
        self.tasks.dispatch(self.now, &pool);
    }

    fn cancel(&mut self) {
        if self.groups.is_empty() {
            return;
        }
        let group = &self.groups[self.random.usize(..self.groups.len())];
        let (first, caller) = (group.first, group.caller);
        for number in first..first + group.count {
            self.inputs
                .get_mut(&number)
                .expect("it is known")
                .is_cancelled = true;
        }
        self.tasks
            .cancel_where(self.now, |job| job.caller == caller);
    }

    fn tell_engine(&mut self, message: Message) {
        self.last_arrival = self.last_arrival.max(self.now + self.way());
        self.after(self.last_arrival - self.now, Event::ToEngine(message));
    }

    /// Carries out what the caller has decided.
    fn act(&mut self) {
        while let Some(action) = self.tasks.next_action() {
            match action {
                Action::Submit { number, task } => {
                    let inputs = inputs(&task.body);
                    assert!(task.body.len() <= self.style.max_body, "seed {}", self.seed);
                    assert!(
                        !inputs.is_empty() && !task.label.is_empty(),
                        "seed {}",
                        self.seed
                    );
                    self.sent.insert(number, inputs);
                    let task = Box::new(task);
                    self.tell_engine(Message::Submit { number, task });
                }
                Action::Cancel(id) => self.tell_engine(Message::Cancel(id)),
                Action::FindHosts { pool, .. } => self.tell_engine(Message::FindHosts(pool)),
                Action::Resolve { job, outcome } => self.resolved(&job, outcome),
                Action::Attach { .. } | Action::Publish(_) => {}
            }
        }
    }

    fn take_end(&mut self, number: u64, end: TaskEnd) {
        let inputs = self.sent.remove(&number).expect("each task ends once");
        let open = |world: &Self| {
            let open = inputs.iter().filter(|one| !world.inputs[*one].is_resolved);
            open.copied().collect::<BTreeSet<u64>>()
        };
        let kind = end.clone();
        self.tasks.end(self.now, number, end);
        let cancels = matches!(kind, TaskEnd::Cancelled);
        if cancels || matches!(kind, TaskEnd::Expired) {
            while !open(self).is_empty() {
                let Some(Action::Resolve { job, outcome }) = self.tasks.next_action() else {
                    panic!("seed {}: {:?} stay open", self.seed, open(self));
                };
                let is_due = matches!(
                    (&outcome.result, cancels),
                    (Err(Failure::Cancelled(_)), true) | (Err(Failure::Lost(Lost::Expired)), false)
                );
                assert!(
                    is_due,
                    "seed {}: {kind:?} gives {:?}",
                    self.seed, outcome.result
                );
                self.resolved(&job, outcome);
            }
        }
        self.act();
    }

    /// Checks the outcome of a call, or of the calls of a chunk.
    fn resolved(&mut self, job: &Job, outcome: Outcome) {
        let (seed, now) = (self.seed, self.now);
        let meant = numbers(&job.input);
        if let Ok(values) = &outcome.result {
            assert_eq!(
                numbers(values),
                meant,
                "seed {seed}: values of other inputs"
            );
        }
        let history = History::of(outcome.history);
        check_numbers(seed, &history.attempts, u32::MAX);
        for number in meant {
            let input = self.inputs.get_mut(&number).expect("it was submitted");
            let group = &self.groups[input.group];
            assert!(
                !input.is_resolved,
                "seed {seed}: {number} is resolved twice"
            );
            input.is_resolved = true;
            if let Some(deadline) = input.deadline {
                let latest = deadline + SECOND;
                let late = now.saturating_duration_since(latest);
                assert!(late.is_zero(), "seed {seed}: {number} is {late:?} too late");
            }
            let allowed = match &outcome.result {
                Ok(_) => input.has_succeeded && !input.is_killer,
                Err(Failure::Function(_)) => input.has_failed,
                Err(Failure::Crashed(_)) => input.has_crashed,
                Err(Failure::Cancelled(Cancelled::ByCaller)) => input.is_cancelled,
                Err(Failure::Cancelled(Cancelled::ByShutdown))
                | Err(Failure::Rejected(Rejected::ShutDown)) => self.is_closed,
                Err(Failure::TimedOut(_)) => group.policy.deadline.is_some(),
                Err(Failure::Lost(Lost::Expired)) => input.has_expired,
                Err(Failure::Lost(Lost::TooLarge { .. })) => input.is_too_large,
                Err(Failure::Lost(Lost::HostsLost { hosts })) => {
                    let needed = if group.policy.at_most_once { 1 } else { 3 };
                    hosts.len() >= needed && input.lost_alone as usize >= needed
                }
                Err(_) => false,
            };
            assert!(
                allowed,
                "seed {seed}: {number} ends with {:?}: {input:?}",
                outcome.result
            );
            if self.style.is_calm {
                let is_well = matches!(outcome.result, Ok(_) | Err(Failure::TimedOut(_)));
                assert!(
                    is_well,
                    "seed {seed}: {number} ends with {:?}",
                    outcome.result
                );
            }
            if self.style.is_isolated {
                let is_lost = matches!(outcome.result, Err(Failure::Lost(_)));
                let once = group.policy.at_most_once;
                assert!(
                    is_lost == input.is_killer || once && is_lost,
                    "seed {seed}: {number} ends with {:?}: {input:?}",
                    outcome.result
                );
            }
        }
    }

    // The engine.

    /// Sends something from a machine to the engine, unless it is cut off.
    pub(super) fn report(&mut self, machine: u32, message: Message) {
        let speaks = |one: &Machine| one.mute_until <= self.now;
        if self.machines.get(&machine).is_some_and(speaks) {
            let way = self.way();
            self.after(way, Event::ToEngine(message));
        }
    }

    fn note(&mut self, machine: u32, note: Note) {
        let way = self.way();
        self.after(way, Event::ToMachine(machine, note));
    }

    fn match_soon(&mut self, delay: Duration) {
        let more = self.random_time(100 * MILLI);
        let at = self.now + delay + more;
        if delay.is_zero() {
            if self.next_match > self.now {
                return;
            }
            self.next_match = at;
        }
        self.after(at - self.now, Event::Match);
    }

    fn end(&mut self, id: &TaskId, end: TaskEnd) {
        if let Some(held) = self.held.remove(id) {
            let way = self.way();
            self.after(way, Event::End(held.number, end));
        }
    }

    fn take_message(&mut self, message: Message) {
        match message {
            Message::Submit { number, task } => {
                let held = Held {
                    number,
                    submitted: self.now,
                    ready_at: self.now + task.delay,
                    ledger: None,
                    delivery: 0,
                    holder: None,
                    heard: self.now,
                    is_cancelled: false,
                    task: *task,
                };
                let (id, delay) = (held.task.id.clone(), held.task.delay);
                if let Some(deadline) = held.task.deadline {
                    self.after(deadline, Event::Deadline(id.clone()));
                }
                let known = self.held.insert(id, held);
                assert!(known.is_none(), "seed {}: an id is used twice", self.seed);
                self.match_soon(delay);
            }
            Message::Cancel(id) => {
                if let Some(held) = self.held.get_mut(&id) {
                    held.is_cancelled = true;
                    if held.holder.is_none() {
                        self.end(&id, TaskEnd::Cancelled);
                    }
                }
            }
            Message::FindHosts(pool) => {
                let way = self.way();
                self.after(way, Event::Found(pool));
            }
            Message::Beat {
                from,
                asked,
                ledger,
            } => {
                let work = from.work;
                let note = match self.held_by(&from) {
                    None => Note::Refused { work },
                    Some(held) => {
                        held.ledger = Some(ledger);
                        if let Some(holder) = &mut held.holder {
                            holder.has_begun = true;
                        }
                        let is_cancelled = held.is_cancelled;
                        Note::Acknowledged {
                            work,
                            asked,
                            is_cancelled,
                        }
                    }
                };
                let now = self.now;
                if let Some(held) = self.held_by(&from) {
                    held.heard = now;
                }
                self.note(from.machine, note);
            }
            Message::Verdict { from, verdict } => self.take_verdict(&from, verdict),
        }
    }

    fn held_by(&mut self, from: &From) -> Option<&mut Held> {
        let is_holder = |held: &&mut Held| {
            let machine = held.holder.and_then(|holder| holder.machine);
            held.delivery == from.delivery && machine == Some(from.machine)
        };
        self.held.get_mut(&from.id).filter(is_holder)
    }

    fn take_verdict(&mut self, from: &From, verdict: Verdict) {
        let (now, seed) = (self.now, self.seed);
        let most = self.style.max_body;
        let Some(held) = self.held_by(from) else {
            return self.note(from.machine, Note::Refused { work: from.work });
        };
        let mut ready = None;
        match verdict {
            Verdict::Answer(answer) => {
                let size = answer.len();
                assert!(size <= most, "seed {seed}: an answer of {size} bytes");
                self.count_answer(from);
                self.end(&from.id, TaskEnd::Answered(answer));
            }
            Verdict::Again { .. } | Verdict::Cancelled if held.is_cancelled => {
                self.end(&from.id, TaskEnd::Cancelled);
            }
            Verdict::Again { delay, ledger } => {
                held.holder = None;
                held.ledger = Some(ledger);
                held.ready_at = now + delay;
                ready = Some(delay);
            }
            other => panic!("seed {seed}: the verdict {other:?}"),
        }
        if let Some(delay) = ready {
            self.match_soon(delay);
        }
        self.note(from.machine, Note::Taken { work: from.work });
    }

    /// Counts what an answer says that it has used of a budget.
    fn count_answer(&mut self, from: &From) {
        if let Some((group, (attempts, retries))) = self.reports.remove(&from.work) {
            let reported = &mut self.groups[group].reported;
            *reported = (reported.0 + attempts, reported.1 + retries);
        }
    }

    /// Returns the inputs of a task that the engine has.
    pub(super) fn inputs_of(&self, id: &TaskId) -> Option<Vec<u64>> {
        let number = self.held.get(id)?.number;
        self.sent.get(&number).cloned()
    }

    /// Lets the engine look for a machine, since one may have room.
    pub(super) fn match_later(&mut self) {
        if self.held.values().any(|held| held.holder.is_none()) {
            self.match_soon(Duration::ZERO);
        }
    }

    /// Gives a task to a machine that has room.
    fn deliver(&mut self) {
        let now = self.now;
        let is_ready = |held: &&Held| held.holder.is_none() && held.ready_at <= now;
        let ready: Vec<TaskId> = self
            .held
            .values()
            .filter(is_ready)
            .map(|held| held.task.id.clone())
            .collect();
        let slots = self.style.slots;
        let has_room =
            |(_, machine): &(&u32, &Machine)| machine.mute_until <= now && machine.has_room(slots);
        let room: Vec<u32> = self
            .machines
            .iter()
            .filter(has_room)
            .map(|(number, _)| *number)
            .collect();
        let (Some(id), Some(machine)) = (self.random.choice(&ready), self.random.choice(&room))
        else {
            return;
        };
        let (id, machine) = (id.clone(), *machine);
        let is_phantom = self.style.troubles > 0 && self.random.u8(0..30) == 0;
        let Some(held) = self.held.get_mut(&id) else {
            return;
        };
        held.delivery += 1;
        held.heard = now;
        held.holder = Some(Holder {
            machine: (!is_phantom).then_some(machine),
            has_begun: false,
        });
        let from = From {
            machine,
            work: self.next_work,
            id: id.clone(),
            delivery: held.delivery,
        };
        let delivery = Delivery {
            body: held.task.body.clone(),
            ledger: held.ledger.clone(),
            waited: now - held.submitted,
        };
        let group = self.inputs[&self.sent[&held.number][0]].group;
        let timeout = Event::HostTimeout(id, held.delivery);
        self.next_work += 1;
        self.after(HOST_TIMEOUT, timeout);
        if !is_phantom {
            self.machines
                .get_mut(&machine)
                .expect("it is there")
                .awaited += 1;
            self.note(
                machine,
                Note::Deliver {
                    from,
                    group,
                    delivery,
                },
            );
        }
        self.match_soon(Duration::ZERO);
    }

    fn host_timeout(&mut self, id: &TaskId, delivery: u32) {
        let now = self.now;
        let Some(held) = self
            .held
            .get_mut(id)
            .filter(|held| held.delivery == delivery)
        else {
            return;
        };
        let Some(holder) = held.holder else {
            return;
        };
        let silent = now - held.heard;
        if silent < HOST_TIMEOUT {
            return self.after(
                HOST_TIMEOUT - silent,
                Event::HostTimeout(id.clone(), delivery),
            );
        }
        held.holder = None;
        let inputs = &self.sent[&held.number];
        for number in inputs {
            let input = self.inputs.get_mut(number).expect("it is known");
            input.is_forgiven = true;
            input.lost_alone += u32::from(holder.has_begun && inputs.len() == 1);
        }
        if held.is_cancelled {
            self.end(id, TaskEnd::Cancelled);
        } else {
            held.ready_at = now;
            self.match_soon(Duration::ZERO);
        }
    }

    // Troubles.

    fn trouble(&mut self) {
        let machines: Vec<u32> = self.machines.keys().copied().collect();
        let Some(machine) = self.random.choice(machines) else {
            return;
        };
        match self.random.u8(0..12) {
            0..3 => self.die(machine),
            3..7 => {
                let time = self.random_time(3 * HOST_TIMEOUT);
                let back = self.now + time;
                let is_deaf = self.random.bool();
                let machine = self.machines.get_mut(&machine).expect("it is there");
                machine.mute_until = back;
                if is_deaf {
                    machine.deaf_until = back;
                }
                self.match_soon(time);
            }
            7..10 => self.drain(machine),
            10 => {
                // The message of the engine is on its way already.
                self.down_until = self.now + self.random_time(2 * HOST_TIMEOUT);
                self.last_arrival = self.last_arrival.max(self.down_until + SECOND);
            }
            _ => {
                let ids: Vec<TaskId> = self.held.keys().cloned().collect();
                for id in ids {
                    for number in &self.sent[&self.held[&id].number] {
                        self.inputs
                            .get_mut(number)
                            .expect("it is known")
                            .has_expired = true;
                    }
                    self.end(&id, TaskEnd::Expired);
                }
            }
        }
    }

    pub(super) fn die(&mut self, number: u32) {
        let Some(machine) = self.machines.remove(&number) else {
            return;
        };
        for (key, work) in &machine.works {
            let report = (work.group, work.counts());
            self.reports.entry(*key).or_insert(report);
        }
        for input in self.inputs.values_mut() {
            if input.executing == Some(number) {
                input.executing = None;
            }
        }
        let pause = self.random_time(3 * SECOND);
        self.after(pause, Event::Join);
    }
}

/// Returns the inputs of a task.
pub(super) fn inputs(body: &[u8]) -> Vec<u64> {
    let (body, mut payload) = task::decode::<Body>(body.to_vec()).expect("it is a body");
    let take = |item: Item| numbers(&item.take(&mut payload).expect("it has its inputs"));
    body.calls.items.into_iter().flat_map(take).collect()
}

/// Checks that the numbers of attempts increase up to a limit.
pub(super) fn check_numbers(seed: u64, attempts: &[Attempt], below: u32) {
    let mut last = 0;
    for attempt in attempts {
        let number = attempt.number;
        assert!(last < number && number < below, "seed {seed}: {attempts:?}");
        last = number;
    }
}
