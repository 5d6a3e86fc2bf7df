struct Counter(u64);

#[retry_runtime::service]
impl Counter {
    #[setup]
    fn new(start: u64) -> Self {
        Self(start)
    }

    #[retry_runtime::function(retries = 3)]
    fn add(&self, number: u64) -> u64 {
        self.0 + number
    }
}

fn main() {
    println!("{}", Counter::with(1).add.remote(2).wait().unwrap());
}
