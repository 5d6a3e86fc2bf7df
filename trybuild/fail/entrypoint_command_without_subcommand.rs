use retry_runtime::clap;

#[derive(clap::Subcommand)]
enum Command {
    Build,
    Clean,
}

#[retry_runtime::local_entrypoint]
fn main(command: Command) {
    match command {
        Command::Build | Command::Clean => {}
    }
}
