//! Writes one byte and ends.

use std::io::Write;

fn main() {
    std::io::stdout()
        .write_all(b".")
        .expect("standard output is a pipe");
}
