use retry_runtime::function;

unsafe extern "C" {
    #[function]
    fn double(number: u64) -> u64;
}

fn main() {}
