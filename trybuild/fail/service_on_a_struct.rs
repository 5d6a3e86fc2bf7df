#[retry_runtime::service]
struct Counter(u64);

fn main() {}
