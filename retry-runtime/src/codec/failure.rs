//! Why a value cannot be encoded or decoded, as each part of it may return it.

use std::fmt;

use bincode::error::DecodeError;

use super::{CodecError, DEEPEST};

/// Of the size of a pointer, since it is in the way of each part that does not fail.
#[derive(Debug)]
pub(super) struct Failure(Box<CodecError>);

impl Failure {
    #[cold]
    pub(super) fn into_inner(self) -> CodecError {
        *self.0
    }

    #[cold]
    fn invalid(reason: String) -> Self {
        Self(Box::new(CodecError::Invalid(reason)))
    }

    #[cold]
    pub(super) fn too_large(limit: usize) -> Self {
        Self(Box::new(CodecError::TooLarge(limit)))
    }

    #[cold]
    pub(super) fn too_deep() -> Self {
        Self::invalid(too_deep())
    }

    #[cold]
    pub(super) fn decoding(error: DecodeError) -> Self {
        match error {
            DecodeError::UnexpectedEnd { .. } => Self(Box::new(super::ends_early())),
            error => Self::invalid(error.to_string()),
        }
    }
}

/// What is said about a value that is nested too deeply.
pub(super) fn too_deep() -> String {
    format!("the value is nested deeper than {DEEPEST} levels")
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Failure {}

impl serde::ser::Error for Failure {
    #[cold]
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::invalid(message.to_string())
    }
}

impl serde::de::Error for Failure {
    #[cold]
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::invalid(message.to_string())
    }
}
