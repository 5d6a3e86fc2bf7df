//! A type named `Result` that is not the standard one is an ordinary value.
use retry_runtime::{Call, function};
use std::convert::Infallible;

#[derive(serde::Serialize, serde::Deserialize)]
struct Result<T, E> {
    value: T,
    note: E,
}

/// An alias with its parameters in reverse order.
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

pub(crate) fn main() {
    let _: Call<Result<u64, String>, Infallible> = own.remote();
    let _: Call<u64, retry_runtime::RemoteError> = reversed.remote();
}
