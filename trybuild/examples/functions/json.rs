//! A type that bincode cannot encode is sent as JSON.
use retry_runtime::{Json, function};

#[derive(serde::Serialize, serde::Deserialize)]
#[serde(untagged)]
enum Setting {
    Number(f64),
    Text(String),
}

#[function]
fn describe(setting: Json<Setting>) -> Json<Setting> {
    setting
}

pub(crate) fn main() {
    let _ = describe.map([
        Json(Setting::Number(1.5)),
        Json(Setting::Text(String::new())),
    ]);
}
