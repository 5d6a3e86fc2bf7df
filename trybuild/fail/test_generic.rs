#[retry_runtime::test]
fn it_works<T>() {}

fn main() {}
