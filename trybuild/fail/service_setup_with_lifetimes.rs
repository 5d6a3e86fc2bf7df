struct Counter(u64);

#[retry_runtime::service]
impl Counter {
    #[setup]
    fn new<'a>(names: Vec<&'a str>) -> Self {
        Self(names.len() as u64)
    }

    #[method]
    fn add(&self, number: u64) -> u64 {
        self.0 + number
    }
}

fn main() {
    let _ = Counter::with(vec!["name"]).add.remote(2).wait();
}
