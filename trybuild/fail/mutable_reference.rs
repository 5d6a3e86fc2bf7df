#[retry_runtime::function]
fn f(numbers: &mut Vec<u64>) {
    numbers.push(1);
}

fn main() {}
