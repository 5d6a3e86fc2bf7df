//! The substitutes for spans without the feature `tracing`. No caller has a subscriber, so the compiler
//! removes the code that handles them.

use std::io;
use std::sync::Arc;

use crate::api::call_id::CallNumber;
use crate::api::events::Subscriber;

/// The place of calls among the spans of their caller.
#[derive(Clone, Debug, Default)]
pub(crate) struct Context(());

impl Context {
    pub(crate) fn current() -> Self {
        Self(())
    }

    #[expect(clippy::unused_self, reason = "there is no span")]
    pub(crate) fn nested(&self, _: u64, _: u64, _: CallNumber) -> Self {
        Self(())
    }

    pub(crate) fn is_some(&self) -> bool {
        false
    }

    pub(crate) fn has_spans(&self) -> bool {
        false
    }

    pub(crate) fn level(&self) -> u8 {
        0
    }

    pub(crate) fn number(&self) -> u64 {
        0
    }
}

/// The worker that has made records.
#[derive(Clone, Copy)]
#[expect(dead_code, reason = "workers make no records")]
pub(crate) struct Origin {
    pub(crate) worker: u64,
    pub(crate) pid: u32,
    pub(crate) function: &'static str,
}

/// The thread that gives spans and events to the program's subscriber.
pub(crate) enum Tracer {}

impl Tracer {
    pub(crate) fn start(_: bool) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(crate) fn subscriber(&self) -> Arc<dyn Subscriber> {
        match *self {}
    }

    pub(crate) fn note_submitted(
        &self,
        _: CallNumber,
        _: u32,
        _: &'static str,
        _: Option<u64>,
        _: &Context,
    ) {
        match *self {}
    }

    pub(crate) fn release(&self, _: Context) {
        match *self {}
    }

    pub(crate) fn end_worker(&self, _: u64) {
        match *self {}
    }

    pub(crate) fn catch_up(&self) {
        match *self {}
    }

    pub(crate) fn enter(&self, _: CallNumber, _: &Context) -> Entered {
        match *self {}
    }
}

/// A span that a thread is in.
pub(crate) struct Entered;

/// The subscriber of a worker.
pub(crate) mod forwarder {
    pub(crate) fn during_set_up<R>(set_up: impl FnOnce() -> R) -> R {
        set_up()
    }

    pub(crate) fn install() {}

    pub(crate) fn raise(_: u8) {}

    pub(crate) fn flush() {}
}
