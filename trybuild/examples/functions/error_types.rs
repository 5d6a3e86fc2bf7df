//! The type of the result, not its spelling, determines the caller's error type.
use retry_runtime::{Call, RemoteError, function};
use std::convert::Infallible;

type Answer<T> = std::result::Result<T, String>;
type Io = std::io::Result<u64>;

#[derive(Debug)]
struct Shown;

impl std::fmt::Display for Shown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("shown")
    }
}

#[function]
fn typed() -> Answer<u64> {
    Ok(1)
}

#[function]
fn io() -> Io {
    Ok(1)
}

#[function]
fn any() -> anyhow::Result<u64> {
    Ok(1)
}

#[function]
fn boxed() -> Result<u64, Box<dyn std::error::Error>> {
    Ok(1)
}

#[function]
fn shown() -> Result<u64, Shown> {
    Err(Shown)
}

#[function]
fn none() -> u64 {
    1
}

#[function]
fn nothing() {}

#[function]
fn option() -> Option<Result<u64, String>> {
    None
}

pub(crate) fn main() {
    let _: Call<u64, String> = typed.remote();
    let _: Call<u64, RemoteError> = io.remote();
    let _: Call<u64, RemoteError> = any.remote();
    let _: Call<u64, RemoteError> = boxed.remote();
    let _: Call<u64, RemoteError> = shown.remote();
    let _: Call<u64, Infallible> = none.remote();
    let _: Call<(), Infallible> = nothing.remote();
    let _: Call<Option<Result<u64, String>>, Infallible> = option.remote();
}
