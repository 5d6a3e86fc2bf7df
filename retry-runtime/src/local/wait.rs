//! Waiting: a thread polls for the answer to its call, then parks where the answer will arrive.

use std::sync::Arc;
use std::thread;
use std::time::Instant;

use super::{LocalEngine, ParkSpot, WaitTarget};
use crate::job::outcome::CallKey;
use crate::wait::spin::{Patience, Spin};
use crate::wait::{AnswerSource, Waiter, is_over};

impl LocalEngine {
    /// Polls for answers until `is_over` returns `true`, for instance because the thread is woken
    /// or its time has come, or the patience of `spin` is over.
    pub(crate) fn poll_answers(
        &self,
        target: WaitTarget,
        spin: &mut Spin,
        is_over: &mut dyn FnMut() -> bool,
    ) {
        if self.is_foreign() {
            return;
        }
        let sources = self.lock().sources(target);
        self.backend.poll_answers(self, &sources, spin, is_over);
    }

    /// Polls for the answers of one worker, then parks the thread there until one comes. Returns
    /// whether the worker has ended.
    pub(crate) fn park_at(
        &self,
        source: &Arc<dyn AnswerSource>,
        until: Option<Instant>,
        waiter: &dyn Waiter,
        spin: &mut Spin,
    ) -> bool {
        self.backend.park_at(self, source, until, waiter, spin)
    }

    /// Lets another thread poll for the answers of a worker.
    pub(crate) fn hand_over(&self, source: Arc<dyn AnswerSource>) {
        self.backend.hand_over(source);
    }

    /// Polls for the answer to a call while `spin` has patience, then parks the thread at the
    /// worker that has the call, if possible, until the thread is woken or `until` has come. Begins
    /// at `source`, which this thread has announced to poll.
    pub(crate) fn park(
        &self,
        call: Option<CallKey>,
        source: Option<Arc<dyn AnswerSource>>,
        until: Option<Instant>,
        waiter: &dyn Waiter,
        spin: &mut Spin,
    ) {
        let mut first = source;
        let mut replaces = false;
        while !is_over(waiter, until) {
            let spot = match first.take() {
                Some(source) => ParkSpot::At(source),
                None => self.lock().park_spot(call),
            };
            match spot {
                ParkSpot::At(source) => {
                    // The worker that has ended may have been replaced.
                    if replaces {
                        // The replacement may be about to answer, so poll before parking.
                        *spin = Patience::new().spin();
                    }
                    if !self.park_at(&source, until, waiter, spin) {
                        return;
                    }
                    replaces = true;
                }
                ParkSpot::Soon => match until {
                    None => thread::park(),
                    Some(until) => {
                        thread::park_timeout(until.saturating_duration_since(Instant::now()));
                    }
                },
                ParkSpot::Nowhere => {
                    let mut is_over = || is_over(waiter, until);
                    return self.poll_answers(WaitTarget::To(call), spin, &mut is_over);
                }
            }
        }
        if let Some(source) = first {
            self.hand_over(source);
        }
    }
}
