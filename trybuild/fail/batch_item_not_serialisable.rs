struct NotSerde;

#[retry_runtime::function(batch(max_size = 64))]
fn f(values: Vec<NotSerde>) -> Vec<u64> {
    vec![1; values.len()]
}

fn main() {}
