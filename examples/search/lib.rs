//! The example stands beside this file; it is run by the tests.
