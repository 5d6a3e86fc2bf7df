//! Bytes that no caller, engine or machine of this version has made.

use std::sync::Arc;
use std::time::Duration;

use super::directed::{Calls, answer, outcome};
use super::{PLAIN, SECOND, values};
use crate::agent::execution::{HostFacts, Opened, open};
use crate::api::engine::{Delivery, TaskEnd};
use crate::api::failure::Lost;
use crate::codec::payload::Payload;
use crate::job::budget::Budget;
use crate::job::outcome::{Failure, failed};
use crate::job::resumption::Resumption;
use crate::wire::message::Reply;
use crate::wire::task::{self, Answer, Facts, Ledger};

/// Changes bytes in one of several ways. Returns whether nothing sensible can be left.
fn damage(random: &mut fastrand::Rng, bytes: &mut Vec<u8>) -> bool {
    match random.u8(0..6) {
        0 => {
            *bytes = (0..random.usize(0..200)).map(|_| random.u8(..)).collect();
            true
        }
        1 => {
            bytes.truncate(random.usize(..bytes.len().max(1)));
            true
        }
        2 => {
            bytes.push(random.u8(..));
            true
        }
        3 => {
            let at = random.usize(..=bytes.len());
            bytes.insert(at, random.u8(..));
            false
        }
        _ => {
            for _ in 0..random.usize(1..4) {
                if !bytes.is_empty() {
                    let at = random.usize(..bytes.len());
                    let any = random.u8(..);
                    bytes[at] = random.choice([0, 1, 0xff, any]).expect("one");
                }
            }
            false
        }
    }
}

fn resumption(random: &mut fastrand::Rng) -> Box<Resumption> {
    let time = random
        .choice([Duration::ZERO, SECOND, Duration::MAX])
        .expect("one");
    let number = random.choice([0, 1, 2, u32::MAX]).expect("one");
    Box::new(Resumption {
        attempt: number,
        failures: number,
        crashes: number,
        delay: time,
        left: random.bool().then_some(time),
        ..Resumption::default()
    })
}

#[test]
fn damaged_answers_end_the_calls_of_their_task() {
    for seed in 0..3000 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut calls = Calls::new(100_000);
        calls.warm_up(&PLAIN);
        let budget = random.bool().then(|| Arc::new(Budget::new(0.1)));
        let count = random.u64(1..9);
        calls.submit(
            &PLAIN,
            0..count,
            random.bool() || count > 1,
            None,
            budget.as_ref(),
        );
        let (number, task) = calls.sent.pop().expect("it is sent at once");
        let mut bytes = answer(calls.now, &task, 8);
        let is_hopeless = damage(&mut random, &mut bytes);
        calls.end(number, TaskEnd::Answered(bytes));
        if is_hopeless {
            for (_, result) in &calls.ended {
                let is_lost = matches!(result, Err(Failure::Lost(Lost::Protocol { .. })));
                assert!(is_lost, "seed {seed}: {result:?}");
            }
            assert!(calls.sent.is_empty(), "seed {seed}");
            if let Some(budget) = &budget {
                assert_eq!(budget.lend(100), 10, "seed {seed}: it is lent nowhere");
            }
        }
        while let Some((number, _)) = calls.sent.pop() {
            calls.end(number, TaskEnd::Cancelled);
        }
        let mut ended: Vec<u64> = calls
            .ended
            .iter()
            .flat_map(|(one, _)| one.clone())
            .collect();
        ended.sort_unstable();
        assert_eq!(
            ended,
            (0..count).collect::<Vec<_>>(),
            "seed {seed}: {:?}",
            calls.ended
        );
        assert!(calls.tasks.pending() == (0, 0), "seed {seed}");
    }
}

#[test]
fn absurd_answers_end_the_calls_of_their_task() {
    for seed in 0..1000 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut calls = Calls::new(100_000);
        calls.warm_up(&PLAIN);
        let budget = Arc::new(Budget::new(0.1));
        calls.submit(&PLAIN, 0..4, true, None, Some(&budget));
        let (number, _) = calls.sent.pop().expect("it is sent at once");
        let (mut replies, mut payload) = (Vec::new(), Vec::new());
        for place in 0..random.u32(0..6) {
            let ends = match random.u8(0..4) {
                0 => failed(Failure::HandedBack(resumption(&mut random))),
                1 => outcome(Ok(values(0..random.u64(1..7), 8))),
                _ => outcome(Ok(Payload::NONE)),
            };
            let place = if random.u8(0..8) == 0 {
                random.u32(..)
            } else {
                place
            };
            let (reply, bytes) = Reply::new(place, ends);
            replies.push(reply);
            payload.extend_from_slice(&bytes);
        }
        let mut large = || random.choice([0, 1, u64::MAX]).expect("one");
        let facts = Facts {
            overflows: false,
            slots: large() as u32,
            inputs: large() as u32,
            took: Duration::from_secs(large()),
            queued: Duration::from_secs(large()),
            attempts: large(),
            retries: large(),
        };
        let bytes = task::encode(
            &Answer {
                function: String::new(),
                replies,
                facts,
                problem: None,
            },
            &payload,
        );
        calls.end(number, TaskEnd::Answered(bytes));
        let again = calls.now + SECOND;
        calls.tasks.tick(again);
        calls.act();
        while let Some((number, task)) = calls.sent.pop() {
            let body = Delivery {
                body: task.body,
                ..Delivery::default()
            };
            assert!(open(calls.now, "host", body).is_ok(), "seed {seed}");
            calls.end(number, TaskEnd::Cancelled);
        }
        assert!(calls.tasks.pending() == (0, 0), "seed {seed}");
    }
}

#[test]
fn damaged_tasks_and_ledgers_are_refused_or_run() {
    let mut refused = 0;
    for seed in 0..4000 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut calls = Calls::new(100_000);
        calls.warm_up(&PLAIN);
        let (is_map, count) = (random.bool(), random.u64(1..6));
        let count = if is_map { count } else { 1 };
        let limit = random.bool().then_some(60 * SECOND);
        calls.submit(&PLAIN, 0..count, is_map, limit, None);
        let (_, task) = calls.sent.pop().expect("it is sent at once");
        let begun = (0..random.usize(0..5)).map(|host| format!("host{host}"));
        let begun: Vec<String> = begun.collect();
        let ledger = Ledger {
            recorded: random.usize(..=begun.len()),
            begun,
            resumption: random.bool().then(|| resumption(&mut random)),
        };
        let (mut body, mut ledger) = (task.body, ledger.encode());
        match random.u8(0..4) {
            0 => drop(damage(&mut random, &mut body)),
            1 => drop(damage(&mut random, &mut ledger)),
            _ => {}
        }
        let waited = random
            .choice([Duration::ZERO, SECOND, Duration::MAX])
            .expect("one");
        let delivery = Delivery {
            body,
            ledger: random.bool().then_some(ledger),
            waited,
        };
        let mut now = calls.now;
        let mut execution = match open(now, "host", delivery) {
            Ok(Opened::Run { execution, .. }) => execution,
            Ok(Opened::End(_)) => continue,
            Err(_) => {
                refused += 1;
                continue;
            }
        };
        drop(execution.ledger());
        if random.u8(0..4) == 0 {
            execution.drain();
        }
        for call in execution.acknowledge(now, now) {
            if call.resumption.is_some() {
                assert_eq!(
                    call.input.count(),
                    1,
                    "seed {seed}: several with one history"
                );
            }
            now += SECOND;
            let end = match random.bool() {
                true => Ok(values(0..u64::from(call.input.count()), 8)),
                false => Err(Failure::HandedBack(resumption(&mut random))),
            };
            let _ = (execution.next_timer(), execution.tick(now));
            execution.end(now, call, outcome(end));
        }
        execution.drain();
        execution.verdict(now, HostFacts::default());
    }
    assert!(refused > 500, "only {refused} were refused");
}
