//! The cases that must not compile are in `fail`, one mistake a file, and those that must are in `examples`;
//! `tests/compile.rs` runs both.
