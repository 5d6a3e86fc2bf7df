struct NotSerde;

struct Counter(u64);

#[retry_runtime::service]
impl Counter {
    #[setup]
    fn new(start: u64) -> Self {
        Self(start)
    }

    #[method]
    fn add(&self, number: u64) -> Result<u64, NotSerde> {
        Ok(number)
    }
}

fn main() {
    let _ = Counter::with(1).add.remote(2).wait();
}
