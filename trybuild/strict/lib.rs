//! `strict.rs` is what counts; it is a test, so that workers can run in it.
