#[retry_runtime::local_entrypoint]
struct Program;

fn main() {}
