//! Starts an async runtime, writes one byte from it, and exits.

use std::io::Write;

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("an async runtime");
    runtime.block_on(async {
        std::io::stdout()
            .write_all(b".")
            .expect("standard output is a pipe");
    });
}
