use retry_runtime::Retries;

const POLICY: Retries = Retries::exponential(3).backoff_coefficient(10.5);

#[retry_runtime::function(retries = POLICY)]
fn f() {}

fn main() {}
