//! A `main` may return `impl Termination`.
#[retry_runtime::local_entrypoint]
async fn main() -> impl std::process::Termination {
    std::process::ExitCode::SUCCESS
}
