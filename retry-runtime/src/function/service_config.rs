//! The configuration of a service's workers.

use std::cmp::Ordering;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use crate::job::Encoded;
use crate::shared::Objects;

/// The encoded parameters of a service's constructor. The shared values that they name exist as long as this does.
#[derive(Clone)]
pub struct ServiceConfig(Arc<Encoded>);

impl ServiceConfig {
    pub(crate) fn new(encoded: Encoded) -> Self {
        Self(Arc::new(encoded))
    }

    /// Returns the same configuration, which does not keep the shared values that it names.
    pub(crate) fn without_objects(&self) -> Self {
        if self.0.objects.is_empty() {
            return self.clone();
        }
        Self::new(Encoded {
            bytes: self.0.bytes.clone(),
            objects: Objects::NONE,
        })
    }

    /// Returns the shared values that the parameters name.
    pub(crate) fn objects(&self) -> &Objects {
        &self.0.objects
    }
}

/// Returns whether the configuration of a call, if it has one, names shared values.
pub(crate) fn names_any(config: Option<&ServiceConfig>) -> bool {
    config.is_some_and(|config| !config.objects().is_empty())
}

impl From<Vec<u8>> for ServiceConfig {
    fn from(bytes: Vec<u8>) -> Self {
        Self::new(Encoded {
            bytes: bytes.into(),
            objects: Objects::NONE,
        })
    }
}

impl Deref for ServiceConfig {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0.bytes
    }
}

impl fmt::Debug for ServiceConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ServiceConfig({} bytes)", self.len())
    }
}

impl PartialEq for ServiceConfig {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for ServiceConfig {}

impl PartialOrd for ServiceConfig {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ServiceConfig {
    fn cmp(&self, other: &Self) -> Ordering {
        (**self).cmp(&**other)
    }
}
