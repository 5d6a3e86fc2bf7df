//! A method of a service that takes a type whose lifetime is left out.

use retry_runtime::service;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct Packet<'a> {
    data: &'a [u8],
}

struct Counter(usize);

#[service]
impl Counter {
    #[setup]
    fn new() -> Self {
        Self(0)
    }

    #[method]
    fn add(&mut self, packet: Packet) -> usize {
        self.0 += packet.data.len();
        self.0
    }
}

fn main() {
    let data = [1, 2];
    let _ = Counter::with().add.remote(Packet { data: &data }).wait();
}
