//! A program whose options have names and types that generated code and clap could take for others.

use retry_runtime::local_entrypoint;

const OPTION_TRACE: &str = "mine";

mod clap {
    pub(crate) fn name() -> &'static str {
        "mine as well"
    }
}

/// Is not the description.
#[local_entrypoint]
#[command(about = "Shows what an option may be called")]
fn main(
    trace: Option<String>,
    r#type: Option<String>,
    version: Option<u64>,
    #[arg(short, long, requires = "type")] more_output: bool,
    bytes: std::vec::Vec<u8>,
    limit: core::option::Option<u8>,
    help: bool,
) {
    println!("{OPTION_TRACE}, {}", clap::name());
    println!("{trace:?} {type:?} {version:?} {more_output} {bytes:?} {limit:?} {help}");
}
