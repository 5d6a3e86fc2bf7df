//! A `main` may have any return type that a plain one may have.
#[retry_runtime::local_entrypoint]
fn main() -> ! {
    std::process::exit(0)
}
