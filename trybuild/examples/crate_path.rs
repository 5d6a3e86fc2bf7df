//! The `crate` key names the path of a renamed or re-exported runtime.
mod facade {
    pub use retry_runtime as jobs;
}

#[facade::jobs::function(crate = crate::facade::jobs, retries = 2, timeout = "3s")]
fn f(number: u64) -> u64 {
    number
}

#[facade::jobs::function(crate = facade::jobs, retries(max_retries = N, jitter))]
async fn g(text: &str) -> Result<usize, String> {
    Ok(text.len())
}

const N: u32 = 3;

#[facade::jobs::on_start(crate = crate::facade::jobs)]
fn starts() {}

#[facade::jobs::test(crate = facade::jobs)]
fn is_a_test() {}

#[facade::jobs::local_entrypoint(crate = facade::jobs)]
fn main(limit: Option<u64>) {
    assert_eq!(f(1), 1);
    assert_eq!(g.spec().retries.max_retries(), 3);
    assert_eq!(limit, None);
}
