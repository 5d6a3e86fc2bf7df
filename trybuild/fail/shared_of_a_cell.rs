use std::cell::Cell;

use retry_runtime::{Shared, function};

#[function]
fn look_up(row: usize, counts: Shared<Vec<Cell<u32>>>) -> u32 {
    counts[row].get()
}

fn main() {
    let counts = Shared::new(&vec![Cell::new(1)]).unwrap();
    println!("{:?}", look_up.remote(0, counts).wait());
}
