//! Short histories that say in detail what happens.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{MILLI, ONCE, PLAIN, SECOND, callee, job, numbers, policy, pool, settings, values};
use crate::agent::execution::{Execution, HostFacts, LocalCall, Opened, open};
use crate::api::call_id::{CallId, CallNumber};
use crate::api::context::AttemptOutcome;
use crate::api::engine::{Delivery, Hosts, Queue, Task, TaskEnd, TaskId, Verdict};
use crate::api::failure::{Cancelled, Lost, Startup};
use crate::api::options::Policy;
use crate::api::retries::Retries;
use crate::codec::payload::Payload;
use crate::fleet::tasks::{Action, Tasks};
use crate::function::callee::Callee;
use crate::function::registry::Registration;
use crate::job::budget::Budget;
use crate::job::caller::Caller;
use crate::job::delivery::Deliver;
use crate::job::outcome::{Failure, Outcome};
use crate::job::resumption::Resumption;
use crate::job::slot::Slot;
use crate::scheduler::Numbers;
use crate::wire::task::{self, Answer, Ledger};

/// A caller, and what it has decided.
pub(super) struct Calls {
    pub(super) tasks: Tasks,
    pub(super) now: Instant,
    pub(super) sent: Vec<(u64, Task)>,
    pub(super) cancelled: Vec<TaskId>,
    attached: Vec<(u64, TaskId)>,
    pub(super) asked: usize,
    /// The inputs and the results of the calls that have ended.
    pub(super) ended: Vec<(Vec<u64>, Result<Payload, Failure>)>,
    /// The attempts behind them.
    attempts: Vec<usize>,
}

impl Calls {
    pub(super) fn new(max_body: usize) -> Self {
        Self {
            tasks: Tasks::new(settings(max_body), Arc::new(Numbers::default())),
            now: Instant::now(),
            sent: Vec::new(),
            cancelled: Vec::new(),
            attached: Vec::new(),
            asked: 0,
            ended: Vec::new(),
            attempts: Vec::new(),
        }
    }

    pub(super) fn act(&mut self) {
        while let Some(action) = self.tasks.next_action() {
            match action {
                Action::Submit { number, task } => self.sent.push((number, task)),
                Action::Cancel(id) => self.cancelled.push(id),
                Action::FindHosts { .. } => self.asked += 1,
                Action::Resolve { job, outcome } => {
                    self.attempts.push(outcome.attempts().len());
                    self.ended.push((numbers(&job.input), outcome.result));
                }
                Action::Attach { number, id } => self.attached.push((number, id)),
                Action::Publish(_) => {}
            }
        }
    }

    pub(super) fn submit(
        &mut self,
        registration: &'static Registration,
        inputs: std::ops::Range<u64>,
        is_map: bool,
        deadline: Option<Duration>,
        budget: Option<&Arc<Budget>>,
    ) {
        let policy = policy(registration, Retries::fixed(3, SECOND), deadline);
        let callee = callee(registration, policy, budget.cloned());
        let job = job(inputs, 8, is_map.then_some(0), Caller(7));
        self.tasks.submit(self.now, &callee, job);
        self.tasks.dispatch(self.now, &pool(registration));
        self.act();
    }

    pub(super) fn end(&mut self, number: u64, end: TaskEnd) {
        self.tasks.end(self.now, number, end);
        self.act();
    }

    fn tick_at(&mut self, now: Instant) {
        self.now = now;
        self.tasks.tick(now);
        self.act();
    }

    /// Makes the next task have up to eight inputs.
    pub(super) fn warm_up(&mut self, registration: &'static Registration) {
        self.submit(registration, 900..901, true, None, None);
        let (number, task) = self.sent.pop().expect("it is sent at once");
        let answer = answer(self.now, &task, 8);
        self.end(number, TaskEnd::Answered(answer));
        assert!(self.ended.pop().expect("it has ended").1.is_ok());
        self.attempts.clear();
    }
}

fn delivery(task: &Task, ledger: Option<Vec<u8>>, waited: Duration) -> Delivery {
    Delivery {
        body: task.body.clone(),
        ledger,
        waited,
    }
}

pub(super) fn opened(now: Instant, host: &str, delivery: Delivery) -> Box<Execution> {
    match open(now, host, delivery).expect("it is a task") {
        Opened::Run { execution, .. } => execution,
        Opened::End(verdict) => panic!("it has ended: {verdict:?}"),
    }
}

pub(super) fn outcome(result: Result<Payload, Failure>) -> Outcome {
    Outcome {
        call: CallNumber::NONE,
        result,
        history: None,
    }
}

fn succeed(execution: &mut Execution, now: Instant, call: LocalCall, size: usize) {
    let results = values(numbers(&call.input), size);
    execution.end(now, call, outcome(Ok(results)));
}

fn answered(verdict: Option<Verdict>) -> Vec<u8> {
    match verdict {
        Some(Verdict::Answer(answer)) => answer,
        other => panic!("not an answer: {other:?}"),
    }
}

/// Returns the answer to a task whose calls all succeed with results of so many bytes.
pub(super) fn answer(now: Instant, task: &Task, size: usize) -> Vec<u8> {
    let mut execution = opened(now, "host", delivery(task, None, Duration::ZERO));
    for call in execution.acknowledge(now, now) {
        succeed(&mut execution, now, call, size);
    }
    answered(execution.verdict(now, HostFacts::default()))
}

/// Returns the ledger after so many machines have begun a task and were lost.
fn lost_by(now: Instant, task: &Task, machines: usize) -> Option<Vec<u8>> {
    let mut ledger = None;
    for machine in 0..machines {
        let host = format!("host{machine}");
        let execution = opened(now, &host, delivery(task, ledger, Duration::ZERO));
        ledger = Some(execution.ledger());
    }
    ledger
}

#[test]
fn a_call_for_later_waits_at_the_engine_and_not_on_its_machine() {
    let mut calls = Calls::new(100_000);
    let later = Policy {
        after: 60 * SECOND,
        ..policy(&PLAIN, Retries::none(), Some(9 * SECOND))
    };
    let job = job(1..2, 8, None, Caller(7));
    calls
        .tasks
        .submit(calls.now, &callee(&PLAIN, later, None), job);
    calls.tasks.dispatch(calls.now, &pool(&PLAIN));
    calls.act();
    let (_, task) = calls.sent.pop().unwrap();
    assert_eq!(task.delay, 60 * SECOND);
    assert!(task.deadline > Some(69 * SECOND));
    let now = calls.now + 61 * SECOND;
    let mut execution = opened(now, "one", delivery(&task, None, 61 * SECOND));
    let call = execution.acknowledge(now, now).pop().unwrap();
    let resumption = call.resumption.unwrap();
    assert_eq!((resumption.attempt, resumption.delay), (1, Duration::ZERO));
    assert_eq!(resumption.left, Some(8 * SECOND));
    calls.tick_at(calls.now + 68 * SECOND);
    assert!(
        calls.ended.is_empty(),
        "its deadline has begun after the delay"
    );
}

#[test]
fn a_call_that_is_handed_back_keeps_its_numbers_and_deadline() {
    let mut calls = Calls::new(100_000);
    calls.submit(&PLAIN, 1..2, false, Some(60 * SECOND), None);
    let (_, task) = calls.sent.pop().unwrap();
    let mut now = calls.now + SECOND;
    let mut execution = opened(now, "one", delivery(&task, None, SECOND));
    let call = execution.acknowledge(now, now).pop().unwrap();
    let left = call.resumption.as_ref().unwrap().left;
    assert_eq!(left, Some(59 * SECOND), "it has waited for a second");
    now += 2 * SECOND;
    let back = Resumption {
        attempt: 2,
        failures: 1,
        delay: 5 * SECOND,
        left: Some(57 * SECOND),
        ..Resumption::default()
    };
    execution.end(now, call, outcome(Err(Failure::HandedBack(Box::new(back)))));
    let Some(Verdict::Again { delay, ledger }) = execution.verdict(now, HostFacts::default())
    else {
        panic!("it is made elsewhere");
    };
    assert_eq!(delay, 5 * SECOND);
    assert!(
        Ledger::decode(&ledger).unwrap().begun.is_empty(),
        "no machine was lost"
    );
    now += 6 * SECOND;
    let mut execution = opened(now, "two", delivery(&task, Some(ledger), 9 * SECOND));
    let call = execution.acknowledge(now, now).pop().unwrap();
    let resumption = call.resumption.unwrap();
    assert_eq!((resumption.attempt, resumption.failures), (2, 1));
    assert_eq!(
        (resumption.delay, resumption.left),
        (Duration::ZERO, Some(51 * SECOND))
    );
}

#[test]
fn the_deadline_goes_on_while_machines_are_lost() {
    let mut calls = Calls::new(100_000);
    calls.submit(&PLAIN, 1..2, false, Some(60 * SECOND), None);
    let (_, task) = calls.sent.pop().unwrap();
    let now = calls.now;
    let mut ledger = None;
    for (machine, waited) in [(0, SECOND), (1, 12 * SECOND), (2, 23 * SECOND)] {
        let host = format!("host{machine}");
        let execution = opened(now + waited, &host, delivery(&task, ledger, waited));
        ledger = Some(execution.ledger());
        let mut execution = execution;
        let call = execution
            .acknowledge(now + waited, now + waited)
            .pop()
            .unwrap();
        let resumption = call.resumption.unwrap();
        assert_eq!(resumption.left, Some(60 * SECOND - waited));
        assert_eq!(
            resumption.attempt,
            machine + 1,
            "an attempt on each lost machine"
        );
        let hosts: Vec<_> = resumption
            .attempts
            .iter()
            .map(|one| &one.host[..])
            .collect();
        assert_eq!(hosts, ["host0", "host1"][..machine as usize]);
    }
}

#[test]
fn a_task_that_three_machines_have_lost_is_split() {
    let mut calls = Calls::new(100_000);
    calls.warm_up(&PLAIN);
    calls.submit(&PLAIN, 0..4, true, None, None);
    let (number, task) = calls.sent.pop().unwrap();
    assert_eq!(super::world::inputs(&task.body), [0, 1, 2, 3]);
    let ledger = lost_by(calls.now, &task, 3);
    let opened = open(calls.now, "four", delivery(&task, ledger, SECOND)).unwrap();
    let Opened::End(verdict) = opened else {
        panic!("nothing of it runs any more");
    };
    calls.end(number, TaskEnd::Answered(answered(Some(verdict))));
    let sent = std::mem::take(&mut calls.sent);
    let each: Vec<_> = sent
        .iter()
        .map(|(_, task)| super::world::inputs(&task.body))
        .collect();
    assert_eq!(each, [[0], [1], [2], [3]]);
    // One of them is to blame; the others go on.
    for (place, (number, task)) in sent.into_iter().enumerate() {
        if place > 0 {
            let answer = answer(calls.now, &task, 8);
            calls.end(number, TaskEnd::Answered(answer));
            continue;
        }
        let ledger = lost_by(calls.now, &task, 3);
        match open(calls.now, "four", delivery(&task, ledger, SECOND)).unwrap() {
            Opened::End(verdict) => {
                calls.end(number, TaskEnd::Answered(answered(Some(verdict))));
            }
            Opened::Run { .. } => panic!("it was lost by three machines alone"),
        }
    }
    assert_eq!(calls.ended.len(), 4);
    let Err(Failure::Lost(Lost::HostsLost { hosts })) = &calls.ended[0].1 else {
        panic!("{:?}", calls.ended[0]);
    };
    assert_eq!(hosts.len(), 3);
    assert_eq!(calls.attempts[0], 6, "all machines are in its history");
    assert!(calls.ended[1..].iter().all(|(_, result)| result.is_ok()));
}

#[test]
fn a_call_at_most_once_ends_with_its_first_machine() {
    let mut calls = Calls::new(100_000);
    calls.submit(&ONCE, 1..2, true, None, None);
    let (_, task) = calls.sent.pop().unwrap();
    let never_begun = opened(calls.now, "one", delivery(&task, None, SECOND));
    let ledger = Some(never_begun.ledger());
    match open(calls.now, "two", delivery(&task, ledger, SECOND)).unwrap() {
        Opened::End(Verdict::Answer(_)) => {}
        other => panic!("{other:?}"),
    }
}

#[test]
fn results_that_do_not_fit_come_back_in_smaller_tasks() {
    let mut calls = Calls::new(10_000);
    calls.warm_up(&PLAIN);
    calls.submit(&PLAIN, 0..8, true, None, None);
    let mut sizes = Vec::new();
    while let Some((number, task)) = (!calls.sent.is_empty()).then(|| calls.sent.remove(0)) {
        sizes.push(super::world::inputs(&task.body).len());
        let answer = answer(calls.now, &task, 3_000);
        assert!(answer.len() <= 10_000);
        calls.end(number, TaskEnd::Answered(answer));
    }
    assert!(sizes[0] == 8 && sizes.len() <= 5, "{sizes:?}");
    let mut inputs: Vec<u64> = calls
        .ended
        .iter()
        .flat_map(|(inputs, _)| inputs.clone())
        .collect();
    inputs.sort_unstable();
    assert_eq!(inputs, (0..8).collect::<Vec<_>>());
    assert!(calls.ended.iter().all(|(_, result)| result.is_ok()));
}

#[test]
fn a_result_that_never_fits_is_too_large() {
    let mut calls = Calls::new(10_000);
    calls.submit(&PLAIN, 1..2, false, None, None);
    let (number, task) = calls.sent.pop().unwrap();
    let answer = answer(calls.now, &task, 10_000);
    calls.end(number, TaskEnd::Answered(answer));
    assert!(matches!(
        calls.ended[0].1,
        Err(Failure::Lost(Lost::TooLarge { .. }))
    ));
}

#[test]
fn a_task_is_filled_for_at_most_five_milliseconds() {
    let mut calls = Calls::new(100_000);
    calls.warm_up(&PLAIN);
    calls.submit(&PLAIN, 0..2, true, None, None);
    assert_eq!(calls.sent.len(), 1, "nothing else is under way");
    calls.submit(&PLAIN, 2..4, true, None, None);
    assert_eq!(calls.sent.len(), 1, "others may come");
    let at = calls.tasks.next_timer().unwrap();
    assert_eq!(at, calls.now + 5 * MILLI);
    calls.tick_at(at);
    assert_eq!(calls.sent.len(), 2);
    calls.submit(&PLAIN, 4..12, true, None, None);
    assert_eq!(calls.sent.len(), 3, "it is full");
}

#[test]
fn without_a_host_the_calls_end_with_what_hosts_serve() {
    let mut calls = Calls::new(100_000);
    calls.submit(&PLAIN, 1..2, false, None, None);
    let begun = calls.now;
    let no = Hosts {
        serve: false,
        others: vec![Queue::new("app::plain", 0x1234_0000_0000_0000)],
    };
    calls.tasks.found(begun + 59 * SECOND, &pool(&PLAIN), &no);
    calls.act();
    assert!(calls.ended.is_empty(), "one may still come");
    for tenth in 1..=10 {
        calls.tick_at(begun + tenth * 6 * SECOND);
        assert_eq!(calls.asked, tenth as usize);
    }
    let yes = Hosts {
        serve: true,
        others: Vec::new(),
    };
    calls.tasks.found(calls.now, &pool(&PLAIN), &yes);
    calls.act();
    assert!(calls.ended.is_empty(), "it is only slow");
    for seconds in [60, 119] {
        let now = begun + seconds * SECOND;
        calls.tasks.found(now, &pool(&PLAIN), &no);
        calls.act();
        assert!(calls.ended.is_empty(), "it may be replaced");
    }
    calls.tasks.found(begun + 120 * SECOND, &pool(&PLAIN), &no);
    calls.act();
    let Err(Failure::Startup(Startup::NoHost(text))) = &calls.ended[0].1 else {
        panic!("{:?}", calls.ended[0]);
    };
    let expected = "no host serves plain@9f2c; start one with RETRY_SERVE=all \
                    (hosts serve plain@1234, another build)";
    assert_eq!(&text[..], expected);
    assert_eq!(calls.cancelled.len(), 1, "the engine need not keep it");
}

#[test]
fn a_slow_acknowledgement_does_not_extend_the_lease() {
    let mut calls = Calls::new(100_000);
    calls.submit(&PLAIN, 1..2, false, None, None);
    let (_, task) = calls.sent.pop().unwrap();
    let now = calls.now;
    let mut execution = opened(now, "one", delivery(&task, None, Duration::ZERO));
    let late = execution.acknowledge(now + 9 * SECOND, now);
    assert!(late.is_empty(), "another machine may have it");
    let calls = execution.acknowledge(now + 10 * SECOND, now + 8 * SECOND);
    assert_eq!(calls.len(), 1);
    assert_eq!(execution.next_timer(), Some(now + 17 * SECOND));
    execution.acknowledge(now + 16 * SECOND, now + 10 * SECOND);
    assert!(!execution.tick(now + 17 * SECOND).1);
    assert!(execution.tick(now + 19 * SECOND).1, "the calls have to end");
    assert_eq!(
        execution.verdict(now + 19 * SECOND, HostFacts::default()),
        None,
        "they have not"
    );
    for call in calls {
        let lost = outcome(Err(Failure::HandedBack(Box::default())));
        execution.end(now + 19 * SECOND, call, lost);
    }
    assert_eq!(execution.next_timer(), None);
    let verdict = execution.verdict(now + 19 * SECOND, HostFacts::default());
    assert_eq!(verdict, Some(Verdict::Lost));
}

#[test]
fn an_engine_knows_which_tasks_go_on_without_their_caller() {
    let mut calls = Calls::new(100_000);
    for is_detached in [false, true] {
        let policy = policy(&PLAIN, Retries::none(), None);
        let callee = Callee {
            is_detached,
            ..callee(&PLAIN, policy, None)
        };
        calls
            .tasks
            .submit(calls.now, &callee, job(1..2, 8, None, Caller(7)));
    }
    calls.tasks.dispatch(calls.now, &pool(&PLAIN));
    calls.act();
    let detached: Vec<bool> = calls.sent.iter().map(|(_, task)| task.detached).collect();
    assert_eq!(detached, [false, true]);
}

/// Returns a call of the function, whose outcome this does not wait for unless it keeps the slot.
fn attach(calls: &mut Calls, number: u64, slot: &Arc<Slot>) -> CallNumber {
    let mut job = job(0..0, 8, None, Caller(7));
    job.target = Arc::clone(slot) as Arc<dyn Deliver>;
    let run = settings(100_000).run;
    let call = calls.tasks.attach(&PLAIN, CallNumber(number).of(run), job);
    calls.act();
    call
}

fn detached(calls: &mut Calls, slot: &Arc<Slot>) -> (u64, Task) {
    let policy = policy(&PLAIN, Retries::none(), None);
    let callee = Callee {
        is_detached: true,
        ..callee(&PLAIN, policy, None)
    };
    let mut job = job(1..2, 8, None, Caller(7));
    job.target = Arc::clone(slot) as Arc<dyn Deliver>;
    calls.tasks.submit(calls.now, &callee, job);
    calls.tasks.dispatch(calls.now, &pool(&PLAIN));
    calls.act();
    calls.sent.pop().expect("it is sent at once")
}

#[test]
fn a_spawned_call_is_attached_to_once_the_engine_has_it() {
    let mut calls = Calls::new(100_000);
    let (first, second) = (Arc::default(), Arc::default());
    let (number, task) = detached(&mut calls, &first);
    let call: CallId = task.id.as_str().parse().expect("the id of the call");
    let attached = attach(&mut calls, call.number(), &second);
    assert!(calls.attached.is_empty(), "the engine does not know it yet");
    calls.tasks.accept(number);
    calls.act();
    let (asked, id) = calls.attached.pop().expect("it is asked for");
    assert_eq!(id, task.id);
    calls.tasks.cancel(calls.now, attached);
    calls.tasks.cancel(calls.now, attached);
    calls.act();
    assert_eq!(calls.cancelled, [id]);
    let answer = answer(calls.now, &task, 8);
    for number in [asked, number] {
        calls.end(number, TaskEnd::Answered(answer.clone()));
    }
    assert_eq!(calls.ended.len(), 2);
    let (of_attached, of_spawned) = (&calls.ended[0].1, &calls.ended[1].1);
    assert!(matches!(of_attached, Err(Failure::Cancelled(_))) && of_spawned.is_ok());
    // One that has ended is asked for at once, and so is one that nothing is known of.
    for number in [call.number(), 1_000_000] {
        attach(&mut calls, number, &second);
        let (asked, _) = calls.attached.pop().expect("it is asked for");
        calls.end(asked, TaskEnd::Expired);
        let (_, result) = calls.ended.pop().expect("it has ended");
        assert!(matches!(result, Err(Failure::Lost(Lost::Expired))));
    }
    // A task of several calls is none that was spawned.
    calls.warm_up(&PLAIN);
    calls.submit(&PLAIN, 0..3, true, None, None);
    let (_, several) = calls.sent.pop().expect("it is sent");
    let answer = super::directed::answer(calls.now, &several, 8);
    attach(&mut calls, 1_000_000, &second);
    let (asked, _) = calls.attached.pop().expect("it is asked for");
    calls.end(asked, TaskEnd::Answered(answer));
    let (_, result) = calls.ended.pop().expect("it has ended");
    assert!(matches!(result, Err(Failure::Lost(Lost::Protocol { .. }))));
}

#[test]
fn an_attached_call_that_is_cancelled_before_it_is_sent_is_cancelled_then() {
    let mut calls = Calls::new(100_000);
    let slot = Arc::default();
    let (number, task) = detached(&mut calls, &slot);
    let call: CallId = task.id.as_str().parse().expect("the id of the call");
    let attached = attach(&mut calls, call.number(), &slot);
    calls.tasks.cancel(calls.now, attached);
    calls.act();
    // The engine knows nothing of it yet.
    calls.cancelled.clear();
    calls.tasks.accept(number);
    calls.act();
    assert_eq!(calls.attached.len(), 1);
    assert_eq!(calls.cancelled, [task.id]);
}

#[test]
fn a_machine_on_which_a_task_has_not_begun_is_not_in_its_ledger() {
    let mut calls = Calls::new(100_000);
    calls.submit(&PLAIN, 1..2, false, None, None);
    let (_, task) = calls.sent.pop().unwrap();
    let now = calls.now;
    let hosts = |ledger: Vec<u8>| Ledger::decode(&ledger).unwrap().begun;
    let first = opened(now, "one", delivery(&task, None, Duration::ZERO));
    assert!(hosts(first.earlier_ledger()).is_empty());
    assert_eq!(hosts(first.ledger()), ["one"]);
    let next = opened(
        now,
        "two",
        delivery(&task, Some(first.ledger()), Duration::ZERO),
    );
    assert_eq!(hosts(next.earlier_ledger()), ["one"]);
    assert_eq!(hosts(next.ledger()), ["one", "two"]);
}

#[test]
fn the_texts_of_attempts_do_not_make_a_task_too_large() {
    let mut calls = Calls::new(10_000);
    calls.warm_up(&PLAIN);
    let callee = callee(
        &PLAIN,
        policy(&PLAIN, Retries::fixed(3, SECOND), None),
        None,
    );
    let inputs = job(0..2, 600, Some(0), Caller(7));
    calls.tasks.submit(calls.now, &callee, inputs);
    calls.tasks.dispatch(calls.now, &pool(&PLAIN));
    calls.act();
    let (number, task) = calls.sent.pop().unwrap();
    let now = calls.now;
    let mut execution = opened(now, "one", delivery(&task, None, Duration::ZERO));
    let mut chunk = execution.acknowledge(now, now).pop().unwrap();
    let first = LocalCall {
        number: 0,
        index: Some(0),
        input: chunk.input.split_front(1),
        resumption: None,
    };
    chunk.number = 1;
    chunk.index = Some(1);
    succeed(&mut execution, now, first, 8);
    let resumption = Resumption {
        attempt: 2,
        last: Some(Failure::Function(vec![7; 9_500].into())),
        ..Resumption::default()
    };
    let failed = outcome(Err(Failure::HandedBack(Box::new(resumption))));
    execution.end(now, chunk, failed);
    let answer = answered(execution.verdict(now, HostFacts::default()));
    calls.end(number, TaskEnd::Answered(answer));
    let (_, again) = calls.sent.pop().expect("it is sent again");
    assert!(again.body.len() <= 10_000, "{}", again.body.len());
}

#[test]
fn the_end_of_a_program_leaves_spawned_calls_that_nothing_waits_for() {
    for (keeps, accepts) in [(false, true), (false, false), (true, true)] {
        let mut calls = Calls::new(100_000);
        let slot = Arc::new(Slot::keeping());
        let (number, _) = detached(&mut calls, &slot);
        let kept = keeps.then(|| Arc::clone(&slot));
        drop(slot);
        assert_eq!(calls.tasks.pending(), (usize::from(keeps), 0));
        calls.tasks.shut_down(calls.now, SECOND, true);
        assert!(!calls.tasks.is_drained(), "the engine may not have it yet");
        if accepts {
            calls.tasks.accept(number);
        }
        assert_eq!(calls.tasks.is_drained(), accepts && !keeps);
        let later = calls.now + SECOND;
        calls.tick_at(later);
        assert!(calls.tasks.is_drained());
        assert_eq!(calls.tasks.left().len(), usize::from(accepts));
        let abandoned = usize::from(keeps || !accepts);
        assert_eq!(calls.tasks.abandoned().len(), abandoned);
        assert_eq!(calls.cancelled.len(), usize::from(!accepts));
        drop(kept);
    }
}

#[test]
fn workers_end_after_their_agent_should_have_ended_them() {
    let mut calls = Calls::new(100_000);
    calls.submit(&PLAIN, 1..2, false, None, None);
    let (_, task) = calls.sent.pop().unwrap();
    let now = calls.now;
    let mut execution = opened(now, "one", delivery(&task, None, Duration::ZERO));
    assert_eq!(execution.workers_end_at(), None, "nothing runs");
    let call = execution.acknowledge(now, now).pop().unwrap();
    // The task begins elsewhere after ten seconds, and is lost here after nine.
    let after = |millis| now.checked_add(millis * MILLI);
    assert_eq!(execution.workers_end_at(), after(9_500));
    execution.acknowledge(now + SECOND, now + SECOND);
    assert_eq!(execution.workers_end_at(), after(10_500));
    execution.cancel();
    assert_eq!(execution.workers_end_at(), after(10_500), "it still runs");
    let mut other = opened(now, "two", delivery(&task, None, Duration::ZERO));
    other.acknowledge(now, now);
    assert!(other.tick(now + 9 * SECOND).1);
    assert_eq!(other.workers_end_at(), None, "the agent ends the workers");
    let ended = outcome(Err(Failure::Cancelled(Cancelled::ByCaller)));
    execution.end(now, call, ended);
    assert_eq!(execution.workers_end_at(), None);
}

#[test]
fn a_drained_task_answers_with_what_is_done() {
    let mut calls = Calls::new(100_000);
    calls.warm_up(&PLAIN);
    calls.submit(&PLAIN, 0..3, true, None, None);
    let (number, task) = calls.sent.pop().unwrap();
    let now = calls.now;
    let mut execution = opened(now, "one", delivery(&task, None, Duration::ZERO));
    let mut chunk = execution.acknowledge(now, now).pop().unwrap();
    let first = LocalCall {
        number: 0,
        index: Some(0),
        input: chunk.input.split_front(1),
        resumption: None,
    };
    chunk.number = 1;
    chunk.index = Some(1);
    succeed(&mut execution, now, first, 8);
    assert!(execution.drain(), "the others have to end");
    execution.end(
        now,
        chunk,
        outcome(Err(Failure::HandedBack(Box::default()))),
    );
    let answer = answered(execution.verdict(now, HostFacts::default()));
    calls.end(number, TaskEnd::Answered(answer));
    assert_eq!(calls.ended.len(), 1);
    let sent = calls
        .sent
        .iter()
        .flat_map(|(_, task)| super::world::inputs(&task.body));
    let mut sent: Vec<u64> = sent.collect();
    sent.sort_unstable();
    assert_eq!(sent, [1, 2]);
}

#[test]
fn a_function_is_unanswered_until_a_machine_answers() {
    let mut calls = Calls::new(100_000);
    calls.submit(&PLAIN, 0..2, true, None, None);
    let reading = calls.tasks.read()[0];
    assert!(reading.is_unanswered);
    assert_eq!((reading.counts.submitted, reading.executing), (2, 2));
    let (number, task) = calls.sent.pop().unwrap();
    let answer = answer(calls.now, &task, 8);
    calls.end(number, TaskEnd::Answered(answer));
    let reading = calls.tasks.read()[0];
    assert!(!reading.is_unanswered);
    assert!(reading.counts.finished > 0);
}

#[test]
fn tasks_that_run_at_the_same_time_share_it() {
    let mut calls = Calls::new(100_000);
    calls.warm_up(&PLAIN);
    calls.submit(&PLAIN, 0..8, true, None, None);
    let (_, task) = calls.sent.pop().unwrap();
    let took = |all| {
        let mut execution = opened(calls.now, "one", delivery(&task, None, Duration::ZERO));
        for call in execution.acknowledge(calls.now, calls.now) {
            succeed(&mut execution, calls.now + SECOND, call, 8);
        }
        let host = HostFacts {
            executed: all,
            ..HostFacts::default()
        };
        let answer = answered(execution.verdict(calls.now + SECOND, host));
        let (answer, _) = task::decode::<Answer>(answer).unwrap();
        (answer.facts.inputs, answer.facts.took)
    };
    assert_eq!(took(8), (8, SECOND));
    assert_eq!(took(32), (8, SECOND / 4));
}

#[test]
fn an_attempt_on_a_machine_that_was_lost_is_in_the_history() {
    let mut calls = Calls::new(100_000);
    calls.submit(&PLAIN, 1..2, false, None, None);
    let (_, task) = calls.sent.pop().unwrap();
    let ledger = lost_by(calls.now, &task, 2);
    let mut execution = opened(calls.now, "three", delivery(&task, ledger, SECOND));
    let call = execution.acknowledge(calls.now, calls.now).pop().unwrap();
    let resumption = call.resumption.unwrap();
    assert_eq!((resumption.attempt, resumption.failures), (3, 0));
    let is_lost = |outcome: &AttemptOutcome| *outcome == AttemptOutcome::HostLost;
    assert!(resumption.attempts.iter().all(|one| is_lost(&one.outcome)));
}

#[test]
fn a_cancelled_call_that_is_handed_back_is_not_sent_again() {
    let mut calls = Calls::new(100_000);
    calls.warm_up(&PLAIN);
    calls.submit(&PLAIN, 0..3, true, None, None);
    let (number, task) = calls.sent.pop().unwrap();
    let mut execution = opened(calls.now, "one", delivery(&task, None, Duration::ZERO));
    let running = execution.acknowledge(calls.now, calls.now);
    assert!(execution.drain(), "it has begun");
    for call in running {
        let back = Failure::HandedBack(Box::default());
        execution.end(calls.now, call, outcome(Err(back)));
    }
    let answer = answered(execution.verdict(calls.now, HostFacts::default()));
    calls.tasks.cancel_where(calls.now, |_| true);
    calls.act();
    assert_eq!(calls.cancelled.len(), 1);
    calls.end(number, TaskEnd::Answered(answer));
    assert!(calls.sent.is_empty());
    let is_cancelled =
        |(_, result): &(_, _)| matches!(result, Err::<Payload, _>(Failure::Cancelled(_)));
    assert!(calls.ended.len() == 3 && calls.ended.iter().all(is_cancelled));
}

#[test]
fn an_answer_that_comes_after_the_cancellation_does_not_count() {
    let mut calls = Calls::new(100_000);
    calls.submit(&PLAIN, 1..2, false, None, None);
    let (number, task) = calls.sent.pop().unwrap();
    calls.tasks.cancel_where(calls.now, |_| true);
    calls.act();
    assert_eq!(calls.cancelled.len(), 1);
    let answer = answer(calls.now, &task, 8);
    calls.end(number, TaskEnd::Answered(answer));
    let (_, result) = calls.ended.pop().expect("it has ended");
    assert!(matches!(result, Err(Failure::Cancelled(_))), "{result:?}");
}

#[test]
fn a_call_that_the_engine_keeps_no_longer_has_timed_out() {
    let limit_of = |deadline| {
        let mut calls = Calls::new(100_000);
        calls.submit(&PLAIN, 1..2, false, deadline, None);
        let (number, _) = calls.sent.pop().unwrap();
        calls.end(number, TaskEnd::TimedOut(1000 * SECOND));
        match calls.ended.pop() {
            Some((_, Err(Failure::TimedOut(timed_out)))) => timed_out.after(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(limit_of(None), 1000 * SECOND);
    // That of the engine has some time on top.
    assert_eq!(limit_of(Some(990 * SECOND)), 990 * SECOND);
}

#[test]
fn a_task_that_has_not_begun_is_handed_back_as_it_is() {
    let mut calls = Calls::new(100_000);
    calls.warm_up(&PLAIN);
    calls.submit(&PLAIN, 0..3, true, None, None);
    let (_, task) = calls.sent.pop().unwrap();
    let ledger = lost_by(calls.now, &task, 1);
    let mut execution = opened(calls.now, "two", delivery(&task, ledger.clone(), SECOND));
    assert!(!execution.drain(), "nothing runs yet");
    match execution.verdict(calls.now, HostFacts::default()) {
        Some(Verdict::Again {
            delay,
            ledger: left,
        }) => {
            assert_eq!(
                (delay, Some(left)),
                (Duration::ZERO, ledger),
                "it was not lost here"
            );
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn failures_count_even_if_their_texts_do_not_fit() {
    for count in [1, 3] {
        let mut calls = Calls::new(5_000);
        calls.warm_up(&PLAIN);
        calls.submit(&PLAIN, 0..count, true, None, None);
        let (number, task) = calls.sent.pop().unwrap();
        let now = calls.now;
        let mut execution = opened(now, "one", delivery(&task, None, Duration::ZERO));
        let mut rest = execution.acknowledge(now, now).pop().unwrap();
        for place in 0..count {
            let input = match place + 1 < count {
                true => rest.input.split_front(1),
                false => rest.input.clone(),
            };
            let call = LocalCall {
                number: place as u32,
                index: Some(place),
                input,
                resumption: None,
            };
            let back = Resumption {
                attempt: 3,
                failures: 2,
                delay: 5 * SECOND,
                left: Some(9 * SECOND),
                last: Some(Failure::Function(vec![7; 4_990].into())),
                ..Resumption::default()
            };
            execution.end(now, call, outcome(Err(Failure::HandedBack(Box::new(back)))));
        }
        match execution.verdict(now, HostFacts::default()).unwrap() {
            Verdict::Again { ledger, .. } => {
                assert!(ledger.len() <= 5_000);
                let resumption = Ledger::decode(&ledger).unwrap().resumption.unwrap();
                assert_eq!((resumption.attempt, resumption.failures), (3, 2));
            }
            Verdict::Answer(answer) => {
                assert!(answer.len() <= 5_000);
                calls.end(number, TaskEnd::Answered(answer));
                let (_, task) = &calls.sent[0];
                assert_eq!(task.delay, 5 * SECOND);
                let mut execution = opened(now, "two", delivery(task, None, 5 * SECOND));
                let call = execution.acknowledge(now, now).pop().unwrap();
                let resumption = call.resumption.unwrap();
                assert_eq!((resumption.attempt, resumption.failures), (3, 2));
            }
            other => panic!("{other:?}"),
        }
    }
}
