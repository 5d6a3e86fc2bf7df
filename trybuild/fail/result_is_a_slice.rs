use retry_runtime::function;

#[function]
fn read(name: &str) -> [u8] {
    std::fs::read(name).unwrap()[..]
}

fn main() {
    retry_runtime::init();
    read.remote("a").wait().unwrap();
}
