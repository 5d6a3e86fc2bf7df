//! The program whose calls run on other machines, with the engine for Temporal linked.

use retry_temporal as _;

#[path = "../../../../tests/src/bin/hosts.rs"]
mod program;

fn main() {
    program::main();
}
