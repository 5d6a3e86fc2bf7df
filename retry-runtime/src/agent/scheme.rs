//! The engines that are linked into this program, by their names.

use std::fmt;
use std::sync::Arc;

use super::Agent;
use crate::api::engine::{Engine, shown_address};

/// An engine as programs find it: by the part of `RETRY_ENGINE` before `://`.
///
/// A crate that connects an engine registers it with [`register_engine!`](crate::register_engine). A program that is to
/// use it must name the crate, as `use retry_temporal as _;` does: an unnamed crate is not linked.
#[derive(Clone, Copy)]
pub struct Scheme {
    name: &'static str,
    connect: fn(&str) -> Result<Arc<dyn Engine>, String>,
    pub(crate) serve: fn(&str, Agent) -> Result<(), String>,
}

impl Scheme {
    /// Creates a scheme. Both functions get the whole address, such as `temporal://queue.example:7233/default`, and
    /// return an error if something is wrong with it.
    ///
    /// `connect` returns at once, without waiting for the service. `serve` takes tasks for the agent from the service
    /// until the agent is drained, also while the service cannot be reached for a time.
    #[must_use]
    pub const fn new(
        name: &'static str,
        connect: fn(&str) -> Result<Arc<dyn Engine>, String>,
        serve: fn(&str, Agent) -> Result<(), String>,
    ) -> Self {
        Self {
            name,
            connect,
            serve,
        }
    }
}

impl fmt::Debug for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scheme")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

inventory::collect!(Scheme);

/// Registers an engine, whose [`Scheme`](crate::engine::Scheme) it takes.
///
/// ```
/// use std::sync::Arc;
///
/// use retry_runtime::engine::{Agent, Engine, Scheme};
///
/// fn connect(address: &str) -> Result<Arc<dyn Engine>, String> {
///     Err(format!("{address} is not there"))
/// }
///
/// fn serve(address: &str, agent: Agent) -> Result<(), String> {
///     Err(format!("{address} has nothing for {}", agent.name()))
/// }
///
/// retry_runtime::register_engine!(Scheme::new("nowhere", connect, serve));
///
/// let error = retry_runtime::Runtime::builder().engine("nowhere://here").build().unwrap_err();
/// assert_eq!(error.to_string(), "nowhere://here is not there");
/// ```
#[macro_export]
macro_rules! register_engine {
    ($scheme:expr) => {
        $crate::engine::inventory::submit! { $scheme }
    };
}

/// Returns the scheme of an address.
///
/// # Errors
///
/// If it is no address, or no engine of its name is linked.
pub(crate) fn find(address: &str) -> Result<&'static Scheme, String> {
    let (name, _) = address.split_once("://").ok_or_else(|| {
        let shown = shown_address(address);
        format!("`{shown}` is no address of an engine, such as temporal://queue.example:7233")
    })?;
    let mut schemes = inventory::iter::<Scheme>.into_iter();
    schemes.find(|scheme| scheme.name == name).ok_or_else(|| {
        format!(
            "no engine `{name}` is linked: add the crate that has it, such as retry-{name}, and \
             `use retry_{name} as _;`"
        )
    })
}

/// Connects the engine at an address.
///
/// # Errors
///
/// If no engine of that name is linked, or it refuses the address.
pub(crate) fn connect(address: &str) -> Result<Arc<dyn Engine>, String> {
    let scheme = find(address)?;
    (scheme.connect)(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_that_is_not_linked_is_named_with_its_crate() {
        let error = connect("temporal://queue.example:7233").err().unwrap();
        assert!(error.contains("no engine `temporal` is linked"), "{error}");
        assert!(error.contains("`use retry_temporal as _;`"), "{error}");
        assert!(connect("here").err().unwrap().contains("`here`"));
    }
}
