//! What is called.

use std::sync::Arc;

use super::registry::Registration;
use crate::api::options::Policy;
use crate::job::budget::Budget;

/// What is called, and on what terms.
#[derive(Clone)]
pub(crate) struct Callee {
    pub(crate) registration: &'static Registration,
    /// The encoded parameters of the service's constructor.
    pub(crate) config: Option<Arc<[u8]>>,
    pub(crate) policy: Policy,
    pub(crate) budget: Option<Arc<Budget>>,
}
