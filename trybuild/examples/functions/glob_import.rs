//! Traits that come with a glob import do not hide the methods of other types.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use retry_runtime::*;

#[function]
fn double(number: u64) -> u64 {
    number * 2
}

pub(crate) fn main() {
    retry_runtime::init();
    let (boxed, counted) = (
        Box::new(AtomicBool::new(false)),
        Arc::new(AtomicBool::new(false)),
    );
    boxed.store(true, Ordering::Relaxed);
    counted.store(true, Ordering::Relaxed);
    assert!(boxed.load(Ordering::Relaxed) && counted.load(Ordering::Relaxed));
    let table = Shared::new(&vec![1_u64, 2]).unwrap();
    assert_eq!(double.remote(table[1]).wait().unwrap(), 4);
}
