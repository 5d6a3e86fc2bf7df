use retry_runtime::function;

#[function]
fn serve(port: u16) -> Result<!, String> {
    Err(port.to_string())
}

fn main() {
    retry_runtime::init();
    serve.remote(80).wait().unwrap();
}
