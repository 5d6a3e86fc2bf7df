struct Logging;

impl Logging {
    #[retry_runtime::on_start]
    fn start() {}
}

fn main() {
    Logging::start();
}
