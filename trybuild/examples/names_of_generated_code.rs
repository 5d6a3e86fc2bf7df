//! Functions and constants named like bindings and items that generated code might contain.
#![deny(warnings)]
#![allow(non_upper_case_globals)]
use retry_runtime::function;
use std::time::Duration;

macro_rules! functions {
    ($($name:ident)*) => {
        $(
            #[function(retries = 1)]
            fn $name(number: u64) -> Result<u64, String> {
                Ok(number)
            }
        )*
    };
}

functions!(result invocation state batch inputs argument0 argument1 run body local probe value error);
functions!(__stub __start __body);

const VALUE: Duration = Duration::from_secs(3);
const SPEC: u32 = 3;
const REGISTRATION: usize = 2;

fn set_up() -> u64 {
    1
}

fn tear_down(_: u64) {}

fn retry_if(_: &String) -> bool {
    true
}

#[function(
    timeout = VALUE,
    retries = SPEC,
    max_workers = REGISTRATION,
    setup = set_up,
    teardown = tear_down,
    retry_if = retry_if
)]
fn all(state_of_it: &mut u64, number: u64) -> Result<u64, String> {
    *state_of_it += number;
    Ok(*state_of_it)
}

fn main() {
    for spec in [result.spec(), run.spec(), error.spec(), argument0.spec()] {
        assert!(spec.name.ends_with(spec.name.rsplit("::").next().unwrap()));
    }
    assert_eq!(body(1), Ok(1));
    assert_eq!(all.spec().timeout, Some(VALUE));
    let _ = [
        invocation(1),
        state(1),
        batch(1),
        inputs(1),
        argument1(1),
        local(1),
        probe(1),
        value(1),
    ];
}
