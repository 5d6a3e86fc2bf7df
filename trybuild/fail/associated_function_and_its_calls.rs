struct Counter(u64);

impl Counter {
    /// Doubles it.
    #[retry_runtime::function(retries = 3)]
    pub fn f(number: u64) -> u64 {
        Self(number).0 * 2
    }
}

fn main() {
    println!("{}", Counter::f.remote(2).wait().unwrap() + Counter::f(2));
}
