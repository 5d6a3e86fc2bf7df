struct NotSerde;

struct Counter(u64);

#[retry_runtime::service]
impl Counter {
    #[setup]
    fn new(start: u64) -> Self {
        Self(start)
    }

    #[method]
    fn add(&self, _: NotSerde) -> u64 {
        self.0
    }
}

fn main() {
    let _ = Counter::with(1).add.remote(NotSerde).wait();
}
