//! Services: types whose methods run in workers that hold a value of the type.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use retry_runtime::{CallError, Runtime, Startup, function, service};
use retry_tests::{Ledger, fixture, record};
use serde::{Deserialize, Serialize};

use crate::serving::serves;

const LIMIT: Duration = Duration::from_secs(120);

/// The configuration of a scaler.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Config {
    ledger: PathBuf,
    factor: u64,
}

/// Scales numbers by its factor.
pub struct Scaler {
    factor: u64,
    calls: u64,
    ledger: PathBuf,
}

/// The error of a configuration without a usable factor.
#[derive(Debug, thiserror::Error)]
#[error("a factor of zero makes no sense")]
pub struct NoFactor;

#[service(max_workers = 2)]
impl Scaler {
    /// Creates a scaler in each worker.
    #[setup]
    pub fn new(config: Config) -> Result<Self, NoFactor> {
        record(&config.ledger, 1000 + config.factor);
        if config.factor == 0 {
            return Err(NoFactor);
        }
        Ok(Self {
            factor: config.factor,
            calls: 0,
            ledger: config.ledger,
        })
    }

    /// Scales one number.
    #[method(retries = 2)]
    pub fn scale(&self, number: u64) -> u64 {
        number * self.factor
    }

    /// Parses a borrowed text, with an error of its own type.
    #[method]
    pub fn parse(&mut self, text: &str) -> Result<u64, String> {
        self.calls += 1;
        let number: u64 = text.parse().map_err(|_| format!("not a number: {text}"))?;
        Ok(number * self.factor)
    }

    /// Returns the process ID of the worker.
    #[method]
    pub fn pid(&self) -> u32 {
        std::process::id()
    }

    /// An ordinary method.
    pub fn factor(&self) -> u64 {
        self.factor
    }

    /// Records that the scaler is closed.
    #[teardown]
    pub fn close(self) {
        record(&self.ledger, 2000 + self.factor);
    }
}

#[retry_runtime::test]
fn the_methods_of_a_value_are_called_in_its_workers() {
    fixture(LIMIT, serves, || {
        let ledger = Ledger::new();
        let config = |factor| Config {
            ledger: ledger.path(),
            factor,
        };
        let runtime = Runtime::builder().build().unwrap();
        let by_three = Scaler::with(config(3)).on(&runtime);
        let by_five = Scaler::with(config(5)).on(&runtime);
        assert_eq!(by_three.scale.remote(7).wait().unwrap(), 21);
        assert_eq!(by_five.scale.remote(7).wait().unwrap(), 35);
        for (number, result) in (0..100).zip(by_three.scale.map(0..100)) {
            assert_eq!(result.unwrap(), number * 3);
        }
        assert_eq!(by_five.parse.remote("11").wait().unwrap(), 55);
        match by_five.parse.remote("eleven").wait() {
            Err(CallError::Function(error, _)) => assert_eq!(error, "not a number: eleven"),
            other => panic!("{other:?}"),
        }
        assert_eq!(by_three.scale.name(), "workers::services::Scaler::scale");
        assert_eq!(by_three.scale.spec().retries.schedule().count(), 2);

        // One pool for each configuration, shared by all of its handles and methods.
        let pids = |scaler: &ScalerHandle| -> BTreeSet<u32> {
            let results = scaler.pid.map([(); 20]).into_iter();
            results.map(Result::unwrap).collect()
        };
        let again = Scaler::with(config(3)).on(&runtime);
        assert!(pids(&by_three).union(&pids(&again)).count() <= 2);
        assert!(pids(&by_three).is_disjoint(&pids(&by_five)));

        runtime.shutdown(Duration::from_secs(5)).wait();
        let executions = ledger.executions();
        assert!(executions[&1003] <= 2 && executions[&1005] <= 2);
        // A scaler that was still being created at shutdown is not closed.
        for factor in [3, 5] {
            let closed = executions[&(2000 + factor)];
            assert!(closed >= 1 && closed <= executions[&(1000 + factor)]);
        }
    });
}

#[retry_runtime::test]
fn a_value_that_cannot_be_made_is_a_start_up_failure() {
    fixture(LIMIT, serves, || {
        let ledger = Ledger::new();
        let broken = Scaler::with(Config {
            ledger: ledger.path(),
            factor: 0,
        });
        match broken.scale.remote(1).wait() {
            Err(CallError::Startup(Startup::SetUp(reason), _)) => {
                assert_eq!(&*reason, "a factor of zero makes no sense");
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(ledger.total(), 1, "tried once");
    });
}

struct Greeter(String);

#[service(max_workers = 1, concurrency = 8)]
impl Greeter {
    #[setup]
    fn new(greeting: String, mark: char) -> Self {
        Self(format!("{greeting}{mark}"))
    }

    #[method(timeout = "5s")]
    async fn greet(&self, name: String) -> String {
        tokio::time::sleep(Duration::from_millis(1)).await;
        format!("{} {name}", self.0)
    }

    #[method]
    fn blocking(&self) -> usize {
        self.0.len()
    }
}

#[function]
fn greets_from_within(name: String) -> String {
    Greeter::with("nested".to_owned(), '?')
        .greet
        .remote(name)
        .wait()
        .unwrap()
}

#[retry_runtime::test]
fn methods_may_be_async_and_called_from_within_other_calls() {
    fixture(LIMIT, serves, || {
        let greeter = Greeter::with("hello".to_owned(), '!');
        for (number, result) in (0..50).zip(greeter.greet.map((0..50).map(|n| n.to_string()))) {
            assert_eq!(result.unwrap(), format!("hello! {number}"));
        }
        assert_eq!(greeter.blocking.remote().wait().unwrap(), 6);
        let nested = greets_from_within.remote("you".to_owned()).wait();
        assert_eq!(nested.unwrap(), "nested? you");
        assert_eq!(Greeter::new("a".to_owned(), 'b').0, "ab", "still a type");
    });
}
