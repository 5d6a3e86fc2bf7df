struct Counter<T>(T);

#[retry_runtime::service]
impl<T> Counter<T> {
    #[setup]
    fn new(start: T) -> Self {
        Self(start)
    }

    #[method]
    fn get(&self) -> u64 {
        1
    }
}

fn main() {}
