//! Programs whose `main` is tokio's, in either flavour: the worker check runs inside of it.

use retry_runtime::function;

#[function]
async fn doubled(number: u64) -> u64 {
    tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    number * 2
}

#[function]
async fn depth(left: u32) -> Result<u32, String> {
    if left == 0 {
        return Ok(0);
    }
    // A nested call: the worker has workers of its own.
    let below = depth.remote(left - 1).await;
    below
        .map(|below| below + 1)
        .map_err(|error| error.to_string())
}

async fn program() {
    retry_runtime::init();
    let values: Vec<u64> = doubled.map(0..10).try_collect().await.expect("all succeed");
    println!("{values:?}");
    println!("{:?}", depth.remote(2).await);
    match depth.remote(20).await {
        Err(error) => println!("{error}"),
        Ok(levels) => println!("{levels} levels"),
    }
}

fn main() {
    let mut builder = if std::env::args().any(|argument| argument == "multi") {
        tokio::runtime::Builder::new_multi_thread()
    } else {
        tokio::runtime::Builder::new_current_thread()
    };
    let runtime = builder.enable_all().build().expect("a runtime");
    runtime.block_on(program());
}
