#[retry_runtime::test]
#[tokio::test]
async fn works() {}

fn main() {}
