#[retry_runtime::local_entrypoint]
fn main(#[arg(short)] host: Option<String>, #[arg(short = 'V')] verbose: bool) {
    let _ = (host, verbose);
}
