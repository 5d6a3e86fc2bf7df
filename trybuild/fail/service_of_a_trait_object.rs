trait Counter {}

#[retry_runtime::service]
impl dyn Counter {
    #[method]
    fn get(&self) -> u64 {
        1
    }
}

fn main() {}
