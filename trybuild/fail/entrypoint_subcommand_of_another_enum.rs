enum Command {
    Build,
    Clean,
}

#[retry_runtime::local_entrypoint]
fn main(#[command(subcommand)] command: Option<Command>) {
    match command {
        Some(Command::Build | Command::Clean) | None => {}
    }
}
