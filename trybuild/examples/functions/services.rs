//! The forms that the methods of a service may take.
#![deny(warnings)]
use retry_runtime::service;
use serde::{Deserialize, Serialize};
use std::time::Duration;

#[derive(Serialize, Deserialize)]
pub struct Counter(u64);

#[service(min_workers = 0, name = "counter", crate = ::retry_runtime)]
impl Counter {
    /// A constructor may have the name of its parameter, and be `const`.
    #[setup]
    const fn start(start: u64, _: Option<u64>) -> Self {
        Self(start)
    }

    #[method(retries(max_retries = 3, jitter), timeout = "3s", name = "add")]
    pub fn add(&self, _: u64, mut number: u64) -> u64 {
        number += self.0;
        number
    }

    #[method]
    fn main(&mut self, main: Self) -> Vec<Self> {
        vec![main]
    }

    #[method]
    #[deprecated]
    const extern "C" fn old(&self) {}

    #[method(retries = 3, retry_if = |text: &String| text.is_empty())]
    async fn texts(&self, text: &str, texts: &[String]) -> Result<usize, String> {
        Ok(text.len() + texts.len())
    }

    #[cfg(any())]
    #[method]
    fn not_there(&self) {}

    #[teardown]
    fn close(self) -> () {}
}

struct Limited<T>(T);

impl Limited<u64> {
    const TIMES: usize = 3;
    const LIMIT: Duration = Duration::from_secs(3);

    fn is_transient(error: &String) -> bool {
        error.is_empty()
    }
}

#[service(max_workers = Self::TIMES)]
impl Limited<u64> {
    #[setup]
    fn new() -> Self {
        Self(1)
    }

    #[method(retries = Self::TIMES, timeout = Self::LIMIT, retry_if = Self::is_transient)]
    fn get(self: &Self) -> Result<u64, String> {
        Ok(self.0)
    }

    #[method(
        retries(max_retries = 1, max_delay = Self::LIMIT),
        retry_if = |error| Self::is_transient(error)
    )]
    fn set(self: &mut Self, number: u64) -> Result<(), String> {
        self.0 = number;
        Ok(())
    }
}

macro_rules! of_a_type {
    ($type:ty) => {
        #[service]
        impl $type {
            #[setup]
            fn new() -> Self {
                Self
            }

            #[method]
            fn get(&self) -> u64 {
                1
            }
        }
    };
}

struct Unit;

of_a_type!(Unit);

mod inner {
    pub(super) struct Other;
}

#[service]
impl inner::Other {
    #[setup]
    fn new() -> Result<Self, &'static str> {
        Ok(Self)
    }

    #[method]
    fn get(&self) -> u64 {
        1
    }
}

pub(crate) fn main() {
    let counter = Counter::with(1, None);
    let _ = counter.add.remote(2, 3);
    let _ = counter.main.remote(Counter(1));
    let _ = counter
        .texts
        .map([(String::from("a"), vec![String::new()])]);
    let _ = Unit::with().get.remote();
    let limited = Limited::with();
    let _ = (limited.get.remote(), limited.set.remote(3));
    let _ = inner::Other::with().get.remote();
}
