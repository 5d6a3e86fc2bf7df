//! The threads on which everything of this crate runs.

use std::io;
use std::sync::OnceLock;

use tokio::runtime::{Builder, Handle, Runtime};

/// Returns the runtime, which starts on first use.
///
/// # Errors
///
/// If the operating system has no thread left.
pub(crate) fn handle() -> Result<Handle, String> {
    static RUNTIME: OnceLock<io::Result<Runtime>> = OnceLock::new();
    let start = || {
        Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("retry-temporal")
            .enable_all()
            .build()
    };
    match RUNTIME.get_or_init(start) {
        Ok(runtime) => Ok(runtime.handle().clone()),
        Err(error) => Err(format!("no threads for the engine: {error}")),
    }
}
