struct Counter(u64);

#[retry_runtime::service]
impl Counter {
    #[setup]
    fn new(start: u64) -> Self {
        Self(start)
    }

    #[method]
    async fn add(&self, number: u64) -> u64 {
        let shared = std::rc::Rc::new(number);
        std::future::ready(()).await;
        *shared
    }
}

fn main() {
    let _ = Counter::with(1).add.remote(2).wait();
}
