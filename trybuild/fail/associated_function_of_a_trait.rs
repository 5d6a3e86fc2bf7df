trait Double {
    fn f(number: u64) -> u64;
}

struct Counter;

impl Double for Counter {
    #[retry_runtime::function]
    fn f(number: u64) -> u64 {
        number
    }
}

fn main() {
    println!("{}", Counter::f(2));
}
