//! A wrapper for values that need a self-describing format.

use serde::de::{DeserializeOwned, Error as _};
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::codec;

/// Carries its value as JSON, for types that need a self-describing format.
///
/// The wire format is not self-describing, so it refuses types with serde's `flatten`, `untagged`, `tag` or
/// `skip_serializing_if`, and `serde_json::Value`. A `Json` carries them.
///
/// A value is written, read back and compared before it is sent, so that it arrives as it is or is refused:
/// JSON has no NaN and no infinity, does not distinguish `Some(None)` from `None`, and a skipped field
/// comes back as its default.
///
/// ```
/// use retry_runtime::{Json, function};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// #[serde(untagged)]
/// enum Setting {
///     Number(f64),
///     Text(String),
/// }
///
/// #[function]
/// fn describe(setting: Json<Setting>) -> String {
///     match setting.0 {
///         Setting::Number(number) => number.to_string(),
///         Setting::Text(text) => text,
///     }
/// }
/// # let _call = describe.remote(Json(Setting::Number(1.5)));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Json<T>(pub T);

impl<T: Serialize + DeserializeOwned> Serialize for Json<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = codec::to_json(&self.0).map_err(S::Error::custom)?;
        text.serialize(serializer)
    }
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for Json<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        serde_json::from_str(&text)
            .map(Self)
            .map_err(D::Error::custom)
    }
}
