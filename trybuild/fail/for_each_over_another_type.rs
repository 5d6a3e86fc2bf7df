#[retry_runtime::function]
fn f(number: u64, text: &str) -> Result<usize, String> {
    Ok(text.len() + usize::try_from(number).map_err(|error| error.to_string())?)
}

fn main() {
    let _ = f.for_each([("1", 1)]).wait();
}
