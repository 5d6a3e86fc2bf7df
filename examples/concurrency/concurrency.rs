//! One worker that waits for many things at once: an async function that fetches from a server.
//!
//! `cargo run --package retry-example-concurrency --example concurrency`

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use retry_runtime::{function, local_entrypoint};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// One worker executes up to 20 of these calls at once, since they only wait.
#[function(concurrency = 20, max_workers = 1, timeout = "5s", retries = 2)]
async fn fetch(server: SocketAddr, page: u32) -> io::Result<(String, u32)> {
    let mut connection = TcpStream::connect(server).await?;
    connection.write_all(&page.to_be_bytes()).await?;
    let mut text = String::new();
    connection.read_to_string(&mut text).await?;
    Ok((text, std::process::id()))
}

/// Serves pages, and takes 100 ms for each request.
async fn serve(listener: TcpListener) -> io::Result<()> {
    loop {
        let (mut connection, _) = listener.accept().await?;
        tokio::spawn(async move {
            let page = connection.read_u32().await?;
            tokio::time::sleep(Duration::from_millis(100)).await;
            connection
                .write_all(format!("page {page}").as_bytes())
                .await
        });
    }
}

/// Fetches forty pages.
#[local_entrypoint]
async fn main() -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(serve(listener));

    let begun = Instant::now();
    let mut workers = BTreeSet::new();
    let mut pages = 0;
    for result in fetch.map((0..40).map(|page| (address, page))).await {
        match result {
            Ok((text, worker)) => {
                assert_eq!(text, format!("page {pages}"), "in the order of the inputs");
                workers.insert(worker);
                pages += 1;
            }
            Err(error) => println!("{error}"),
        }
    }
    println!("{pages} pages by {} worker", workers.len());
    println!(
        "faster than the 4 s of one after the other: {}",
        begun.elapsed() < Duration::from_secs(4)
    );
    Ok(())
}
