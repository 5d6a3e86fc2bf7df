//! The parameters of `main` are options.
use retry_runtime::local_entrypoint;
use std::path::PathBuf;

/// Counts words.
#[local_entrypoint]
async fn main(
    /// Where to look.
    #[arg(default_value = ".")]
    path: PathBuf,
    names: Vec<String>,
    limit: Option<u64>,
    verbose: bool,
) -> Result<(), std::io::Error> {
    let _ = (path, names, limit, verbose);
    Ok(())
}
