struct Counter(u64);

#[retry_runtime::service]
impl Counter {
    #[setup]
    fn new(start: u64) -> Self {
        Self(start)
    }

    #[method]
    fn add(&self, (a, b): (u64, u64)) -> u64 {
        self.0 + a + b
    }
}

fn main() {
    let _ = Counter::with(1).add.remote((2, 3)).wait();
}
