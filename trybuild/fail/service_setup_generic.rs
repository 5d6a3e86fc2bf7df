struct Counter(u64);

#[retry_runtime::service]
impl Counter {
    #[setup]
    fn new<T: Into<u64>>(start: T) -> Self {
        Self(start.into())
    }

    #[method]
    fn add(&self, number: u64) -> u64 {
        self.0 + number
    }
}

fn main() {}
