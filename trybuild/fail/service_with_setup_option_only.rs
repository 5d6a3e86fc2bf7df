struct Counter(u64);

#[retry_runtime::service(setup = new)]
impl Counter {
    fn new() -> Self {
        Self(0)
    }

    #[method]
    fn get(&self) -> u64 {
        self.0
    }
}

fn main() {
    retry_runtime::init();
    Counter::with().get.remote().wait().unwrap();
}
