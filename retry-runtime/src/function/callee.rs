//! The target of a call.

use std::panic::Location;
use std::sync::Arc;

use super::registry::Registration;
use crate::api::options::Policy;
use crate::job::budget::Budget;

/// The function that is called, and the terms of the call.
#[derive(Clone)]
pub(crate) struct Callee {
    pub(crate) registration: &'static Registration,
    /// The encoded parameters of the service's constructor.
    pub(crate) config: Option<Arc<[u8]>>,
    pub(crate) policy: Policy,
    pub(crate) budget: Option<Arc<Budget>>,
    /// The line of the program that makes the call, if it is known here.
    pub(crate) called: Option<&'static Location<'static>>,
}
