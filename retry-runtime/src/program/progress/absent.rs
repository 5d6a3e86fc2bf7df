//! Substitutes for the display of progress, without the feature `progress`.

use std::time::Instant;

use crate::config::ProgressMode;
use crate::program::sampling::Sample;

/// Shows nothing.
pub(in crate::program) struct Display;

impl Display {
    pub(in crate::program) fn new(_: ProgressMode) -> Self {
        Self
    }

    pub(in crate::program) fn show(&mut self, _: Instant, _: &[Sample]) {}
}
