//! Tests that do not depend on the way that calls take: the examples, crates of their own, what a program
//! shows, the fixture, and the documents.

mod dependencies;
mod examples;
mod faults_table;
mod harness;
mod imports;
mod outside;
mod progress;
mod transport;
