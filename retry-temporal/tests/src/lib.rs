//! Code that the tests share: the server, and hosts as namespaces of the kernel.

mod network;
mod server;

pub use network::{Host, Network};
pub use server::{Server, free_port};
