//! User items with the names of everything that generated code could mean.
#![deny(warnings)]
#![forbid(unsafe_code)]
#![allow(dead_code, non_camel_case_types)]

struct Result;
struct Ok;
struct Err;
struct Some;
struct None;
struct Option;
struct String;
struct Vec;
struct Box;
mod core {}
mod std {}
fn map() {}
fn remote() {}
fn config() {}

#[::retry_runtime::function(retries = 2, timeout = "3s")]
fn plain(number: u64, text: &str) -> u64 {
    number + text.len() as u64
}

#[::retry_runtime::function]
async fn later(number: u64) -> ::std::result::Result<u64, ::std::string::String> {
    ::std::result::Result::Ok(number)
}

fn main() {
    let _ = plain.remote(1, "x");
    let _ = later.remote(1);
    assert_eq!(plain(1, "x"), 2);
}
