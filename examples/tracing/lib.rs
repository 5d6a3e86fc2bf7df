//! Logs and spans of workers in the program. See `logging.rs` and `telemetry.rs`.
