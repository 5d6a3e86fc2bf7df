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
    ::retry_runtime::__private0::begin();
    ::retry_runtime::__private0::no_arguments(
        ::core::env!("CARGO_PKG_NAME"),
        "Adds.\n\nSlowly.",
    );
    #[allow(clippy::items_after_statements)]
    fn main() -> Result<(), String> {
        run()
    }
    let __result = main();
    ::retry_runtime::__private0::finish();
    __result
}
