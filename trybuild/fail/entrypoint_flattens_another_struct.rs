struct Network {
    port: u16,
}

#[retry_runtime::local_entrypoint]
fn main(#[command(flatten)] network: Network) {
    println!("{}", network.port);
}
