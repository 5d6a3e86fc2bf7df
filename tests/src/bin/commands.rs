//! A program whose options and subcommands are types that derive the traits of clap.

use retry_runtime::{clap, function, local_entrypoint};

/// The network.
#[derive(clap::Args, Debug)]
struct Network {
    /// The host to connect to.
    #[arg(long, default_value = "localhost")]
    host: String,
}

#[derive(clap::Subcommand, Debug)]
enum Command {
    /// Doubles a number.
    Double { number: u64 },
}

#[function]
fn double(number: u64) -> u64 {
    number * 2
}

/// Shows what a program can do.
#[local_entrypoint]
async fn main(
    #[command(flatten)] network: Network,
    /// Says more.
    verbose: bool,
    #[command(subcommand)] command: Option<Command>,
) {
    println!("{} {verbose}", network.host);
    if let Some(Command::Double { number }) = command {
        println!("{:?}", double.remote(number).await);
    }
}
