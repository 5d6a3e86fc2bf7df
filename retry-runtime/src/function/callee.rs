//! The target of a call.

use std::sync::Arc;
use std::time::Duration;

use super::registry::{self, Registration};
use super::service_config::ServiceConfig;
use crate::api::options::Policy;
use crate::job::budget::Budget;
use crate::job::call_site::CallSite;
use crate::wire::message::{Calls, Item};

/// The function that is called, and the terms of the call.
#[derive(Clone)]
pub(crate) struct Callee {
    pub(crate) registration: &'static Registration,
    /// The encoded parameters of the service's constructor.
    pub(crate) config: Option<ServiceConfig>,
    pub(crate) policy: Policy,
    pub(crate) budget: Option<Arc<Budget>>,
    /// The line of the program that makes the call, if it is known here.
    pub(crate) called: Option<CallSite>,
    /// The longest delay of a retry that is waited for where the call is scheduled.
    pub(crate) longest_delay: Option<Duration>,
    /// Set if the call goes on although the program that makes it ends.
    pub(crate) is_detached: bool,
    /// The number of inputs that the map submits after these, if it is known.
    pub(crate) to_come: Option<u64>,
}

impl Callee {
    /// Returns the target of calls that another process has sent, and the calls. An error says what the other
    /// process must not have sent.
    pub(crate) fn received(
        calls: Calls,
        budget: Option<Arc<Budget>>,
    ) -> Result<(Self, Vec<Item>), String> {
        if !calls.policy.retries.is_valid() {
            return Err("a call with an impossible policy".to_owned());
        }
        let Ok(registration) = registry::find(&calls.function) else {
            return Err(format!("a call of `{}`", calls.function));
        };
        let callee = Self {
            registration,
            config: calls.config.map(ServiceConfig::from),
            policy: calls.policy,
            budget,
            called: None,
            longest_delay: None,
            is_detached: false,
            to_come: None,
        };
        Ok((callee, calls.items))
    }
}
