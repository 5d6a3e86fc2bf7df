//! Generated code triggers no denied lints.
#![forbid(unsafe_code)]
#![deny(missing_docs, unused, warnings)]
#![deny(clippy::all, clippy::pedantic)]
#![deny(
    unused_qualifications,
    unused_results,
    unreachable_pub,
    missing_debug_implementations
)]
#![allow(missing_debug_implementations, reason = "a stub has nothing to show")]

use retry_runtime::{function, service};

/// Returns twice a number.
#[function(retries = 2, timeout = "3s")]
pub(crate) fn twice(number: u64) -> u64 {
    number * 2
}

/// Returns the length of a text.
///
/// # Errors
///
/// If the text is empty.
#[function(retry_if = is_transient)]
pub(crate) async fn length(text: &str) -> Result<usize, std::io::Error> {
    if text.is_empty() {
        return Err(std::io::ErrorKind::InvalidInput.into());
    }
    Ok(std::future::ready(text.len()).await)
}

fn is_transient(error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::WouldBlock
}

/// Returns the lengths of texts.
#[function(batch(max_size = 3))]
pub(crate) fn lengths(texts: Vec<String>) -> Vec<usize> {
    texts.iter().map(String::len).collect()
}

/// A text in each worker.
#[derive(Debug)]
pub(crate) struct Text(usize);

#[service]
impl Text {
    #[setup]
    pub(crate) fn open(path: String) -> Self {
        Self(path.len())
    }

    /// Returns the length.
    #[method]
    pub(crate) fn length(&self) -> usize {
        self.0
    }
}

fn main() {
    assert_eq!(twice(2), 4);
    assert_eq!(lengths(vec![String::new()]), [0]);
    assert_eq!(Text::open(String::new()).length(), 0);
    assert_eq!(length.spec().parameters, ["text"]);
}
