//! The place of calls among the spans of their caller.

use std::fmt;
use std::sync::Arc;

use tracing::level_filters::LevelFilter;
use tracing::subscriber::NoSubscriber;
use tracing::{Dispatch, Span, dispatcher};

use super::TARGET;
use super::forwarder;
use super::messages::level_number;
use crate::api::call_id::CallNumber;

/// The subscriber of a caller, and the caller's span at the time of the call. Empty without a subscriber.
#[derive(Clone, Default)]
pub(crate) struct Context(Option<Arc<Captured>>);

pub(super) struct Captured {
    pub(super) dispatch: Dispatch,
    pub(super) parent: Parent,
    /// The number of the most verbose level that is recorded.
    level: u8,
    /// `true` if the subscriber wants the spans of calls or of attempts.
    has_spans: bool,
}

impl Drop for Captured {
    fn drop(&mut self) {
        if let Parent::Here(span) = &mut self.parent {
            let span = std::mem::replace(span, Span::none());
            self.enter(|| drop(span));
        }
    }
}

impl Captured {
    /// Makes the subscriber that of this thread for the time of a closure. A registry looks for itself there
    /// when a span closes and lets go of its parent.
    pub(super) fn enter<R>(&self, then: impl FnOnce() -> R) -> R {
        dispatcher::with_default(&self.dispatch, then)
    }
}

/// The span above the spans of calls.
pub(super) enum Parent {
    /// A span of this process, or none.
    Here(Span),
    InWorker(Place),
}

/// The place of a nested call.
pub(super) struct Place {
    pub(super) worker: u64,
    /// The span in the worker; zero for none.
    pub(super) span: u64,
    /// The call that makes the nested call.
    pub(super) outer: CallNumber,
    pub(super) above: Context,
}

impl Context {
    /// Captures the subscriber and the span of this thread. Costs one load from memory without a subscriber.
    #[inline]
    pub(crate) fn current() -> Self {
        match LevelFilter::current() {
            LevelFilter::OFF => Self(None),
            level => Self::capture(level),
        }
    }

    #[cold]
    fn capture(level: LevelFilter) -> Self {
        let dispatch = dispatcher::get_default(Dispatch::clone);
        if dispatch.is::<NoSubscriber>() {
            return Self(None);
        }
        Self(Some(Arc::new(Captured {
            dispatch,
            parent: Parent::Here(Span::current()),
            level: level.into_level().map_or(0, level_number),
            has_spans: tracing::enabled!(target: TARGET, tracing::Level::INFO, { function }),
        })))
    }

    /// Returns the place of a call that was made in a span of a worker, by another call.
    pub(crate) fn nested(&self, worker: u64, span: u64, outer: CallNumber) -> Self {
        Self(self.0.as_ref().map(|above| {
            Arc::new(Captured {
                dispatch: above.dispatch.clone(),
                parent: Parent::InWorker(Place {
                    worker,
                    span,
                    outer,
                    above: self.clone(),
                }),
                level: above.level,
                has_spans: above.has_spans,
            })
        }))
    }

    /// Returns whether the caller has a subscriber.
    pub(crate) fn is_some(&self) -> bool {
        self.0.is_some()
    }

    /// Returns whether the subscriber wants the spans of calls or of attempts.
    pub(crate) fn has_spans(&self) -> bool {
        self.0.as_ref().is_some_and(|captured| captured.has_spans)
    }

    /// Returns the number of the most verbose level that is recorded: from 1 for errors to 5 for traces, or
    /// 0 without a subscriber.
    pub(crate) fn level(&self) -> u8 {
        self.0.as_ref().map_or(0, |captured| captured.level)
    }

    /// Returns the number under which this worker has sent its caller's span to its parent; 0 for none.
    pub(crate) fn number(&self) -> u64 {
        match self.captured().map(|captured| &captured.parent) {
            Some(Parent::Here(span)) => forwarder::number(span),
            _ => 0,
        }
    }

    /// Lets go of this copy. Returns what the last copy held, whose drop may close a span, which runs code of
    /// the subscriber.
    pub(super) fn into_last(self) -> Option<Captured> {
        self.0.and_then(Arc::into_inner)
    }

    pub(super) fn captured(&self) -> Option<&Captured> {
        self.0.as_deref()
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").finish_non_exhaustive()
    }
}
