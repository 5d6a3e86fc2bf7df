struct Counter(u64);

#[retry_runtime::service]
impl Counter {
    #[setup]
    fn new(start: u64) -> Self {
        Self(start)
    }

    #[method]
    fn add<'a>(&'a self, text: &'a str) -> u64 {
        self.0 + text.len() as u64
    }
}

fn main() {
    let _ = Counter::with(1).add.remote("2").wait();
}
