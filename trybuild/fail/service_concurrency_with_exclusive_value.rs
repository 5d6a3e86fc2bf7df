struct Counter(u64);

#[retry_runtime::service(concurrency = 3)]
impl Counter {
    #[setup]
    fn new(start: u64) -> Self {
        Self(start)
    }

    #[method]
    async fn add(&mut self, number: u64) -> u64 {
        self.0 += number;
        self.0
    }
}

fn main() {
    let _ = Counter::with(1).add.remote(2).wait();
}
