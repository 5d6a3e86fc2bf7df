struct NotSerde;

#[retry_runtime::function]
fn f(value: &NotSerde) {
    let _ = value;
}

fn main() {}
