#[retry_runtime::on_start]
fn logging(level: u64) {
    println!("{level}");
}

fn main() {}
