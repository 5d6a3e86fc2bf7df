struct Counter(u64);

#[retry_runtime::service]
impl Counter {
    #[setup]
    fn new(start: u64) -> Self {
        Self(start)
    }

    #[method]
    fn add(&self, texts: Vec<&str>) -> usize {
        texts.len()
    }
}

fn main() {
    let _ = Counter::with(1);
}
