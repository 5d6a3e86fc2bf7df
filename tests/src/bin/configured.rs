//! A program whose settings come from attributes and variables.

use retry_runtime::{Runtime, function, local_entrypoint, service};

#[function(
    retries(max_retries = 4, initial_delay = "200ms", jitter),
    timeout = "30s",
    memory = "64MiB"
)]
fn limited() -> u64 {
    1
}

#[function]
fn plain() -> u64 {
    2
}

struct Counter(u64);

#[service(max_workers = 1)]
impl Counter {
    #[setup]
    fn new() -> Self {
        Self(3)
    }

    #[method(deadline = "2m")]
    fn read(&self) -> u64 {
        self.0
    }
}

/// Calls each function once.
#[local_entrypoint]
fn main() {
    let counter = Counter::with();
    // Workers take no notice of these variables.
    let runtime = Runtime::builder()
        .env("RETRY_CONFIG", "print")
        .env("RETRY_TIMEOUT", "30")
        .build()
        .expect("there are resources for a runtime");
    for result in [
        limited.remote().wait(),
        plain.remote().wait(),
        counter.read.remote().wait(),
        plain.on(&runtime).remote().wait(),
    ] {
        println!("{}", result.expect("it succeeds"));
    }
}
