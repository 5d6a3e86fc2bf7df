//! The example `hash_tree` with the engine for Temporal linked, so that it runs on other machines. It stands here, since
//! the workspace of the examples does not build the client.

use retry_temporal as _;

#[path = "../../../../examples/hash_tree/hash_tree.rs"]
mod example;

fn main() -> impl std::process::Termination {
    example::main()
}
