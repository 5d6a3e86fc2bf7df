struct Handle;

#[retry_runtime::function]
fn f(handle: Handle, number: u32) -> u32 {
    let _ = handle;
    number
}

fn main() {}
