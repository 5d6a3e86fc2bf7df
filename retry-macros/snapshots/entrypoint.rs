// #[local_entrypoint]
// /// Adds.
// ///
// /// Slowly.
// #[allow(dead_code)]
// fn main() -> Result<(), String> { run() }

/// Adds.
///
/// Slowly.
#[allow(dead_code)]
fn main() -> Result<(), String> {
    ::retry_runtime::__private0::init();
    #[allow(clippy::items_after_statements)]
    fn main() -> Result<(), String> {
        run()
    }
    ::retry_runtime::__private0::run(main)
}
