struct NotSerde;

#[retry_runtime::function]
fn f() -> NotSerde {
    NotSerde
}

fn main() {}
