#[derive(Clone)]
enum Mode {
    Fast,
    Safe,
}

#[retry_runtime::local_entrypoint]
fn main(#[arg(value_enum)] modes: Vec<Mode>) {
    for mode in modes {
        match mode {
            Mode::Fast | Mode::Safe => {}
        }
    }
}
