struct Counter(u64);

#[retry_runtime::service]
impl Counter {
    #[setup]
    fn new() -> Self {
        Self(0)
    }

    #[method]
    fn get(&self) -> u64 {
        self.0
    }

    #[method]
    fn get(&self, number: u64) -> u64 {
        self.0 + number
    }
}

fn main() {
    retry_runtime::init();
    Counter::with().get.remote().wait().unwrap();
}
