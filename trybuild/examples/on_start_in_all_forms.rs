//! The forms that a function with `#[on_start]` may have.
#![deny(unused, unsafe_code)]

use std::sync::atomic::{AtomicU32, Ordering};

use retry_runtime::on_start;

static RUN: AtomicU32 = AtomicU32::new(0);

fn count() {
    RUN.fetch_add(1, Ordering::Relaxed);
}

#[on_start]
fn nothing() {
    count();
}

#[on_start]
pub fn unit() -> () {
    count();
}

#[on_start]
fn displayed() -> Result<(), std::fmt::Error> {
    count();
    Ok(())
}

#[on_start]
const fn constant() {}

type Alias = Result<u64, Box<dyn std::error::Error>>;

#[on_start]
fn alias() -> Alias {
    count();
    Ok(1)
}

#[derive(Debug)]
#[allow(dead_code)]
struct Debugged(u64);

#[on_start]
fn r#try() -> Result<(), Debugged> {
    count();
    Ok(())
}

#[on_start]
#[deprecated]
extern "C" fn foreign() {
    count();
}

#[on_start]
#[cfg(any())]
fn left_out() {
    count();
}

mod inside {
    // Names of the prelude may be shadowed.
    #[allow(dead_code)]
    struct Result;
    #[allow(dead_code)]
    struct String;

    #[super::on_start]
    fn nothing() {
        super::count();
    }
}

fn main() {
    #[on_start]
    fn local() {
        count();
    }

    retry_runtime::init();
    assert_eq!(RUN.load(Ordering::Relaxed), 8);
    // A second `init` runs nothing.
    retry_runtime::init();
    assert_eq!(RUN.load(Ordering::Relaxed), 8);
    nothing();
    assert_eq!(RUN.load(Ordering::Relaxed), 9);
}
