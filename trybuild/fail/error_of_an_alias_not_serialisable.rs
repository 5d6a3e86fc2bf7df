struct NotSerde;

type Answer = Result<u64, NotSerde>;

#[retry_runtime::function]
fn f() -> Answer {
    Err(NotSerde)
}

fn main() {}
