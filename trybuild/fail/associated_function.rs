struct Counter;

impl Counter {
    #[retry_runtime::function]
    fn f(number: u64) -> u64 {
        number
    }
}

fn main() {}
