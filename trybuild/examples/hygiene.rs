//! User items with every name that generated code could refer to.
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
mod alloc {}
mod retry_runtime {}
mod __private0 {}
mod serde {}
mod inventory {}
trait Clone {}
trait Copy {}
trait Send {}
trait Deref {}
trait Fn {}
type u64 = ();
type u32 = ();
type usize = ();
type str = ();
type bool = ();
fn map() {}
fn remote() {}
fn config() {}

type U64 = ::core::primitive::u64;
type Str = ::core::primitive::str;

const LIMIT: ::core::time::Duration = ::core::time::Duration::from_secs(3);
const TIMES: ::core::primitive::u32 = 2;

#[::retry_runtime::function(
    retries(max_retries = TIMES, backoff_coefficient = 2, initial_delay = LIMIT, jitter),
    timeout = LIMIT,
    deadline = "1m",
    max_workers = 2,
    min_workers = 1,
    memory = "1GiB"
)]
fn plain(number: U64, text: &Str) -> U64 {
    number + text.len() as U64
}

#[::retry_runtime::function(retries = TIMES, retry_if = passing, setup = load, teardown = close)]
async fn later(state: &U64, number: U64) -> ::std::result::Result<U64, ::std::string::String> {
    ::std::result::Result::Ok(number + state)
}

#[::retry_runtime::function(batch(max_size = 3))]
fn many(numbers: ::std::vec::Vec<U64>) -> ::std::vec::Vec<U64> {
    numbers
}

fn passing(_: &::std::string::String) -> ::core::primitive::bool {
    true
}

fn load() -> U64 {
    1
}

fn close(_: U64) {}

fn main() {
    let _ = plain.remote(1, "x");
    let _ = later.remote(1);
    let _ = many.remote(1);
    assert_eq!(plain(1, "x"), 2);
}
