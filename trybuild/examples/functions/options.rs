//! All keys, in all permitted forms.
use retry_runtime::{CrashLimit, Retries, function};
use std::time::Duration;

const POLICY: Retries = Retries::exponential(5).jitter();
const TIMES: u32 = 4;
const LIMIT: Duration = Duration::from_millis(1500);
const CRASHES: CrashLimit = CrashLimit::new(3, Duration::from_secs(10));

fn load() -> Result<Vec<u8>, std::io::Error> {
    Ok(Vec::new())
}

fn passing(error: &String) -> bool {
    error.is_empty()
}

#[function(
    retries = POLICY,
    retry_if = passing,
    timeout = LIMIT,
    deadline = "1m",
    startup_timeout = "5s",
    setup = load,
    max_workers = 3,
    min_workers = 1,
    scaledown_window = "10s",
    max_calls_per_worker = 100,
    crash_limit = CRASHES,
    name = "all"
)]
fn all(state: &mut Vec<u8>, text: &str) -> Result<usize, String> {
    state.extend(text.bytes());
    Ok(state.len())
}

#[function(retries = TIMES, single_use_workers)]
fn times() {}

#[function(at_most_once)]
fn once() {}

#[function(retries(
    max_retries = 5,
    backoff_coefficient = 2.0,
    initial_delay = "200ms",
    max_delay = "20s",
    jitter
))]
async fn inline(a: &str, b: &[u8]) -> Result<u32, String> {
    Ok((a.len() + b.len()) as u32)
}

pub(crate) fn main() {
    assert_eq!(all.name(), "all");
    assert_eq!(all.spec().retries, POLICY);
    assert_eq!(times.spec().retries, Retries::from(4));
    assert_eq!(inline.spec().parameters, ["a", "b"]);
    let _ = all.remote("text");
    let _ = inline.remote("a", &[1]);
    let _ = once.map([(), ()]);
}
