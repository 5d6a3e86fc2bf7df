trait Double {
    #[retry_runtime::function]
    fn f(number: u64) -> u64 {
        number * 2
    }
}

struct Counter;

impl Double for Counter {}

fn main() {
    println!("{}", Counter::f(2));
}
