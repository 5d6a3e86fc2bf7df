//! The part of a call that does not depend on its types, and so is compiled once.

use std::cell::RefCell;
use std::panic::Location;
use std::sync::Arc;
use std::task::{self, Poll};
use std::time::{Duration, Instant};

use crate::api::failure::{Lost, Rejected};
use crate::api::options::Options;
use crate::caller::host::Host;
use crate::caller::refused::RefusedCalls;
use crate::checkpoint::Describe;
use crate::checkpoint::cache::CachePlace;
use crate::codec::payload::Payload;
use crate::function::callee::Callee;
use crate::function::registry::Registration;
use crate::function::service_config::{ServiceConfig, names_any};
use crate::job::call_site::CallSite;
use crate::job::caller::Caller;
use crate::job::delivery::{self, Deliver};
use crate::job::outcome::{CallKey, Failure, Outcome, failed, known};
use crate::job::slot::Slot;
use crate::job::{Encoded, Job};
use crate::local::{LocalEngine, PollIntent};
use crate::spans;
use crate::terminal;
use crate::wait::spin::{Patience, Spin};
use crate::wait::{AnswerSource, Waiter};

/// The longest time for which polling the future of a call may block its thread, where the program has opted
/// in. A quick function takes no longer, even if its worker has to be woken.
const LONGEST_BUSY_POLL: Duration = Duration::from_micros(150);

thread_local! {
    /// The patience of this thread when it polls for the answers of awaited calls.
    static PATIENCE: RefCell<Patience> = const { RefCell::new(Patience::new()) };
}

/// A call that is made when it is first waited for.
pub(super) struct LazyCall {
    pub(super) host: Host,
    pub(super) config: Option<ServiceConfig>,
    pub(super) registration: &'static Registration,
    pub(super) options: Options,
    pub(super) input: Result<Encoded, Rejected>,
    pub(super) describe: Describe,
    pub(super) running: Option<StartedCall>,
    /// Set if the call goes on although this program ends.
    pub(super) is_detached: bool,
    /// The line of the program that made the call.
    pub(super) called: &'static Location<'static>,
    pub(super) spans: spans::Context,
}

pub(super) struct StartedCall {
    slot: Arc<Slot>,
    pub(super) key: Option<CallKey>,
    /// The places in which this thread has yet to look for the answer.
    source: Option<Arc<dyn AnswerSource>>,
    /// The spin for the answer before other threads took over.
    busy_polled: Option<Spin>,
    /// The place for the result in the function's cache, if it has one and the result is not there.
    pub(super) cache: Option<Box<CachePlace>>,
}

impl LazyCall {
    /// Makes the call; its outcome goes to this slot.
    pub(super) fn start(&mut self, intent: PollIntent, slot: Slot) -> Arc<Slot> {
        if let Some(running) = &self.running {
            return Arc::clone(&running.slot);
        }
        let slot = Arc::new(slot);
        let input = std::mem::replace(&mut self.input, Err(Rejected::ShutDown));
        let mut cache = None;
        let submitted = input.and_then(|Encoded { bytes, objects }| {
            let place = CachePlace::of(
                self.registration.spec,
                self.config.as_deref(),
                self.describe,
                &bytes,
            );
            if let Some(place) = place {
                if !objects.is_empty() || names_any(self.config.as_ref()) {
                    return Err(Rejected::keeps_no_shared_value());
                }
                if let Some(value) = place.find()? {
                    slot.fill(known(value));
                    return Ok(None);
                }
                cache = Some(Box::new(place));
            }
            // The call may start workers of its service.
            let objects = match &self.config {
                Some(config) => objects.and(config.objects()),
                None => objects,
            };
            let job = Job {
                target: Arc::clone(&slot) as Arc<dyn Deliver>,
                number: 0,
                index: None,
                input: Payload::One(bytes),
                objects,
                caller: Caller::thread(),
                method: self.registration.place(),
                spans: self.spans.clone(),
            };
            let options = self.options.over(self.host.options());
            let callee = Callee {
                registration: self.registration,
                config: self.config.clone(),
                policy: options.policy(self.registration.spec),
                budget: None,
                called: Some(CallSite::Here(self.called)),
                longest_delay: None,
                is_detached: self.is_detached,
                to_come: None,
            };
            self.host.submit(&callee, job, intent).map(Some)
        });
        let (key, source) = match submitted {
            Ok(Some((key, submitted))) => (Some(key), submitted.and_then(|facts| facts.source)),
            Ok(None) => (None, None),
            Err(reason) => {
                let refused = RefusedCalls {
                    registration: self.registration,
                    called: self.called,
                    index: None,
                    count: 1,
                };
                slot.fill(refused.end(&self.host, Failure::Rejected(reason)));
                (None, None)
            }
        };
        self.running = Some(StartedCall {
            slot: Arc::clone(&slot),
            key,
            source,
            busy_polled: None,
            cache,
        });
        slot
    }

    /// Makes the call. If the program has opted in, looks for the answer of a quick function for a moment.
    fn start_polled(&mut self) -> Arc<Slot> {
        // A thread that delivers outcomes may hold a lock that polling for them needs.
        if !self.host.busy_polls() || delivery::is_under_way() {
            return self.start(PollIntent::No, Slot::default());
        }
        let intent = if PATIENCE.with_borrow(Patience::is_over) {
            PollIntent::No
        } else {
            PollIntent::IfQuick
        };
        let slot = self.start(intent, Slot::default());
        self.busy_poll(&slot);
        slot
    }

    /// Looks for the answer of a function that takes less time than waking a thread.
    fn busy_poll(&mut self, slot: &Slot) {
        let Some(running) = &mut self.running else {
            return;
        };
        let mut spin = PATIENCE.with_borrow(Patience::spin);
        if let Some(source) = running.source.take() {
            let until = Instant::now() + LONGEST_BUSY_POLL;
            self.host.park_at(&source, until, slot, &mut spin);
            running.busy_polled = Some(spin);
        } else if PATIENCE.with_borrow(Patience::is_over) {
            // The time until the answer arrived determines whether polling pays next time.
            running.busy_polled = Some(spin);
        }
    }

    /// Polls for the outcome, and makes the call first if that has not been done.
    pub(super) fn poll_outcome(&mut self, context: &mut task::Context<'_>) -> Poll<Outcome> {
        let slot = match &self.running {
            Some(running) => Arc::clone(&running.slot),
            None => self.start_polled(),
        };
        if self.host.is_foreign() {
            return Poll::Ready(outcome_in_fork(&slot));
        }
        let outcome = terminal::polled(slot.poll_take(context.waker()));
        if let (Poll::Ready(outcome), Some(running)) = (&outcome, &mut self.running) {
            running.key = None;
            if let Some(place) = running.cache.take() {
                keep(&place, outcome);
            }
            if let Some(spin) = running.busy_polled.take() {
                PATIENCE.with_borrow_mut(|patience| patience.learn(&spin));
            }
        }
        outcome
    }

    /// Parks the thread where the answer will arrive.
    pub(super) fn park(&mut self, until: Option<Instant>, waiter: &dyn Waiter, spin: &mut Spin) {
        let (key, source) = match &mut self.running {
            // Later the call may be at another worker.
            Some(running) => (running.key, running.source.take()),
            None => (None, None),
        };
        self.host.park(key, source, until, waiter, spin);
    }
}

impl Drop for LazyCall {
    fn drop(&mut self) {
        let Some(running) = self.running.take() else {
            return;
        };
        if self.host.is_foreign() {
            // Dropping the last reference to a worker would close its descriptors, whose numbers may belong
            // to other files by now.
            std::mem::forget(running);
            return;
        }
        if let Some(key) = running.key {
            self.host.cancel(key);
        }
        if let Some(source) = running.source {
            self.host.hand_over(source);
        }
    }
}

/// Returns the outcome of a call, in a child that was forked while it was under way. It is there if it had
/// arrived before.
#[cold]
pub(super) fn outcome_in_fork(slot: &Slot) -> Outcome {
    slot.take_unlocked()
        .unwrap_or_else(|| failed(Failure::Lost(Lost::Forked)))
}

/// Stores the result of a call in the cache of its function.
#[cold]
pub(super) fn keep(place: &CachePlace, outcome: &Outcome) {
    if let Ok(Payload::One(value)) = &outcome.result
        && let Err(reason) = place.keep(value)
    {
        LocalEngine::say(&reason);
    }
}
