#[retry_runtime::function(retries = 3)]
fn read(path: &std::path::Path) -> std::io::Result<String> {
    std::fs::read_to_string(path)
}

fn main() {
    let path = std::path::Path::new("a");
    println!("{}", read.remote(path, 3).wait().unwrap());
}
