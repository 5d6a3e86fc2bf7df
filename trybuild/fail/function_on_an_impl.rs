#[retry_runtime::function]
impl F {}

struct F;

fn main() {}
