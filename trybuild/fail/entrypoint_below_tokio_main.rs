#[retry_runtime::function]
fn f(number: u64) -> u64 {
    number
}

#[retry_runtime::local_entrypoint]
#[tokio::main]
async fn main() {
    println!("{}", f.remote(1).await.unwrap());
}
