//! Tests that do not depend on the transport: the examples, separate crates, the output of programs, the
//! fixture, and the documents.

mod configuration;
mod crates;
mod dependencies;
mod entry;
mod event_log;
mod examples;
mod faults_table;
mod harness;
mod hosts;
mod imports;
mod progress;
mod report;
mod resuming;
mod status;
mod stopping;
mod tracing;
mod transport;
