struct NotSerde;

#[retry_runtime::function]
fn f(values: Vec<NotSerde>) -> usize {
    values.len()
}

fn main() {}
