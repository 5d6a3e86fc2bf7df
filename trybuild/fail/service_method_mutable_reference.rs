struct Counter(u64);

#[retry_runtime::service]
impl Counter {
    #[setup]
    fn new(start: u64) -> Self {
        Self(start)
    }

    #[method]
    fn add(&self, numbers: &mut Vec<u64>) {
        numbers.push(self.0);
    }
}

fn main() {}
