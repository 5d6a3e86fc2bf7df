struct NotSerde;

struct Counter(u64);

#[retry_runtime::service]
impl Counter {
    #[setup]
    fn new(start: u64) -> Self {
        Self(start)
    }

    #[method]
    fn add(&self, _: u64) -> NotSerde {
        NotSerde
    }
}

fn main() {
    let _ = Counter::with(1).add.remote(2).wait();
}
