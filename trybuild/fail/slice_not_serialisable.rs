struct NotSerde;

#[retry_runtime::function]
fn f(values: &[NotSerde]) -> usize {
    values.len()
}

fn main() {}
