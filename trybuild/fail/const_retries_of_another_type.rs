use std::time::Duration;

const DELAYS: &[Duration] = &[Duration::ZERO];

#[retry_runtime::function(retries = DELAYS)]
fn with_a_list() {}

#[retry_runtime::function(retries = [Duration::ZERO, Duration::from_secs(1)])]
fn with_an_array() {}

#[retry_runtime::function(retries = (3, Duration::from_secs(1)))]
fn with_a_pair() {}

#[retry_runtime::function(retries = 1..3)]
fn with_a_range() {}

fn main() {
    let _ = (with_a_list.remote().wait(), with_a_pair.remote().wait());
    let _ = (with_an_array.remote().wait(), with_a_range.remote().wait());
}
