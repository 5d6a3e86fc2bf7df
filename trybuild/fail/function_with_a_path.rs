#[retry_runtime::function("/jobs")]
fn list(page: u32) -> u32 {
    page
}

fn main() {
    println!("{}", list.remote(1).wait().unwrap());
}
