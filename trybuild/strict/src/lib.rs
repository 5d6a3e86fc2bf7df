//! A crate of edition 2021 with strict lints: generated code triggers none of them.
#![forbid(unsafe_code)]
#![deny(missing_docs, unused, warnings)]
#![deny(clippy::all, clippy::pedantic)]

use retry_runtime::function;
use serde::{Deserialize, Serialize};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(3);

/// The reasons why a word is refused.
#[derive(Debug, thiserror::Error, Serialize, Deserialize)]
pub enum WordError {
    /// The word has no letters.
    #[error("word {0} is empty")]
    Empty(usize),
}

/// Counts letters.
///
/// # Errors
///
/// If there are none.
#[function(retries(max_retries = 2, jitter), retry_if = is_transient, timeout = LIMIT)]
pub fn letters(number: usize, word: &str) -> Result<usize, WordError> {
    if word.is_empty() {
        Err(WordError::Empty(number))
    } else {
        Ok(word.len())
    }
}

fn is_transient(error: &WordError) -> bool {
    matches!(error, WordError::Empty(1))
}

fn load() -> Vec<u8> {
    vec![1]
}

/// Adds a byte to the worker's state.
#[function(setup = load, teardown = drop, memory = "1GiB", grace = "1s")]
pub fn add(state: &mut Vec<u8>, byte: u8) -> usize {
    state.push(byte);
    state.len()
}

/// Awaits a future that is ready at once.
#[function(concurrency = 8)]
pub async fn later(text: &str) -> usize {
    std::future::ready(text.len()).await
}

/// Doubles many numbers at once.
#[function(batch(max_size = 64))]
#[must_use]
pub fn double(numbers: Vec<u64>) -> Vec<u64> {
    numbers.into_iter().map(|number| number * 2).collect()
}

#[cfg(test)]
mod tests {
    use super::{add, double, later, letters, WordError};
    use retry_runtime::CallError;

    #[test]
    fn calls_in_this_process_are_ordinary_calls() {
        assert_eq!(letters(1, "ab").unwrap(), 2);
        assert_eq!(double(vec![1, 2]), [2, 4]);
        assert_eq!(add(&mut vec![], 3), 1);
        assert_eq!(later.spec().concurrency, 8);
    }

    #[retry_runtime::test]
    fn calls_in_workers_give_the_same() {
        assert_eq!(letters.remote(1, "ab").wait().unwrap(), 2);
        assert!(matches!(
            letters.remote(2, "").wait(),
            Err(CallError::Function(WordError::Empty(2), _))
        ));
        assert_eq!(add.remote(3).wait().unwrap(), 2);
        assert_eq!(later.remote("ab").wait().unwrap(), 2);
        assert_eq!(double.remote(3).wait().unwrap(), 6);
    }
}
