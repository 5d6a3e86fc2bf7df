//! The cases are in `pass` and `fail`, one mistake a file; `compile.rs` runs them.
