use retry_runtime::clap;

#[derive(clap::Args)]
struct Network {
    #[arg(long)]
    port: u16,
}

#[retry_runtime::local_entrypoint]
fn main(network: Network) {
    println!("{}", network.port);
}
