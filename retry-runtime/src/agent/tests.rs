//! Tests of calls to other machines without processes and services: random histories of a caller, an engine and its
//! machines. A failing history prints its seed.

mod directed;
mod garbage;
mod local;
mod world;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::api::options::Policy;
use crate::api::retries::Retries;
use crate::api::run::RunId;
use crate::api::spec::FunctionSpec;
use crate::codec::payload::{self, Payload};
use crate::fleet::tasks::{PoolKey, Settings};
use crate::function::callee::Callee;
use crate::function::registry::{Registration, Run};
use crate::job::Job;
use crate::job::budget::Budget;
use crate::job::caller::Caller;
use crate::job::delivery::{Deliver, Outcomes};
use world::{Style, World};

const SECOND: Duration = Duration::from_secs(1);
const MILLI: Duration = Duration::from_millis(1);

/// The time after which a machine that is not heard of has lost a task.
const HOST_TIMEOUT: Duration = Duration::from_secs(10);

static PLAIN_SPEC: FunctionSpec = FunctionSpec::new("app::plain", "app.rs", 1, &["x"]);
static ONCE_SPEC: FunctionSpec = FunctionSpec::new("app::once", "app.rs", 2, &["x"]).at_most_once();
static BATCH_SPEC: FunctionSpec =
    FunctionSpec::new("app::batch", "app.rs", 3, &["x"]).batch(5, Duration::from_millis(10));

static PLAIN: Registration = Registration::new(&PLAIN_SPEC, Run::Blocking(|_| {}), || "types");
static ONCE: Registration = Registration::new(&ONCE_SPEC, Run::Blocking(|_| {}), || "types");
static BATCH: Registration = Registration::new(&BATCH_SPEC, Run::Batch(|_| {}), || "types");

/// A target that gets nothing: the tests take the outcomes themselves.
struct Unused;

impl Deliver for Unused {
    fn deliver(self: Arc<Self>, _: Outcomes<'_, '_>) {
        unreachable!("the test takes the outcomes");
    }
}

fn settings(max_body: usize) -> Settings {
    Settings {
        run: RunId::from_bits(77).expect("it is not zero"),
        version: 0x9f2c_41d0_a5b1_c377,
        host_timeout: HOST_TIMEOUT,
        startup_timeout: Some(60 * SECOND),
        max_body,
    }
}

fn policy(registration: &Registration, retries: Retries, deadline: Option<Duration>) -> Policy {
    Policy {
        retries,
        timeout: None,
        deadline,
        at_most_once: registration.spec.at_most_once,
        grace: None,
        after: Duration::ZERO,
    }
}

fn callee(
    registration: &'static Registration,
    policy: Policy,
    budget: Option<Arc<Budget>>,
) -> Callee {
    Callee {
        registration,
        config: None,
        policy,
        budget,
        called: None,
        longest_delay: Some(SECOND),
        is_detached: false,
        to_come: None,
    }
}

fn pool(registration: &Registration) -> PoolKey {
    (registration.spec.name, None)
}

/// Returns the numbers as values of so many bytes, at least eight.
fn values(numbers: impl IntoIterator<Item = u64>, size: usize) -> Payload {
    let (mut buffer, mut count) = (Vec::new(), 0);
    for number in numbers {
        let begun = payload::begin(&mut buffer);
        buffer.extend_from_slice(&number.to_le_bytes());
        buffer.resize(begun + size.max(8), 0);
        payload::end(&mut buffer, begun);
        count += 1;
    }
    Payload::new(count, Bytes::from(buffer))
}

/// Returns the numbers that values are.
fn numbers(payload: &Payload) -> Vec<u64> {
    let number = |bytes: Bytes| u64::from_le_bytes(*bytes.first_chunk().expect("eight bytes"));
    match payload.clone() {
        Payload::Several(packed) => packed.map(number).collect(),
        one => vec![number(one.into_one())],
    }
}

fn job(
    inputs: impl IntoIterator<Item = u64>,
    size: usize,
    index: Option<u64>,
    caller: Caller,
) -> Job {
    Job {
        target: Arc::new(Unused),
        number: 0,
        index,
        input: values(inputs, size),
        objects: crate::shared::Objects::NONE,
        caller,
        method: 0,
        spans: crate::spans::Context::default(),
    }
}

/// Runs histories from seeds, which the environment may choose.
fn run(seeds: u64, style: impl Fn(&mut fastrand::Rng) -> Style + std::panic::RefUnwindSafe) {
    let given = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
    let first = given("RETRY_SEED");
    let seeds = given("RETRY_SEEDS").unwrap_or(if first.is_some() { 1 } else { seeds });
    let first = first.unwrap_or(0);
    for seed in first..first + seeds {
        let history = || {
            let mut random = fastrand::Rng::with_seed(seed);
            let style = style(&mut random);
            World::new(seed, random, style).run();
        };
        if let Err(panic) = std::panic::catch_unwind(history) {
            eprintln!("RETRY_SEED={seed}");
            std::panic::resume_unwind(panic);
        }
    }
}

#[test]
fn every_history_of_several_machines_ends() {
    run(700, Style::turmoil);
}

#[test]
fn an_input_that_kills_machines_harms_no_other() {
    run(200, Style::killers);
}

#[test]
fn calls_end_well_while_nothing_goes_wrong() {
    run(200, Style::calm);
}
