//! Functions as generated code registers them, and running one of them.
//!
//! A worker process and an inline worker both run functions through this module.

pub(crate) mod args;
pub(crate) mod batch;
pub(crate) mod callee;
pub(crate) mod current;
pub(crate) mod driver;
pub(crate) mod invocation;
pub(crate) mod on_start;
pub(crate) mod panics;
pub(crate) mod probe;
pub(crate) mod registry;
pub(crate) mod reporting;
pub(crate) mod retry_probe;
pub(crate) mod service_config;
pub(crate) mod show;
