//! The substitutes for checkpoints and caches without the feature `checkpoint`. None of these values exists,
//! so the compiler removes the code that handles them.

use std::sync::Weak;

use bytes::Bytes;

use crate::api::failure::Rejected;
use crate::api::spec::FunctionSpec;
use crate::codec::Wire;
use crate::codec::payload::Payload;
use crate::function::args::Arguments;

/// Describes a function's types where there are checkpoints.
pub(crate) type Describe = fn();

pub(crate) fn describe<A: Arguments, T: Wire>() {}

pub(crate) trait Stored: Send + Sync {
    #[expect(dead_code, reason = "there are no checkpoints")]
    fn mark_stored(&self, bytes: usize);
}

pub(crate) enum Run {}

pub(crate) enum Found {
    #[expect(dead_code, reason = "there are no checkpoints")]
    Kept(Bytes),
    #[expect(dead_code, reason = "there are no checkpoints")]
    Missing(u32),
}

impl Run {
    pub(crate) fn find(&mut self, _: &[u8]) -> Result<Found, Rejected> {
        match *self {}
    }

    pub(crate) fn release_snapshot(&mut self) {
        match *self {}
    }

    pub(crate) fn recorder(&self, _: Weak<dyn Stored>) -> Option<Box<Recorder>> {
        match *self {}
    }

    pub(crate) fn close(self) -> Option<String> {
        match self {}
    }

    pub(crate) fn tell(&mut self, _: Option<u64>) -> Option<String> {
        match *self {}
    }
}

pub(crate) enum Recorder {}

impl Recorder {
    pub(crate) fn note_repeated(&mut self, _: u64, _: u32) {
        match *self {}
    }

    pub(crate) fn record(&mut self, _: u64, _: &Payload, _: &Payload) -> usize {
        match *self {}
    }
}

pub(crate) mod cache {
    use super::{Bytes, Describe, FunctionSpec, Rejected};

    #[derive(Debug)]
    pub(crate) enum CachePlace {}

    impl CachePlace {
        pub(crate) fn of(
            _: &'static FunctionSpec,
            _: Option<&[u8]>,
            _: Describe,
            _: &[u8],
        ) -> Option<Self> {
            None
        }

        pub(crate) fn find(&self) -> Result<Option<Bytes>, Rejected> {
            match *self {}
        }

        pub(crate) fn keep(&self, _: &[u8]) -> Result<(), String> {
            match *self {}
        }
    }
}
