#[retry_runtime::function(max_workers = 0, timeout = "0s")]
fn f(number: u32) -> u32 {
    number
}

fn main() {
    // The stub is still there: nothing is said about this line.
    let _call = f.remote(1);
}
