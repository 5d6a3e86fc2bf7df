#[retry_runtime::function(retries = 2)]
fn lines(text: String) -> Result<impl Iterator<Item = String>, String> {
    Ok(text.lines().map(str::to_owned).collect::<Vec<_>>().into_iter())
}

fn main() {
    for line in lines.remote("a".into()).wait().unwrap() {
        println!("{line}");
    }
}
