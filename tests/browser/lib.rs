//! The test is next to this file; `run` runs it.
