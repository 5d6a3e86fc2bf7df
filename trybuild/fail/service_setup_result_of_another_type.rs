struct Counter(u64);

#[retry_runtime::service]
impl Counter {
    #[setup]
    fn new(start: u64) -> Result<u64, String> {
        Ok(start)
    }

    #[method]
    fn add(&self, number: u64) -> u64 {
        self.0 + number
    }
}

fn main() {
    let _ = Counter::with(1).add.remote(2).wait();
}
