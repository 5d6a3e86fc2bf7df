struct Counter(u64);

impl Counter {
    #[retry_runtime::function]
    fn f(&self) -> u64 {
        self.0
    }
}

fn main() {
    Counter(1).f();
}
