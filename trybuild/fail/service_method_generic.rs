struct Counter(u64);

#[retry_runtime::service]
impl Counter {
    #[setup]
    fn new(start: u64) -> Self {
        Self(start)
    }

    #[method]
    fn add<T: Into<u64>>(&self, number: T) -> u64 {
        self.0 + number.into()
    }
}

fn main() {}
