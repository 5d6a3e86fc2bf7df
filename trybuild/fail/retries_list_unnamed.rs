#[retry_runtime::function(retries(3, jitter))]
fn f(number: u64) -> u64 {
    number
}

fn main() {
    println!("{}", f.remote(1).wait().unwrap());
}
