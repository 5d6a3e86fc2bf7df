struct Counter(u64);

#[retry_runtime::service]
impl Counter {
    #[setup]
    fn new(start: u64) -> Self {
        Self(start)
    }

    #[method]
    fn add(&mut self, number: u64) -> u64 {
        self.0 += number;
        self.0
    }
}

fn main() {
    let counter = Counter::with(1);
    for sum in counter.add.map(["2"]) {
        println!("{}", sum.unwrap());
    }
}
