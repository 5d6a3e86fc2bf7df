//! Cases that must not compile are in `fail`, one mistake per file; cases that must compile are in
//! `examples`. `tests/compile.rs` runs both.
