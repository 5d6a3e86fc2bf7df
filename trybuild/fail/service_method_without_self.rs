struct Counter(u64);

#[retry_runtime::service]
impl Counter {
    #[setup]
    fn new(start: u64) -> Self {
        Self(start)
    }

    #[method]
    fn add(number: u64) -> u64 {
        number
    }
}

fn main() {}
