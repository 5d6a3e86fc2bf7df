#[retry_runtime::test]
const fn it_works() {}

fn main() {}
