#[retry_runtime::function]
struct F;

fn main() {}
