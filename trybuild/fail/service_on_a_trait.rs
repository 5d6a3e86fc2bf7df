trait Adds {
    fn add(&self, number: u64) -> u64;
}

struct Counter(u64);

#[retry_runtime::service]
impl Adds for Counter {
    #[method]
    fn add(&self, number: u64) -> u64 {
        self.0 + number
    }
}

fn main() {}
