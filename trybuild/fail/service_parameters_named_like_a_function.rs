use retry_runtime::{function, service};

#[function]
fn size(path: &str) -> usize {
    path.len()
}

struct Files;

#[service]
impl Files {
    #[setup]
    fn new() -> Self {
        Self
    }

    #[method]
    fn fits(&self, size: usize) {
        drop(size);
    }
}

fn main() {
    retry_runtime::init();
    Files::with().fits.remote(3).wait().unwrap();
}
