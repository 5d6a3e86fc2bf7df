#[retry_runtime::function(retries = 3)]
fn squares(until: u64) -> impl Iterator<Item = u64> {
    (0..until).map(|number| number * number)
}

fn main() {
    for square in squares.remote(10).wait().unwrap() {
        println!("{square}");
    }
    let first = squares.spawn(10);
    let _ = first.wait();
}
