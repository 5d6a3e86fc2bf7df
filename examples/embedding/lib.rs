//! The example is next to this file; the tests run it.
