use retry_runtime::function;

#[function]
fn serve(port: u16) -> ! {
    loop {
        println!("{port}");
    }
}

fn main() {
    retry_runtime::init();
    serve.spawn(80);
}
