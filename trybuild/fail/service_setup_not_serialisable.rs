struct NotSerde;

struct Counter(u64);

#[retry_runtime::service]
impl Counter {
    #[setup]
    fn new(_: NotSerde) -> Self {
        Self(1)
    }

    #[method]
    fn add(&self, number: u64) -> u64 {
        self.0 + number
    }
}

fn main() {
    let _ = Counter::with(NotSerde).add.remote(2).wait();
}
