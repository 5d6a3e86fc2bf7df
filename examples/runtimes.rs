//! Separate runtimes: worker pools with their own settings and their own shutdown.
//!
//! `cargo run --example runtimes`

use std::time::Duration;

use retry_runtime::{CallError, Rejected, Runtime, function};

#[function]
fn greet(name: &str) -> String {
    let greeting = std::env::var("GREETING").unwrap_or_else(|_| "Hello".to_owned());
    format!("{greeting}, {name}")
}

#[function]
fn sleeps(milliseconds: u64) -> u64 {
    std::thread::sleep(Duration::from_millis(milliseconds));
    milliseconds
}

fn main() -> std::io::Result<()> {
    // In a worker, `init` does not return.
    retry_runtime::init();

    println!("1. the runtime that calls use unless they are told otherwise");
    println!("   {}", greet.remote("Ada").wait().unwrap_or_default());

    println!("2. one with variables and limits of its own");
    let runtime = Runtime::builder()
        .max_workers(2)
        .env("GREETING", "Bonjour")
        .timeout(Duration::from_secs(30))
        .build()?;
    println!(
        "   {}",
        greet.on(&runtime).remote("Ada").wait().unwrap_or_default()
    );

    println!("3. a shutdown waits for what is running, for a while");
    let short = sleeps.on(&runtime).spawn(200);
    let long = sleeps.on(&runtime).spawn(3_600_000);
    let abandoned = runtime.shutdown(Duration::from_secs(1)).wait();
    println!("   the short call: {:?}", short.wait().ok());
    println!("   abandoned: {} call", abandoned.len());
    if let Err(error @ CallError::Cancelled(..)) = long.wait() {
        println!("   the long call: {error}");
    }

    println!("4. after that it takes no calls");
    match greet.on(&runtime).remote("Ada").wait() {
        Err(CallError::Rejected(Rejected::ShutDown, _)) => println!("   rejected"),
        other => println!("   unexpected: {other:?}"),
    }
    println!(
        "   the other one still does: {}",
        greet.remote("Ada").wait().is_ok()
    );

    // Without #[local_entrypoint], the program has to shut down the default runtime itself.
    retry_runtime::shutdown(Duration::from_secs(5)).wait();
    Ok(())
}
