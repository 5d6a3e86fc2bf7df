//! The error with which a value, or a part of it, fails to encode or decode.

use std::fmt;

use bincode::error::DecodeError;

use super::{CodecError, MAX_NESTING};

/// The error of a value. It is as large as a pointer, because the return value of each part that succeeds has
/// room for it.
#[derive(Debug)]
pub(super) struct ValueError(Box<Inner>);

#[derive(Debug)]
struct Inner {
    cause: Cause,
    /// The innermost type that is known to contain the cause.
    part: Option<&'static str>,
    /// The field that has this type.
    field: Option<&'static str>,
}

/// The parts of a value that serde may have omitted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Omissible {
    /// The scope of an address.
    pub(super) scope: bool,
    /// The value of a weak pointer.
    pub(super) weak: bool,
}

#[derive(Debug)]
enum Cause {
    TooLarge(usize),
    TooDeep,
    /// The reason that the type itself gave.
    Own(String),
    /// A field that serde skips.
    Skipped(&'static str),
    /// A sequence or map whose length is not known in advance.
    NoLength(&'static str),
    /// More variants than there are tags.
    TooManyVariants,
    /// The type needs a self-describing format.
    NotDescribed,
    /// A variant has another index or name when it is read than when it is written.
    Variant(&'static str),
    /// The type reads something other than it wrote.
    Differs(String),
    /// Serde omits a part of the value, one of these.
    Omitted(Omissible),
    /// A float that JSON cannot represent.
    NoNumber,
    /// The reason that the JSON crate gave.
    #[cfg(feature = "json")]
    Json(String),
    /// The value decodes from JSON to another value.
    #[cfg(feature = "json")]
    Changed,
}

impl ValueError {
    #[cold]
    fn new(cause: Cause) -> Self {
        Self(Box::new(Inner {
            cause,
            part: None,
            field: None,
        }))
    }

    #[cold]
    pub(super) fn too_large(limit: usize) -> Self {
        Self::new(Cause::TooLarge(limit))
    }

    #[cold]
    pub(super) fn too_deep() -> Self {
        Self::new(Cause::TooDeep)
    }

    #[cold]
    pub(super) fn skipped(field: &'static str) -> Self {
        Self::new(Cause::Skipped(field))
    }

    #[cold]
    pub(super) fn no_length(of: &'static str) -> Self {
        Self::new(Cause::NoLength(of))
    }

    #[cold]
    pub(super) fn too_many_variants() -> Self {
        Self::new(Cause::TooManyVariants)
    }

    #[cold]
    pub(super) fn not_described() -> Self {
        Self::new(Cause::NotDescribed)
    }

    #[cold]
    pub(super) fn variant(of: &'static str) -> Self {
        Self::new(Cause::Variant(of))
    }

    #[cold]
    pub(super) fn differs(how: String) -> Self {
        Self::new(Cause::Differs(how))
    }

    #[cold]
    pub(super) fn ends_early() -> Self {
        Self::differs("the bytes end early".to_owned())
    }

    #[cold]
    pub(super) fn omitted(parts: Omissible) -> Self {
        Self::new(Cause::Omitted(parts))
    }

    #[cold]
    pub(super) fn no_number() -> Self {
        Self::new(Cause::NoNumber)
    }

    #[cfg(feature = "json")]
    #[cold]
    pub(super) fn json(error: serde_json::Error) -> Self {
        Self::new(Cause::Json(error.to_string()))
    }

    #[cfg(feature = "json")]
    #[cold]
    pub(super) fn changed() -> Self {
        Self::new(Cause::Changed)
    }

    #[cold]
    pub(super) fn decoding(error: DecodeError) -> Self {
        Self::differs(match error {
            DecodeError::UnexpectedEnd { .. } => return Self::ends_early(),
            DecodeError::Utf8 { .. } => "its text is not UTF-8".to_owned(),
            DecodeError::InvalidBooleanValue(byte) => format!("{byte} is no bool"),
            DecodeError::InvalidCharEncoding(_) => "its bytes are no char".to_owned(),
            _ => "its bytes have no meaning".to_owned(),
        })
    }

    /// Records that the cause is in a part of this type, unless a smaller part is already recorded.
    #[cold]
    pub(super) fn within<T: ?Sized>(self) -> Self {
        self.at::<T>(None)
    }

    /// Records the type of a part and the field that holds it, if it is a field.
    #[cold]
    pub(super) fn at<T: ?Sized>(mut self, field: Option<&'static str>) -> Self {
        let part = std::any::type_name::<T>().trim_start_matches('&');
        // Serde's derives wrap a part in a type with a name that users do not know.
        if self.0.part.is_none() && !part.contains("::_::") && !part.contains("::__") {
            self.0.part = Some(part);
            self.0.field = field;
        }
        self
    }

    /// Converts the failure to an error about a value of type `T`.
    #[cold]
    pub(super) fn of<T: ?Sized>(self) -> CodecError {
        if let Cause::TooLarge(limit) = self.0.cause {
            return CodecError::TooLarge(limit);
        }
        CodecError::Invalid(self.text(Some(std::any::type_name::<T>())))
    }

    fn text(&self, whole: Option<&str>) -> String {
        let Inner { cause, part, field } = &*self.0;
        let quoted = |name: Option<&str>| match name {
            Some(name) => format!("`{}`", without_paths(name)),
            None => "the value".to_owned(),
        };
        let part = quoted(part.or(whole));
        let whole = quoted(whole);
        let remedy = "send it as `retry_runtime::Json<T>` (feature `json`)";
        match cause {
            Cause::TooLarge(limit) => format!("larger than {limit} bytes"),
            Cause::TooDeep => format!("the value is nested deeper than {MAX_NESTING} levels"),
            Cause::Own(reason) => match field {
                Some(field) => format!("{reason} (in the field `{field}`)"),
                None => reason.clone(),
            },
            Cause::Skipped(field) => format!(
                "serde skips the field `{field}` of {part}, and without one of its fields it \
                 cannot be read back; {remedy}, or do not skip the field"
            ),
            Cause::NoLength(of) => format!(
                "{part} has a {of} whose length is not known before its end, as with flatten; \
                 {remedy}"
            ),
            Cause::TooManyVariants => format!("{part} has more than 65536 variants"),
            Cause::NotDescribed => format!(
                "{part} has to know what follows before it can read it, as with untagged, tag, \
                 flatten and serde_json::Value; {remedy}"
            ),
            Cause::Variant(of) => format!(
                "a variant of `{of}` in {whole} has another place or name when it is read than \
                 when it is written, as with skip, or with skip_deserializing or rename on one \
                 side; put skipped variants last, and name the others the same on both sides"
            ),
            Cause::Differs(how) => {
                let place = if part == whole {
                    String::new()
                } else {
                    format!(" in {part}")
                };
                format!(
                    "{whole} does not read what it writes ({how}{place}): its Serialize and its \
                     Deserialize differ; look for attributes that apply to one of them, such as \
                     skip_serializing, or {remedy}"
                )
            }
            Cause::Omitted(parts) if parts.weak => {
                let or = match parts.scope {
                    true => " or the scope of a `SocketAddrV6`",
                    false => "",
                };
                format!(
                    "serde leaves out the value of a `Weak`{or} in {whole}; send an `Rc` or an \
                     `Arc` instead"
                )
            }
            Cause::Omitted(_) => {
                format!("serde leaves out the scope of a `SocketAddrV6` in {whole}; {remedy}")
            }
            Cause::NoNumber => match field {
                Some(field) => format!("JSON has no NaN and no infinity (in the field `{field}`)"),
                None => format!("JSON has no NaN and no infinity (in {whole})"),
            },
            #[cfg(feature = "json")]
            Cause::Json(reason) => format!("{whole} does not come back from JSON: {reason}"),
            #[cfg(feature = "json")]
            Cause::Changed => format!(
                "{whole} comes back from JSON as another value, as with Some(None), a skipped \
                 field that is not its default, or an untagged variant that another one matches"
            ),
        }
    }
}

/// Returns the name of a type with names of the standard library as they are usually written, such as
/// `Vec<Option<u8>>`.
fn without_paths(name: &str) -> String {
    let is_path = |letter: char| letter.is_alphanumeric() || matches!(letter, '_' | ':');
    let mut short = String::with_capacity(name.len());
    let mut rest = name;
    while let Some(first) = rest.chars().next() {
        let length = match is_path(first) {
            true => rest.find(|letter| !is_path(letter)).unwrap_or(rest.len()),
            false => first.len_utf8(),
        };
        let (path, others) = rest.split_at(length);
        let is_std = ["alloc::", "core::", "std::"]
            .iter()
            .any(|root| path.starts_with(root));
        short += match path.rsplit("::").next() {
            Some(last) if is_std => last,
            _ => path,
        };
        rest = others;
    }
    short
}

impl fmt::Display for ValueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text(None))
    }
}

impl std::error::Error for ValueError {}

impl serde::ser::Error for ValueError {
    #[cold]
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(Cause::Own(message.to_string()))
    }
}

impl serde::de::Error for ValueError {
    #[cold]
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(Cause::Own(message.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn std_types_are_named_without_paths() {
        for (name, short) in [
            (
                "alloc::vec::Vec<core::option::Option<u8>>",
                "Vec<Option<u8>>",
            ),
            (
                "app::alloc::Vec<(u8, std::path::PathBuf)>",
                "app::alloc::Vec<(u8, PathBuf)>",
            ),
            ("[&str; 3]", "[&str; 3]"),
        ] {
            assert_eq!(without_paths(name), short);
        }
    }

    #[test]
    fn truncated_bytes_name_the_type_and_a_remedy() {
        let failure = ValueError::ends_early().at::<Vec<u8>>(Some("list"));
        let text = failure.of::<Option<Vec<u8>>>().to_string();
        assert_eq!(
            text,
            "`Option<Vec<u8>>` does not read what it writes (the bytes end early in `Vec<u8>`): its \
             Serialize and its Deserialize differ; look for attributes that apply to one of them, \
             such as skip_serializing, or send it as `retry_runtime::Json<T>` (feature `json`)"
        );
    }
}
