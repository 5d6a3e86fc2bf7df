// #[local_entrypoint]
// fn start() { run() }

fn start() {
    run()
}
::core::compile_error! {
    "#[local_entrypoint] belongs on `fn main`"
}
