//! Code that the tests share: the server, a proxy in front of it, and hosts as namespaces of the kernel.

mod network;
mod proxy;
mod server;

pub use network::{Host, Network};
pub use proxy::Proxy;
pub use server::{Server, free_port};
