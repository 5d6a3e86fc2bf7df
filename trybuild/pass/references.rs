//! What parameters may refer to.
use retry_runtime::function;
use std::collections::BTreeMap;
use std::path::Path;

#[derive(serde::Serialize, serde::Deserialize)]
struct Settings {
    names: BTreeMap<String, Vec<u8>>,
}

#[function]
fn all(text: &str, bytes: &[u8], path: &Path, settings: &Settings, numbers: &Vec<u64>, owned: String) -> usize {
    text.len() + bytes.len() + path.as_os_str().len() + settings.names.len() + numbers.len() + owned.len()
}

#[function]
async fn later(text: &str, settings: &Settings) -> usize {
    text.len() + settings.names.len()
}

fn main() {
    let settings = Settings { names: BTreeMap::new() };
    let text = String::from("text");
    assert_eq!(all(&text, b"b", Path::new("/"), &settings, &vec![1], String::new()), 7);
    let _ = all.remote(&text, b"b", Path::new("/"), &settings, &vec![1], String::new());
    let _ = later.remote(&text, &settings);
    let _ = later.map([(String::from("a"), settings)]);
}
