#[retry_runtime::function]
fn f(number: u64) -> u64 {
    number
}

#[tokio::main]
#[retry_runtime::local_entrypoint]
async fn main() {
    println!("{}", f.remote(1).await.unwrap());
}
