//! Sets of options and subcommands pass through to clap.
use retry_runtime::{clap, local_entrypoint};

#[derive(clap::Args)]
struct Network {
    /// The host.
    #[arg(long, default_value = "localhost")]
    host: String,
    #[arg(long, default_value_t = 80)]
    port: u16,
}

#[derive(Clone, clap::ValueEnum)]
enum Mode {
    Fast,
    Safe,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Builds.
    Build {
        target: String,
    },
    Clean,
}

/// The action of a comment is no attribute.
#[local_entrypoint]
fn main(
    #[command(flatten)] network: Network,
    #[clap(subcommand)] command: Option<Command>,
    #[arg(long, value_enum)] modes: Vec<Mode>,
    mode: Option<Mode>,
    #[arg(short, action = clap::ArgAction::Count)] verbose: u8,
    #[arg(skip)] skipped: u64,
) {
    assert_eq!((network.host.as_str(), network.port), ("localhost", 80));
    assert!(command.is_none() && modes.is_empty() && mode.is_none());
    assert_eq!((verbose, skipped), (0, 0));
    for mode in modes {
        match mode {
            Mode::Fast | Mode::Safe => {}
        }
    }
    if let Some(Command::Build { target }) = command {
        drop(target);
    } else if let Some(Command::Clean) = command {
    }
}
