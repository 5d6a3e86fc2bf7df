//! Decides what becomes of a task that a machine has got: whether its calls run, when they are handed back, and
//! what the answer says.
//!
//! A pure state machine: events come in as method calls with the current time. The calls themselves are made by
//! the local engine.

use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::api::call_id::CallNumber;
use crate::api::engine::{Delivery, Verdict};
use crate::api::failure::Lost;
use crate::codec::payload::Payload;
use crate::job::outcome::{Failure, History, Outcome, failed};
use crate::job::resumption::Resumption;
use crate::wire::message::{Calls, Item, Reply};
use crate::wire::task::{self, Allowance, Answer, Body, Facts, Ledger, MOST_HOSTS};

/// The part of the time after which a task is lost that a machine keeps clear of: it must have ended its workers
/// before the task starts elsewhere.
const MARGIN: u32 = 10;

/// The part of that time after which workers end by themselves if this machine has not ended them by then, counted from
/// the time at which it should have.
const SELF_END_MARGIN: u32 = 20;

/// Some bytes of an answer that are not the replies.
const ANSWER_HEAD: usize = 256;

/// A call, or a chunk of calls, that the local engine is to run.
#[derive(Debug)]
pub(crate) struct LocalCall {
    /// The position of the first call in the task.
    pub(crate) number: u32,
    pub(crate) index: Option<u64>,
    pub(crate) input: Payload,
    pub(crate) resumption: Option<Box<Resumption>>,
}

/// Facts about the machine, for the answer to a task that ends there.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct HostFacts {
    /// The number of inputs of the function that the machine executes at once.
    pub(crate) slots: u32,
    /// The number of inputs of the function that were executed since the task began, those of other tasks included.
    pub(crate) executed: u64,
    /// The attempts and the retries that count for the map's budget.
    pub(crate) counts: (u64, u64),
}

/// A task that this machine has.
#[derive(Debug)]
pub(crate) struct Execution {
    host: String,
    /// The name of the function.
    function: String,
    ledger: Ledger,
    /// The calls that have not been given to the local engine yet.
    calls: Vec<LocalCall>,
    /// The number of calls of the task.
    count: u32,
    /// The number of calls that the local engine has.
    open: u32,
    done: Vec<(u32, Outcome)>,
    back: Vec<HandedBack>,
    delivered: Instant,
    /// The time for which the task had waited when it was delivered, by the clock of the engine.
    waited: Duration,
    begun: Option<Instant>,
    /// The time at which the machine has lost the task unless the engine acknowledges something.
    lease: Option<Instant>,
    host_timeout: Duration,
    max_body: usize,
    /// The time for which calls have been executing, until the last one of them ended.
    took: Duration,
    executed: u32,
    phase: TaskPhase,
    /// Set once calls that are handed back leave the machine even if they are due here.
    leaves: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TaskPhase {
    /// The calls run as soon as the ledger is acknowledged.
    Announced,
    Running,
    /// The calls that have not ended are to end.
    Cancelled,
    /// As cancelled, but the calls that have not ended run on another machine.
    Draining,
    Lost,
    Ended,
}

/// A call that goes on elsewhere, unless it is due while others of the task are still running.
#[derive(Debug)]
struct HandedBack {
    call: LocalCall,
    since: Instant,
}

/// The result of opening a delivery.
#[derive(Debug)]
pub(crate) enum Opened {
    /// The calls of a function, and the task that they are.
    Run {
        calls: Calls,
        allowance: Option<Allowance>,
        execution: Box<Execution>,
    },
    /// Nothing of it runs here.
    End(Verdict),
}

/// Opens a delivery. Nothing about its bytes is trusted: an error says what is wrong with them.
pub(crate) fn open(now: Instant, host: &str, delivery: Delivery) -> Result<Opened, String> {
    let (body, payload) = task::decode::<Body>(delivery.body)?;
    let mut ledger = match &delivery.ledger {
        Some(bytes) => Ledger::decode(bytes)?,
        None => Ledger::default(),
    };
    let Body {
        mut calls,
        allowance,
        host_timeout,
        max_body,
    } = body;
    if host_timeout.is_zero() {
        return Err("no time for a sign of life".to_owned());
    }
    let (count, local) = read_calls(std::mem::take(&mut calls.items), payload)?;
    let is_lost =
        !ledger.begun.is_empty() && calls.policy.at_most_once || ledger.begun.len() >= MOST_HOSTS;
    let local = resume(now, delivery.waited, &mut ledger, count, local)?;
    let mut execution = Box::new(Execution {
        host: host.to_owned(),
        function: calls.function.clone(),
        ledger,
        open: 0,
        count,
        calls: local,
        done: Vec::new(),
        back: Vec::new(),
        delivered: now,
        waited: delivery.waited,
        begun: None,
        lease: None,
        host_timeout,
        max_body: usize::try_from(max_body).unwrap_or(usize::MAX),
        took: Duration::ZERO,
        executed: 0,
        phase: TaskPhase::Announced,
        leaves: false,
    });
    Ok(match is_lost {
        true => Opened::End(execution.give_up(now)),
        false => Opened::Run {
            calls,
            allowance,
            execution,
        },
    })
}

/// Reads the calls of a task, and returns how many there are.
fn read_calls(items: Vec<Item>, mut payload: Bytes) -> Result<(u32, Vec<LocalCall>), String> {
    let mut calls = Vec::new();
    let mut count = 0_u32;
    for item in items {
        if item.number != count {
            return Err("calls in another order than that of their numbers".to_owned());
        }
        count = count.checked_add(item.count).ok_or("too many calls")?;
        let last = item.index.map(|index| index.checked_add(item.count.into()));
        if last == Some(None) {
            return Err("an index that is too large".to_owned());
        }
        if let Some(resumption) = &item.resumption {
            check_numbers(resumption)?;
        }
        calls.push(LocalCall {
            number: item.number,
            index: item.index,
            input: item.take(&mut payload)?,
            resumption: item.resumption,
        });
    }
    match calls.is_empty() {
        true => Err("a task without a call".to_owned()),
        false => Ok((count, calls)),
    }
}

fn check_numbers(resumption: &Resumption) -> Result<(), String> {
    match resumption.is_possible() {
        true => Ok(()),
        false => Err("impossible numbers of attempts".to_owned()),
    }
}

/// Returns the calls with what has happened to them since the task was made: the state in which the last machine has
/// handed them back, the time that they have waited, and the machines that were lost with them. The ledger then says
/// the same.
fn resume(
    now: Instant,
    waited: Duration,
    ledger: &mut Ledger,
    count: u32,
    mut calls: Vec<LocalCall>,
) -> Result<Vec<LocalCall>, String> {
    if (ledger.recorded > 0 || ledger.resumption.is_some()) && count > 1 {
        return Err("a ledger of another task".to_owned());
    }
    if let [only] = &mut calls[..]
        && let Some(handed_back) = ledger.resumption.take()
    {
        check_numbers(&handed_back)?;
        only.resumption = Some(handed_back);
    }
    for resumption in calls.iter_mut().filter_map(|call| call.resumption.as_mut()) {
        resumption.pass(waited);
    }
    if ledger.begun.len() > ledger.recorded {
        // The inputs of a chunk part, because an attempt has been made at each.
        calls = calls.into_iter().flat_map(parts).collect();
        for call in &mut calls {
            let resumption = call.resumption.get_or_insert_default();
            for host in &ledger.begun[ledger.recorded..] {
                resumption.record_lost_host(host, now);
            }
        }
    }
    // The state of several calls is what the body says and the ledger adds.
    if let [only] = &calls[..] {
        ledger.recorded = ledger.begun.len();
        ledger.resumption = only.resumption.clone().map(|mut resumption| {
            let whole = |left: Duration| left.saturating_add(waited);
            resumption.left = resumption.left.map(whole);
            resumption
        });
    }
    Ok(calls)
}

/// Returns the calls of a chunk one by one.
fn parts(mut call: LocalCall) -> impl Iterator<Item = LocalCall> {
    let count = call.input.count();
    (0..count).map(move |place| LocalCall {
        number: call.number + place,
        index: call.index.map(|index| index + u64::from(place)),
        input: match place + 1 < count {
            true => call.input.split_front(1),
            false => std::mem::replace(&mut call.input, Payload::NONE),
        },
        resumption: call.resumption.clone(),
    })
}

impl Execution {
    /// Returns the ledger that must be acknowledged before anything runs, and later.
    pub(crate) fn ledger(&self) -> Vec<u8> {
        let mut ledger = self.ledger.clone();
        ledger.begun.push(self.host.clone());
        ledger.encode()
    }

    /// Returns the ledger of a task that does not begin on this machine yet, and is not to count it if it is lost.
    pub(crate) fn earlier_ledger(&self) -> Vec<u8> {
        self.ledger.encode()
    }

    /// Makes the rest of a deadline count from the submission of the task.
    fn anchored(&self, now: Instant, mut resumption: Box<Resumption>) -> Box<Resumption> {
        let here = now.saturating_duration_since(self.delivered);
        let since = self.waited.saturating_add(here);
        resumption.left = resumption.left.map(|left| left.saturating_add(since));
        resumption
    }

    /// Returns how many inputs still need workers of this machine.
    pub(crate) fn unfinished(&self) -> u32 {
        match self.phase {
            TaskPhase::Announced => self.count,
            _ => self.open,
        }
    }

    pub(crate) fn phase(&self) -> TaskPhase {
        self.phase
    }

    /// Returns whether the task has to run alone: it was lost with all but one of the machines that may lose it. If
    /// another task is to blame for that, this one is not to be lost with it once more.
    pub(crate) fn is_suspect(&self) -> bool {
        self.ledger.begun.len() + 1 == MOST_HOSTS
    }

    /// Takes in that the engine has acknowledged what was sent to it at a time, which may be long ago. The first
    /// time, returns the calls to run.
    pub(crate) fn acknowledge(&mut self, now: Instant, sent: Instant) -> Vec<LocalCall> {
        let lease = self.host_timeout - self.host_timeout / MARGIN;
        let lease = sent.checked_add(lease);
        let is_over = lease.is_some_and(|lease| lease <= now);
        if self.phase != TaskPhase::Announced {
            self.lease = lease.max(self.lease);
            return Vec::new();
        }
        if is_over {
            // Another machine may have the task already. If not, the engine acknowledges the next sign of life.
            return Vec::new();
        }
        self.lease = lease;
        self.phase = TaskPhase::Running;
        self.begun = Some(now);
        self.open = self.count;
        std::mem::take(&mut self.calls)
    }

    /// Takes in the outcome of a call, or the values of several, that the local engine had.
    pub(crate) fn end(&mut self, now: Instant, call: LocalCall, mut outcome: Outcome) {
        self.open = self.open.saturating_sub(call.input.count());
        if let (TaskPhase::Draining, Err(Failure::Cancelled(_))) = (self.phase, &outcome.result) {
            // It has begun, and may not begin again.
            let hosts = [self.host.as_str().into()].into();
            outcome.result = Err(Failure::Lost(Lost::HostsLost { hosts }));
        }
        match outcome.result {
            Err(Failure::HandedBack(resumption)) => {
                let call = LocalCall {
                    resumption: Some(resumption),
                    ..call
                };
                self.back.push(HandedBack { call, since: now });
            }
            _ => {
                self.executed += call.input.count();
                if let Some(begun) = self.begun {
                    self.took = now.saturating_duration_since(begun);
                }
                self.done.push((call.number, outcome));
            }
        }
    }

    /// Asks for the end of the task. Returns whether the local engine has to end its calls.
    pub(crate) fn cancel(&mut self) -> bool {
        self.stop(TaskPhase::Cancelled)
    }

    /// Lets calls that are handed back go on elsewhere. Returns whether the task has begun here; the others can be
    /// [handed back](Self::drain) at once.
    pub(crate) fn leave(&mut self) -> bool {
        self.leaves = true;
        self.begun.is_some()
    }

    /// Returns whether calls that are handed back go on elsewhere.
    pub(crate) fn leaves(&self) -> bool {
        self.leaves
    }

    /// Asks for the rest of the task to be made elsewhere. Returns whether the local engine has to end its calls.
    pub(crate) fn drain(&mut self) -> bool {
        self.stop(TaskPhase::Draining)
    }

    fn stop(&mut self, phase: TaskPhase) -> bool {
        let runs = self.phase == TaskPhase::Running;
        if runs || self.phase == TaskPhase::Announced {
            self.phase = phase;
        }
        runs
    }

    /// Does what is due: returns the calls to run, because they had a delay, and whether the local engine has to end
    /// all calls.
    pub(crate) fn tick(&mut self, now: Instant) -> (Vec<LocalCall>, bool) {
        let is_over = matches!(self.phase, TaskPhase::Lost | TaskPhase::Ended);
        if self.lease.is_some_and(|lease| lease <= now) && !is_over {
            self.phase = TaskPhase::Lost;
            // Calls that were asked to end may have a grace that is longer than the engine waits.
            return (Vec::new(), self.open > 0);
        }
        let mut due = Vec::new();
        if self.phase == TaskPhase::Running && self.open > 0 && !self.leaves {
            for mut back in self
                .back
                .extract_if(.., |back| back.due().is_some_and(|due| due <= now))
            {
                let passed = now.saturating_duration_since(back.since);
                if let Some(resumption) = &mut back.call.resumption {
                    resumption.pass(passed);
                }
                self.open += 1;
                due.push(back.call);
            }
        }
        (due, false)
    }

    /// Returns when the workers that have calls of the task must have ended, if they have any: this machine has lost it
    /// by then, and must have been stopped if it has not ended them.
    pub(crate) fn workers_end_at(&self) -> Option<Instant> {
        let lease = self
            .lease
            .filter(|_| self.open > 0 && self.phase != TaskPhase::Lost);
        lease?.checked_add(self.host_timeout / SELF_END_MARGIN)
    }

    /// Returns when to call [`tick`](Self::tick).
    pub(crate) fn next_timer(&self) -> Option<Instant> {
        let runs = self.phase == TaskPhase::Running && self.open > 0 && !self.leaves;
        let due = self.back.iter().filter_map(HandedBack::due);
        let has_lease = !matches!(self.phase, TaskPhase::Lost | TaskPhase::Ended);
        let lease = self.lease.filter(|_| has_lease);
        due.filter(|_| runs).chain(lease).min()
    }

    /// Returns the number of calls of the task that were executed.
    pub(crate) fn executed(&self) -> u32 {
        self.executed
    }

    /// Returns what is to be said about the task, once nothing of it is running.
    pub(crate) fn verdict(&mut self, now: Instant, host: HostFacts) -> Option<Verdict> {
        if self.phase == TaskPhase::Announced || self.phase == TaskPhase::Ended || self.open > 0 {
            return None;
        }
        let phase = std::mem::replace(&mut self.phase, TaskPhase::Ended);
        Some(match phase {
            TaskPhase::Cancelled => Verdict::Cancelled,
            TaskPhase::Lost => Verdict::Lost,
            _ => self.conclude(now, phase, host),
        })
    }

    /// Returns the verdict on a task that no machine may get any more.
    fn give_up(&mut self, now: Instant) -> Verdict {
        let is_several = self.calls.len() > 1;
        let hosts: Box<[Box<str>]> = self
            .ledger
            .begun
            .iter()
            .map(|host| host.as_str().into())
            .collect();
        for call in std::mem::take(&mut self.calls) {
            if is_several {
                // One of the calls may be to blame, and shows itself when it runs alone.
                self.back.push(HandedBack { call, since: now });
                continue;
            }
            let hosts = hosts.clone();
            let mut outcome = failed(Failure::Lost(Lost::HostsLost { hosts }));
            let attempts = call.resumption.map_or_else(Vec::new, |one| one.attempts);
            outcome.history = History::new(attempts, None);
            self.done.push((call.number, outcome));
        }
        self.phase = TaskPhase::Ended;
        self.conclude(now, TaskPhase::Ended, HostFacts::default())
    }

    fn conclude(&mut self, now: Instant, phase: TaskPhase, host: HostFacts) -> Verdict {
        if phase == TaskPhase::Draining && self.begun.is_none() {
            let delay = Duration::ZERO;
            let ledger = self.ledger.encode();
            return Verdict::Again { delay, ledger };
        }
        let mut back = std::mem::take(&mut self.back);
        // Only an answer tells the caller how much of a budget was used.
        if let (1, [_], (0, 0)) = (self.count, &back[..], host.counts)
            && let Some(HandedBack { call, since }) = back.pop()
        {
            let mut resumption = call.resumption.unwrap_or_default();
            resumption.pass(now.saturating_duration_since(since));
            let delay = resumption.delay;
            let mut ledger = std::mem::take(&mut self.ledger);
            let resumption = self.anchored(now, resumption);
            ledger.resumption = Some(resumption.clone());
            let mut bytes = ledger.encode();
            if bytes.len() > self.max_body {
                ledger.resumption = Some(Box::new(resumption.numbers()));
                bytes = ledger.encode();
            }
            return Verdict::Again {
                delay,
                ledger: bytes,
            };
        }
        let mut ends = std::mem::take(&mut self.done);
        for HandedBack { call, since } in back {
            let passed = now.saturating_duration_since(since);
            ends.extend(parts(call).map(|call| {
                let mut resumption = call.resumption.unwrap_or_default();
                resumption.pass(passed);
                (call.number, failed(Failure::HandedBack(resumption)))
            }));
        }
        Verdict::Answer(self.answer(ends, host))
    }

    fn answer(&self, mut ends: Vec<(u32, Outcome)>, host: HostFacts) -> Vec<u8> {
        // The next one is the last.
        ends.sort_unstable_by_key(|(number, _)| std::cmp::Reverse(*number));
        let limit = self.max_body.saturating_sub(ANSWER_HEAD);
        // Each call that is still to come can at least be handed back.
        let least = Reply::weight(&failed(Failure::HandedBack(Box::default())));
        let mut reserved = self.count as usize * least;
        let (mut replies, mut payload, mut size) = (Vec::new(), Vec::new(), 0);
        let mut overflows = false;
        while let Some((number, outcome)) = ends.pop() {
            let weight = Reply::weight(&outcome);
            let count = outcome.result.as_ref().map_or(1, Payload::count);
            let others = reserved.saturating_sub(count as usize * least);
            let is_too_large = size + weight + others > limit;
            let outcome = match halves(outcome, is_too_large) {
                (first, Some(others)) => {
                    let count = first.result.as_ref().map_or(1, Payload::count);
                    ends.extend([(number + count, others), (number, first)]);
                    continue;
                }
                (one, None) if is_too_large => {
                    overflows = true;
                    too_large(self.count, &one, weight, limit)
                }
                (one, None) => one,
            };
            reserved = others;
            size += Reply::weight(&outcome);
            let (reply, bytes) = Reply::new(number, outcome);
            replies.push(reply);
            payload.extend_from_slice(&bytes);
        }
        // Tasks that run at the same time share the workers, and the time.
        let executed = host.executed.max(self.executed.into()).max(1);
        let share = f64::from(self.executed) / executed as f64;
        let facts = Facts {
            slots: host.slots,
            inputs: self.executed,
            took: self.took.mul_f64(share),
            queued: self.waited,
            attempts: host.counts.0,
            retries: host.counts.1,
            overflows,
        };
        let answer = Answer {
            function: self.function.clone(),
            replies,
            facts,
            problem: None,
        };
        task::encode(&answer, &payload)
    }
}

/// Splits the values of several calls into two parts if they are too large together.
fn halves(mut outcome: Outcome, are_too_large: bool) -> (Outcome, Option<Outcome>) {
    match &mut outcome.result {
        Ok(values) if are_too_large && values.count() > 1 => {
            let first = Outcome {
                call: CallNumber::NONE,
                result: Ok(values.split_front(values.count() / 2)),
                history: None,
            };
            (first, Some(outcome))
        }
        _ => (outcome, None),
    }
}

/// Returns what the answer of a task with `calls` calls says about one whose outcome does not fit into it.
fn too_large(calls: u32, outcome: &Outcome, size: usize, limit: usize) -> Outcome {
    failed(match &outcome.result {
        Err(Failure::HandedBack(resumption)) => Failure::HandedBack(Box::new(resumption.numbers())),
        // It is made again in a smaller task.
        _ if calls > 1 => Failure::HandedBack(Box::default()),
        Ok(_) => Failure::Lost(Lost::TooLarge { limit }),
        Err(_) => Failure::Lost(Lost::ErrorTooLarge {
            size: size as u64,
            limit,
        }),
    })
}

impl HandedBack {
    fn due(&self) -> Option<Instant> {
        let delay = self
            .call
            .resumption
            .as_ref()
            .map_or(Duration::ZERO, |one| one.delay);
        self.since.checked_add(delay)
    }
}
