//! A web server whose handlers await calls.
//!
//! `cargo run --package retry-example-server --example server`, then `curl localhost:<port>/digits/2000`
//!
//! When a client disconnects, its handler is dropped, which cancels the call. On SIGTERM the server drains:
//! it answers the requests that it is serving and accepts no new ones.

use std::io;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::{Router, routing};
use retry_runtime::{CallError, Runtime, function};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

/// Time that requests may still take once the server shuts down.
const GRACE: Duration = Duration::from_secs(20);

/// Computes for the given time in a worker, and stops early when its caller is gone.
#[function(timeout = "60s", grace = "2s")]
fn digits(milliseconds: u64) -> String {
    let token = retry_runtime::current().expect("runs in a worker").token();
    println!("computing for {milliseconds} ms");
    for _ in 0..milliseconds {
        if token.is_cancelled() {
            println!("stopped: nobody wants the digits any more");
            return String::new();
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    "3.14159".to_owned()
}

async fn handler(
    State(workers): State<Runtime>,
    Path(milliseconds): Path<u64>,
) -> Result<String, (StatusCode, String)> {
    let answer = digits.on(&workers).remote(milliseconds).await;
    answer.map_err(|error| {
        let status = match error {
            CallError::TimedOut(..) => StatusCode::GATEWAY_TIMEOUT,
            CallError::Cancelled(..) | CallError::Rejected(..) => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        (status, format!("{error}\n"))
    })
}

async fn serve(workers: Runtime) -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("listening on {}", listener.local_addr()?);

    let routes = Router::new()
        .route("/digits/{milliseconds}", routing::get(handler))
        .with_state(workers.clone());
    let draining = workers.clone();
    axum::serve(listener, routes)
        .with_graceful_shutdown(async move {
            terminate.recv().await;
            println!("draining");
            // From now on no call is accepted, and running calls have this long. Calls that are cancelled
            // then are answered with 503, so the server always shuts down in time.
            let _ = draining.shutdown(GRACE);
        })
        .await?;
    let abandoned = workers.shutdown(Duration::ZERO).await;
    println!("drained, {} calls were given up", abandoned.len());
    Ok(())
}

fn main() -> io::Result<()> {
    // In a worker, `init` does not return.
    retry_runtime::init();
    let workers = Runtime::builder().max_workers(2).build()?;
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(serve(workers))
}
