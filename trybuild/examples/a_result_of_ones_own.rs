//! A type that is called `Result` but is none is a value.
use retry_runtime::{Call, function};
use std::convert::Infallible;

#[derive(serde::Serialize, serde::Deserialize)]
struct Result<T, E> {
    value: T,
    note: E,
}

/// An alias whose parameters are the other way round.
type Reversed<E, T> = std::result::Result<T, E>;

#[function]
fn own() -> Result<u64, String> {
    Result {
        value: 1,
        note: String::new(),
    }
}

#[function]
fn reversed() -> Reversed<std::io::Error, u64> {
    Ok(1)
}

fn main() {
    let _: Call<Result<u64, String>, Infallible> = own.remote();
    let _: Call<u64, retry_runtime::RemoteError> = reversed.remote();
}
