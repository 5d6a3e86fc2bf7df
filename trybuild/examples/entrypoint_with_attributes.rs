//! `#[cfg]` and lint levels on a parameter are those of the parameter, all else is for clap.
#![deny(warnings)]
use retry_runtime::local_entrypoint;

#[local_entrypoint]
#[command(version = "2", about = "Shows attributes")]
#[command(disable_help_flag = true)]
async fn main(
    #[cfg(windows)] size: u64,
    /// The size.
    #[cfg(not(windows))]
    #[arg(short)]
    size: Option<u64>,
    #[cfg(any())]
    #[cfg(unix)]
    none: u64,
    #[allow(unused_variables)] unused: Option<u64>,
    #[expect(unused_mut)]
    #[arg(short = 'h')]
    mut host: Option<String>,
) {
    let _ = (size, host);
}
