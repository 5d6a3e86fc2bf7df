//! The spans of the calls of an engine.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use super::LocalEngine;
use super::core::Core;
use crate::api::call_id::CallNumber;
use crate::job::Job;
use crate::job::outcome::Outcome;
use crate::job::parts::Parts;
use crate::spans::{Context, Tracer};

/// The tracer of an engine, which starts with the first call whose caller has a subscriber.
#[derive(Default)]
pub(super) struct Spans {
    tracer: OnceLock<Tracer>,
    /// Set once the tracer gets the events of the engine.
    observes: AtomicBool,
    /// The most verbose level that callers have recorded so far.
    level: AtomicU8,
}

/// Calls that are being submitted, as the tracer has to know them.
pub(crate) struct Traced {
    count: u32,
    index: Option<u64>,
    context: Context,
}

impl LocalEngine {
    /// Returns the tracer, if a call was made whose caller has a subscriber.
    #[inline]
    pub(crate) fn tracer(&self) -> Option<&Tracer> {
        self.spans.tracer.get()
    }

    /// Returns the most verbose level of events that callers have recorded so far.
    pub(crate) fn recorded_level(&self) -> u8 {
        self.spans.level.load(Ordering::Relaxed)
    }

    /// Prepares for calls that are about to be submitted. Returns `None` if their caller has no subscriber.
    #[inline]
    pub(crate) fn trace(&self, core: &mut Core, job: &Job) -> Option<Traced> {
        let traces = job.spans.is_some();
        traces.then(|| self.begin_trace(core, job))
    }

    #[cold]
    fn begin_trace(&self, core: &mut Core, job: &Job) -> Traced {
        let Spans {
            tracer,
            observes,
            level,
        } = &self.spans;
        level.fetch_max(job.spans.level(), Ordering::Relaxed);
        // Without a thread there are no spans; the next call tries again. The lock of the engine keeps others
        // from starting a second one.
        if tracer.get().is_none()
            && let Ok(started) = Tracer::start(self.config.inline)
        {
            let _ = tracer.set(started);
        }
        if let Some(tracer) = tracer.get()
            && job.spans.has_spans()
            && !observes.swap(true, Ordering::Relaxed)
        {
            self.publisher.add(tracer.subscriber());
            core.scheduler.set_interest(self.publisher.interest());
        }
        Traced {
            count: job.count(),
            index: job.index,
            context: job.spans.clone(),
        }
    }

    /// Opens the spans of calls that were submitted.
    #[inline]
    pub(crate) fn begin_spans(
        &self,
        first: CallNumber,
        function: &'static str,
        traced: Option<Traced>,
    ) {
        if let Some((tracer, traced)) = self.tracer().zip(traced) {
            let Traced {
                count,
                index,
                context,
            } = traced;
            tracer.note_submitted(first, count, function, index, &context);
        }
    }

    /// Waits until the subscribers of the callers know of everything that precedes these outcomes.
    #[inline]
    pub(super) fn catch_up(&self, outcomes: &mut [(Job, Outcome)]) {
        if !outcomes.is_empty()
            && let Some(tracer) = self.tracer()
        {
            for (job, _) in outcomes {
                tracer.release(std::mem::take(&mut job.spans));
            }
            tracer.catch_up();
        }
    }
}
