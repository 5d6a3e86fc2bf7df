#[retry_runtime::function(retries(max = 3))]
fn f(number: u64) -> u64 {
    number
}

fn main() {
    println!("{}", f.remote(1).wait().unwrap());
}
