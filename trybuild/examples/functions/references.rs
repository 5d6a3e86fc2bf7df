//! The types that parameters may borrow.
use retry_runtime::function;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;

#[derive(serde::Serialize, serde::Deserialize)]
struct Settings {
    names: BTreeMap<String, Vec<u8>>,
}

#[function]
fn all(
    text: &str,
    bytes: &[u8],
    path: &Path,
    settings: &Settings,
    numbers: &Vec<u64>,
    owned: String,
) -> usize {
    text.len()
        + bytes.len()
        + path.as_os_str().len()
        + settings.names.len()
        + numbers.len()
        + owned.len()
}

#[function]
fn shared(text: Cow<'static, str>, names: &[Cow<'static, str>]) -> usize {
    text.len() + names.len()
}

#[function]
async fn later(text: &str, settings: &Settings) -> usize {
    text.len() + settings.names.len()
}

pub(crate) fn main() {
    let settings = Settings {
        names: BTreeMap::new(),
    };
    let text = String::from("text");
    assert_eq!(
        all(
            &text,
            b"b",
            Path::new("/"),
            &settings,
            &vec![1],
            String::new()
        ),
        7
    );
    let _ = all.remote(
        &text,
        b"b",
        Path::new("/"),
        &settings,
        &vec![1],
        String::new(),
    );
    let _ = shared.remote("text".into(), &[]);
    let _ = later.remote(&text, &settings);
    let _ = later.map([(String::from("a"), settings)]);
}
