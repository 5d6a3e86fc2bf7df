//! Arrays that serde does not read by itself, in types that are read nevertheless.
use std::marker::PhantomData;

use retry_runtime::{function, service};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct Sum<T>(u64, #[serde(skip)] PhantomData<fn() -> T>);

#[function]
fn doubled(sum: Sum<[u8; 64]>, other: &Sum<[u8; 48]>) -> Sum<[u8; 64]> {
    Sum(sum.0 + other.0, PhantomData)
}

#[function]
fn short(block: [u8; 32], other: &[u8; 16]) -> usize {
    block.len() + other.len()
}

struct Table<T>(T);

#[service]
impl Table<[u8; 256]> {
    #[setup]
    fn new() -> Result<Table<[u8; 256]>, String> {
        Ok(Table([1; 256]))
    }

    #[method]
    fn look_up(&self, place: usize) -> u8 {
        self.0[place]
    }
}

pub(crate) fn main() {
    assert_eq!(short([0; 32], &[0; 16]), 48);
    let sum = doubled(Sum(1, PhantomData), &Sum(2, PhantomData));
    assert_eq!(sum.0, 3);
    let table = Table::<[u8; 256]>::with();
    drop(table);
}
