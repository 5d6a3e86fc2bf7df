//! A function that receives many inputs at once, while its callers pass and receive single ones.
//!
//! `cargo run --example batching`

use std::time::Duration;

use retry_runtime::{CallError, function, local_entrypoint};
use serde::{Deserialize, Serialize};

#[derive(Debug, Serialize, Deserialize)]
struct Order {
    customer: String,
    cents: i64,
}

#[derive(Debug, thiserror::Error, Serialize, Deserialize)]
#[error("{customer} cannot order for {cents} cents")]
struct Refused {
    customer: String,
    cents: i64,
}

/// Inserts up to 50 orders in one transaction, which takes 20 ms regardless of their number. The first order
/// of a batch waits at most 10 ms for others. Each order has its own result.
#[function(max_workers = 1, batch(max_size = 50, max_wait = "10ms"))]
fn insert(orders: Vec<Order>) -> Vec<Result<usize, Refused>> {
    std::thread::sleep(Duration::from_millis(20));
    let size = orders.len();
    let row = |order: Order| match order {
        Order { cents: 1.., .. } => Ok(size),
        Order { customer, cents } => Err(Refused { customer, cents }),
    };
    orders.into_iter().map(row).collect()
}

/// Inserts a thousand orders.
#[local_entrypoint]
fn main() {
    let order = |number: i64| Order {
        customer: format!("customer {number}"),
        // One order is invalid, and only that one fails.
        cents: if number == 500 { 0 } else { number + 1 },
    };
    let (mut inserted, mut largest) = (0, 0);
    for result in insert.map((0..1000).map(order)) {
        match result {
            Ok(size) => {
                inserted += 1;
                largest = largest.max(size);
            }
            Err(CallError::Function(refused, _)) => println!("{refused}"),
            Err(error) => println!("{error}"),
        }
    }
    println!("{inserted} orders inserted, at most {largest} at once");

    // A single call is a batch of one, unless others come in time.
    match insert.remote(order(1)).wait() {
        Ok(size) => println!("alone: a batch of {size}"),
        Err(error) => println!("{error}"),
    }
}
