struct Counter(u64);

impl Counter {
    #[retry_runtime::function]
    async fn load(path: &str) -> Result<Self, std::io::Error> {
        let _ = path;
        Ok(Self(1))
    }
}

fn main() {
    let counter = Counter::load.remote("path").wait().unwrap();
    println!("{}", counter.0);
}
