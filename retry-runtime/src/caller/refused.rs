//! Accounts for calls that have ended before a scheduler had them: their arguments are too large, a setting is
//! wrong, the file of a checkpoint is in use. Without this they would be missing from all that a run says about
//! itself.

use std::collections::BTreeMap;
use std::panic::Location;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::host::Host;
use crate::api::events::{Event, EventKind, Interest, Record};
use crate::function::registry::Registration;
use crate::job::call_site::CallSite;
use crate::job::outcome::{Failure, Outcome, failed};
use crate::local::numbers;
use crate::scheduler::{Counts, FunctionReading};
use crate::sys::PerProcess;

/// The calls of each function through the default runtime.
static REFUSED: PerProcess<Mutex<BTreeMap<&'static str, Known>>> = PerProcess::new();

/// The calls of one function.
struct Known {
    count: u64,
    /// The number of these for which there was no runtime that could have published their ends.
    unpublished: u64,
    /// The line about the first one.
    reason: String,
}

/// Consecutive calls of one function.
pub(crate) struct RefusedCalls {
    pub(crate) registration: &'static Registration,
    pub(crate) called: &'static Location<'static>,
    /// The place of the first input in its map.
    pub(crate) index: Option<u64>,
    pub(crate) count: u32,
}

impl RefusedCalls {
    /// Counts and publishes the calls, and returns their outcome. In a worker they are not counted: the program
    /// does not know of them.
    #[cold]
    pub(crate) fn end(&self, host: &Host, failure: Failure) -> Outcome {
        if !host.is_foreign() {
            self.note(host, &failure);
        }
        failed(failure)
    }

    fn note(&self, host: &Host, failure: &Failure) {
        if host.is_global() || matches!(host, Host::Nowhere(_)) {
            let refused = REFUSED.get_or_init(Mutex::default);
            let mut refused = refused.lock().unwrap_or_else(PoisonError::into_inner);
            let name = self.registration.pool().name;
            let known = refused.entry(name).or_insert_with(|| Known {
                count: 0,
                unpublished: 0,
                reason: failure.describe(None).1,
            });
            let count = u64::from(self.count);
            known.count += count;
            known.unpublished += count * u64::from(host.publisher().is_none());
        }
        let Some(publisher) = host.publisher() else {
            return;
        };
        let interest = publisher.interest();
        let number = numbers().take_calls(self.count);
        let publish = |kind| {
            let mut event = Event::new(self.registration.spec.name, kind);
            event.call = Some(number.of(event.run));
            event.input_index = self.index;
            let count = self.count;
            publisher.publish(Record { event, count });
        };
        if interest >= Interest::Everything {
            publish(EventKind::Queued);
        }
        if interest >= Interest::Failures {
            let called = CallSite::Here(self.called);
            publish(failure.finished(None, Some(&called), None, None));
        }
    }
}

/// Locks the calls; returns `None` before the first one.
fn lock() -> Option<MutexGuard<'static, BTreeMap<&'static str, Known>>> {
    Some(
        REFUSED
            .get()?
            .lock()
            .unwrap_or_else(PoisonError::into_inner),
    )
}

/// Adds the calls of a function to those that the scheduler of the default runtime knows.
pub(super) fn add_to(function: &str, counts: &mut Counts) {
    if let Some(known) = lock().as_ref().and_then(|refused| refused.get(function)) {
        add(counts, known.count);
    }
}

fn add(counts: &mut Counts, refused: u64) {
    counts.submitted += refused;
    counts.finished += refused;
    counts.failed += refused;
}

/// Adds the calls of all functions to those that the scheduler of the default runtime knows.
pub(super) fn add_to_all(readings: &mut Vec<FunctionReading>) {
    let Some(refused) = lock() else { return };
    for (name, Known { count, .. }) in &*refused {
        let known = readings.iter().position(|one| one.name == *name);
        let place = known.unwrap_or_else(|| {
            readings.push(FunctionReading {
                name,
                ..FunctionReading::default()
            });
            readings.len() - 1
        });
        add(&mut readings[place].counts, *count);
    }
}

/// Returns how many calls have ended without an event, the function of some of them, and why these have ended;
/// `None` if there were none.
pub(crate) fn unpublished() -> Option<(u64, &'static str, String)> {
    let refused = lock()?;
    let mut unpublished = refused.iter().filter(|(_, known)| known.unpublished > 0);
    let (name, Known { reason, .. }) = unpublished.next()?;
    let total = refused.values().map(|known| known.unpublished).sum();
    Some((total, name, reason.clone()))
}
