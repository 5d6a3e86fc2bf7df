//! The examples stand beside this file; each is run by the tests.
