#[retry_runtime::function]
fn double(number: u64) -> u64 {
    number * 2
}

fn main() {
    let doubled: Vec<u64> = (0..3).map(double).collect();
    println!("{doubled:?}");
}
