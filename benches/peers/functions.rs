//! The functions that run in the workers, one for each way of calling them.

use std::cell::RefCell;
use std::time::Duration;

use bytes::Bytes;
use retry_runtime::{Retries, Shared, function};
use serde::de::{Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};

#[function]
pub(crate) fn add_one(number: u64) -> u64 {
    number + 1
}

/// A separate function with its own workers, which stay on the core on which they were started.
#[function]
pub(crate) fn add_one_on_one_core(number: u64) -> u64 {
    number + 1
}

/// Performs this many steps of work that uses only the processor.
#[function]
pub(crate) fn work(steps: u64) -> u64 {
    plain_work(steps)
}

/// Not inlined, so that all callers execute the same instructions. These access no memory, since the speed of
/// recently written memory depends on its location.
#[inline(never)]
pub(crate) fn plain_work(steps: u64) -> u64 {
    (0..steps).fold(1, |mut state, _| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^ (state << 17)
    })
}

#[function]
pub(crate) fn echo(bytes: Vec<u8>) -> Vec<u8> {
    bytes
}

#[function]
pub(crate) fn echo_slice(bytes: &[u8]) -> Vec<u8> {
    bytes.to_vec()
}

#[function]
pub(crate) fn echo_bytes(bytes: Bytes) -> Bytes {
    bytes
}

#[function]
pub(crate) fn echo_floats(numbers: Vec<f64>) -> Vec<f64> {
    numbers
}

#[function]
pub(crate) fn look_at_slice(bytes: &[u8]) -> u64 {
    look_at(bytes)
}

#[function]
pub(crate) fn look_at_vec(bytes: Vec<u8>) -> u64 {
    look_at(&bytes)
}

#[function]
pub(crate) fn look_at_bytes(bytes: Bytes) -> u64 {
    look_at(&bytes)
}

#[function]
pub(crate) fn look_at_shared(bytes: Shared<[u8]>) -> u64 {
    look_at(&bytes)
}

#[function]
pub(crate) fn bytes_of(length: usize) -> Bytes {
    thread_local! {
        static BYTES: RefCell<Bytes> = RefCell::default();
    }
    BYTES.with_borrow_mut(|bytes| {
        if bytes.len() != length {
            *bytes = vec![7; length].into();
        }
        bytes.clone()
    })
}

/// An image as a program has it, with what serde derives.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Image {
    pub(crate) name: String,
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) pixels: Vec<u8>,
}

#[function]
pub(crate) fn echo_image(image: Image) -> Image {
    image
}

#[function]
pub(crate) fn squares(numbers: &[f64]) -> f64 {
    plain_squares(numbers)
}

/// Not inlined, so that all callers execute the same instructions.
#[inline(never)]
pub(crate) fn plain_squares(numbers: &[f64]) -> f64 {
    numbers.iter().map(|number| number * number).sum()
}

pub(crate) fn plain_look_at(bytes: Blob) -> u64 {
    look_at(&bytes.0)
}

/// Looks at each page.
fn look_at(bytes: &[u8]) -> u64 {
    bytes.iter().step_by(4096).copied().map(u64::from).sum()
}

/// Returns the process ID of the worker after this many milliseconds.
#[function]
pub(crate) fn process_id_after(milliseconds: u64) -> u32 {
    std::thread::sleep(Duration::from_millis(milliseconds));
    std::process::id()
}

#[function]
pub(crate) fn succeed(number: u64) -> Result<u64, String> {
    Ok(number + 1)
}

const AT_ONCE: Retries = Retries::fixed(1, Duration::ZERO);

/// Fails in its first attempt if `fail_first` is set.
#[function(retries = AT_ONCE)]
pub(crate) fn succeed_at_last(fail_first: bool) -> Result<u32, String> {
    let attempt = retry_runtime::current().map_or(0, |call| call.attempt());
    if fail_first && attempt == 1 {
        return Err(String::from("the first attempt"));
    }
    Ok(attempt)
}

/// A separate function for another core.
#[function(retries = AT_ONCE)]
pub(crate) fn succeed_at_last_on_one_core(fail_first: bool) -> Result<u32, String> {
    succeed_at_last.local(fail_first)
}

pub(crate) fn plain_add_one(number: u64) -> u64 {
    number + 1
}

pub(crate) fn plain_echo(bytes: Blob) -> Blob {
    bytes
}

/// Bytes that serde treats as bytes: serde treats a `Vec<u8>` as a sequence of numbers, which would slow the
/// peers down unnecessarily.
#[derive(Debug)]
pub(crate) struct Blob(pub(crate) Vec<u8>);

impl Serialize for Blob {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;
        impl Visitor<'_> for Bytes {
            type Value = Blob;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("bytes")
            }

            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Blob, E> {
                Ok(Blob(bytes.to_vec()))
            }

            fn visit_byte_buf<E>(self, bytes: Vec<u8>) -> Result<Blob, E> {
                Ok(Blob(bytes))
            }
        }
        deserializer.deserialize_byte_buf(Bytes)
    }
}
