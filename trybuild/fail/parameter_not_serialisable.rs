struct NotSerde;

#[retry_runtime::function]
fn f(value: NotSerde) {
    drop(value);
}

fn main() {}
