#[retry_runtime::test(flavor = "multi_thread")]
fn it_works() {}

fn main() {}
