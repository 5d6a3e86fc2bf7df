//! Answers what functions ask of the worker process that runs them, on systems that have none.

use std::io;
use std::time::Duration;

/// The lease of worker processes, which nothing waits for here: inline workers are stopped with their agent.
pub(crate) struct Lease(());

impl Lease {
    #[expect(clippy::unnecessary_wraps, reason = "it needs memory on Linux")]
    pub(crate) fn create() -> io::Result<Self> {
        Ok(Self(()))
    }

    pub(crate) fn set(&self, _: Option<Duration>) {}
}

/// The control block of this process, if it is a worker.
pub(crate) enum ControlBlock {}

impl ControlBlock {
    pub(crate) fn count_request(&self) {
        match *self {}
    }

    pub(crate) fn add_made(&self, _: u64) {
        match *self {}
    }

    pub(crate) fn remove_made(&self, _: u64) {
        match *self {}
    }

    pub(crate) fn now(&self) -> u64 {
        match *self {}
    }

    pub(crate) fn is_asked(&self, _: usize, _: u64) -> bool {
        match *self {}
    }

    pub(crate) fn pause(&self, _: u64) {
        match *self {}
    }

    pub(crate) fn resume(&self, _: usize, _: u64, _: u64) {
        match *self {}
    }

    pub(crate) fn leave_last_words(&self, _: u64, _: &[u8]) {
        match *self {}
    }

    pub(crate) fn keep_last_words(&self) {
        match *self {}
    }

    pub(crate) fn withdraw_kept_words(&self) {
        match *self {}
    }

    pub(crate) fn withdraw_last_words(&self) {
        match *self {}
    }
}
