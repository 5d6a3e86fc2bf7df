//! Limits as text and as constants.
use retry_runtime::function;
use std::time::Duration;

const LIMIT: u64 = 1 << 30;
const GRACE: Duration = Duration::from_secs(2);

#[function(memory = "512MiB", max_rss_growth = LIMIT, grace = GRACE)]
fn f() {}

#[function(memory = LIMIT / 2, max_rss_growth = "1.5 GB", grace = "0s", concurrency = 8)]
async fn g() {}

#[function(timeout = GRACE, deadline = "2s", min_workers = 2, max_workers = MOST)]
fn h() {}

const MOST: usize = 2;

pub(crate) fn main() {
    assert_eq!(f.spec().memory, Some(536_870_912));
    assert_eq!(f.spec().max_rss_growth, Some(1 << 30));
    assert_eq!(f.spec().grace, GRACE);
    assert_eq!(g.spec().memory, Some(1 << 29));
    assert_eq!(g.spec().max_rss_growth, Some(1_500_000_000));
    assert_eq!(g.spec().concurrency, 8);
    assert_eq!(h.spec().max_workers, Some(2));
}
