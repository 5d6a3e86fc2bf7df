#[retry_runtime::test]
unsafe fn it_works() {}

fn main() {}
