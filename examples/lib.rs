//! The examples are next to this file; the tests run each of them.
