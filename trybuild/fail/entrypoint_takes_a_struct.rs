struct Settings;

#[retry_runtime::function]
fn f(number: u64) -> u64 {
    number
}

#[retry_runtime::local_entrypoint]
fn main(number: u64, settings: Settings) {
    println!("{}", f.remote(number).wait().unwrap());
    let _ = settings;
}
