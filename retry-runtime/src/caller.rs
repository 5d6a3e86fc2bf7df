//! Handles on calls: a call, a map, a runtime, and the stub that makes them.

pub(crate) mod call;
pub(crate) mod host;
pub(crate) mod map;
pub(crate) mod refused;
pub(crate) mod runtime;
pub(crate) mod stub;
pub(crate) mod underway;
