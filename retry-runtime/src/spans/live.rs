//! The spans that are open, and what the program's subscriber is told of them.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use tracing::field::Empty;
use tracing::span::{Attributes, Id, Record as Fields};
use tracing::{Dispatch, Event as Recorded, Span, dispatcher, info_span};

use super::TARGET;
use super::callsites::{self, Remote};
use super::context::{Captured, Context, Parent, Place};
use super::messages::{Batch, Message, Record as OfWorker, Values};
use super::time;
use super::tracer::{Attempts, Origin};
use crate::api::call_id::CallNumber;
use crate::api::events::{CallOutcome, Event, EventKind, Record};

/// The spans of the calls and workers of one runtime. Only the thread that gives them to the subscriber has
/// access.
pub(super) struct Live {
    calls: HashMap<CallNumber, Call>,
    workers: HashMap<u64, Worker>,
    /// The spans of attempts that run on threads of this process.
    attempts: Option<Arc<Attempts>>,
}

struct Call {
    context: Context,
    span: Span,
    attempt: Option<Span>,
}

/// The records that a worker has sent.
#[derive(Default)]
struct Worker {
    /// The callsites in the order of their numbers. `None` for an impossible one.
    callsites: Vec<Option<&'static Remote>>,
    spans: HashMap<u64, Open>,
    /// The parent of what no call has recorded.
    own: Option<Span>,
}

/// A span of a worker.
struct Open {
    /// `None` if the subscriber does not want the span.
    entered: Option<(Id, &'static Remote)>,
    dispatch: Dispatch,
    parent: u64,
    /// The call that has opened the span.
    of: Option<(CallNumber, Context)>,
}

/// The attempt that has made a record, or none that is known.
type Of = Option<(CallNumber, Context)>;

impl Live {
    pub(super) fn new(attempts: Option<Arc<Attempts>>) -> Self {
        Self {
            calls: HashMap::new(),
            workers: HashMap::new(),
            attempts,
        }
    }

    /// Opens the spans of calls that were submitted together.
    pub(super) fn begin_calls(
        &mut self,
        first: CallNumber,
        count: u32,
        function: &'static str,
        index: Option<u64>,
        context: &Context,
    ) {
        let Some(captured) = context.captured() else {
            return;
        };
        let parent = self.above(captured);
        captured.enter(|| {
            for (call, behind) in first.following(count).zip(0..) {
                let index = index.map(|index| index + behind);
                let span = info_span!(
                    target: TARGET,
                    parent: parent.clone(),
                    "call",
                    function,
                    index,
                    outcome = Empty,
                    error = Empty,
                );
                let call_of = Call {
                    context: context.clone(),
                    span,
                    attempt: None,
                };
                self.calls.insert(call, call_of);
            }
        });
    }

    /// Takes in an event of the runtime.
    pub(super) fn take_in(&mut self, record: &Record) {
        let Record { event, count } = record;
        let Some(first) = event.call.filter(|_| !self.calls.is_empty()) else {
            return;
        };
        for call in first.number.following(*count) {
            match &event.kind {
                EventKind::Started { .. } => self.begin_attempt(call, event),
                EventKind::AttemptFailed { outcome, error, .. } => {
                    self.end_attempt(call, outcome.name(), error.as_deref());
                }
                EventKind::Finished {
                    outcome, reason, ..
                } => self.end_call(call, *outcome, reason.as_deref()),
                _ => return,
            }
        }
    }

    fn begin_attempt(&mut self, id: CallNumber, event: &Event) {
        let number = event.attempt.unwrap_or(1);
        // The attempt was taken back from another worker before it had begun.
        self.end_attempt(id, "recalled", None);
        let Some(call) = self.calls.get_mut(&id) else {
            return;
        };
        let Some(captured) = call.context.captured() else {
            return;
        };
        let parent = call.span.id();
        let span = captured.enter(|| {
            info_span!(
                target: TARGET,
                parent: parent,
                "attempt",
                attempt = number,
                worker = event.worker.map(display),
                pid = event.worker_pid,
                outcome = Empty,
                error = Empty,
            )
        });
        if let Some(attempts) = &self.attempts {
            attempts.begin(id, &span);
        }
        call.attempt = Some(span);
    }

    fn end_attempt(&mut self, id: CallNumber, outcome: &str, error: Option<&str>) {
        if let Some(call) = self.calls.get_mut(&id)
            && let Some(span) = call.attempt.take()
            && let Some(captured) = call.context.captured()
        {
            captured.enter(|| {
                if let Some(attempts) = &self.attempts {
                    attempts.end(id);
                }
                end(span, outcome, error);
            });
        }
    }

    fn end_call(&mut self, id: CallNumber, outcome: CallOutcome, reason: Option<&str>) {
        self.end_attempt(id, outcome.as_str(), None);
        if let Some(call) = self.calls.remove(&id)
            && let Some(captured) = call.context.captured()
        {
            captured.enter(|| end(call.span, outcome.as_str(), reason));
        }
    }

    /// Returns the span above those of a call.
    fn above(&self, captured: &Captured) -> Option<Id> {
        match &captured.parent {
            Parent::Here(span) => span.id(),
            Parent::InWorker(Place {
                worker,
                span,
                outer,
                above,
            }) => {
                let of = Some((*outer, above.clone()));
                let worker = self.workers.get(worker);
                self.within(worker, *span, of.as_ref())
            }
        }
    }

    /// Returns the innermost open span around a record: that of its attempt, that of its call, or that of the
    /// caller.
    fn of_call(&self, (id, context): &(CallNumber, Context)) -> Option<Id> {
        if let Some(call) = self.calls.get(id) {
            let attempt = call.attempt.as_ref().and_then(Span::id);
            if let Some(id) = attempt.or_else(|| call.span.id()) {
                return Some(id);
            }
        }
        self.above(context.captured()?)
    }

    /// Returns the innermost open span around a record that has this span of the worker as its parent.
    fn within(
        &self,
        worker: Option<&Worker>,
        mut span: u64,
        of: Option<&(CallNumber, Context)>,
    ) -> Option<Id> {
        let mut outermost = None;
        while let Some(open) = worker.and_then(|worker| worker.spans.get(&span)) {
            if let Some((id, _)) = &open.entered {
                return Some(id.clone());
            }
            outermost = open.of.as_ref();
            span = open.above(span);
        }
        let of = outermost.or(of);
        match of {
            Some(of) => self.of_call(of),
            None => worker?.own.as_ref()?.id(),
        }
    }

    /// Takes in what a worker has recorded. `calls` has the call of each ticket.
    pub(super) fn take_in_batch(
        &mut self,
        origin: &Origin,
        calls: &[(u64, CallNumber, Context)],
        batch: Batch,
    ) {
        // Taken out for the time being, since the spans of calls are needed as well.
        let mut worker = self.workers.remove(&origin.worker).unwrap_or_default();
        for record in batch.records {
            let at = record.time();
            // A panic of the subscriber must not lose what is known of the worker.
            let _ = catch_unwind(AssertUnwindSafe(|| {
                time::recorded(at, || {
                    self.take_in_record(origin, calls, &mut worker, record)
                });
            }));
        }
        self.workers.insert(origin.worker, worker);
    }

    fn take_in_record(
        &self,
        origin: &Origin,
        calls: &[(u64, CallNumber, Context)],
        worker: &mut Worker,
        record: OfWorker,
    ) {
        let of = |ticket: u64| -> Of {
            let found = calls.iter().find(|(known, ..)| *known == ticket);
            found.map(|(_, id, context)| (*id, context.clone()))
        };
        match record.message {
            Message::Callsite(callsite) => worker.callsites.push(callsites::find(callsite)),
            Message::Open {
                span,
                parent,
                ticket,
                callsite,
                values,
            } => {
                // Zero stands for no span.
                let Some(callsite) = worker.callsite(callsite).filter(|_| span != 0) else {
                    return;
                };
                let of = of(ticket).or_else(|| worker.of_span(parent));
                let dispatch = worker.dispatch(origin, of.as_ref());
                let within = self.within(Some(worker), parent, of.as_ref());
                let entered = dispatcher::with_default(&dispatch, || {
                    let _around = worker.enter(parent, &dispatch);
                    open(callsite, &dispatch, within, &values).map(|id| (id, callsite))
                });
                let open = Open {
                    entered,
                    dispatch,
                    parent,
                    of,
                };
                if let Some(known) = worker.spans.insert(span, open) {
                    known.close();
                }
            }
            Message::Set { span, values } => {
                if let Some(open) = worker.spans.get(&span)
                    && let Some((id, callsite)) = &open.entered
                {
                    dispatcher::with_default(&open.dispatch, || {
                        callsite.with_values(&values, |values| {
                            open.dispatch.record(id, &Fields::new(values));
                        });
                    });
                }
            }
            Message::Close { span } => {
                if let Some(open) = worker.spans.remove(&span) {
                    open.close();
                }
            }
            Message::Event {
                parent,
                ticket,
                callsite,
                values,
            } => {
                let Some(callsite) = worker.callsite(callsite) else {
                    return;
                };
                let of = of(ticket).or_else(|| worker.of_span(parent));
                let dispatch = worker.dispatch(origin, of.as_ref());
                let within = self.within(Some(worker), parent, of.as_ref());
                dispatcher::with_default(&dispatch, || {
                    let _around = worker.enter(parent, &dispatch);
                    emit(callsite, &dispatch, within, &values);
                });
            }
        }
    }

    /// Closes the spans of a worker that has ended.
    pub(super) fn end_worker(&mut self, worker: u64) {
        if let Some(worker) = self.workers.remove(&worker) {
            let mut spans: Vec<_> = worker.spans.into_iter().collect();
            // The inner ones first.
            spans.sort_unstable_by_key(|(number, _)| std::cmp::Reverse(*number));
            for (_, open) in spans {
                open.close();
            }
        }
    }
}

impl Worker {
    fn callsite(&self, number: u32) -> Option<&'static Remote> {
        let place = usize::try_from(number).ok()?.checked_sub(1)?;
        *self.callsites.get(place)?
    }

    /// Enters a span of the worker and those around it, as the worker has. A filter with a level for the
    /// inside of a span depends on that.
    fn enter<'a>(&'a self, mut span: u64, dispatch: &'a Dispatch) -> Around<'a> {
        let mut spans = Vec::new();
        while let Some(open) = self.spans.get(&span) {
            spans.extend(open.entered.as_ref().map(|(id, _)| id));
            span = open.above(span);
        }
        for id in spans.iter().rev() {
            dispatch.enter(id);
        }
        Around { spans, dispatch }
    }

    fn of_span(&self, span: u64) -> Of {
        self.spans.get(&span)?.of.clone()
    }

    /// Returns the subscriber for a record. A record of no call gets a span that tells which worker it is
    /// from.
    fn dispatch(&mut self, origin: &Origin, of: Option<&(CallNumber, Context)>) -> Dispatch {
        if let Some(captured) = of.and_then(|(_, context)| context.captured()) {
            return captured.dispatch.clone();
        }
        self.own.get_or_insert_with(|| {
            info_span!(
                target: TARGET,
                parent: None,
                "worker",
                function = origin.function,
                worker = display(format_args!("w{}", origin.worker)),
                pid = origin.pid,
            )
        });
        dispatcher::get_default(Dispatch::clone)
    }
}

/// Spans that this thread is in, from the innermost on.
struct Around<'a> {
    spans: Vec<&'a Id>,
    dispatch: &'a Dispatch,
}

impl Drop for Around<'_> {
    fn drop(&mut self) {
        for id in &self.spans {
            self.dispatch.exit(id);
        }
    }
}

impl Open {
    /// Returns the number of the parent; 0 for none.
    fn above(&self, own: u64) -> u64 {
        // A parent is older than its children, so a search upwards ends.
        if self.parent < own { self.parent } else { 0 }
    }

    fn close(self) {
        if let Some((id, _)) = self.entered {
            dispatcher::with_default(&self.dispatch, || self.dispatch.try_close(id));
        }
    }
}

/// Opens a span of a worker, if the subscriber wants it.
fn open(
    callsite: &'static Remote,
    dispatch: &Dispatch,
    parent: Option<Id>,
    values: &Values,
) -> Option<Id> {
    if !callsite.is_enabled(dispatch) {
        return None;
    }
    let metadata = callsite.metadata();
    Some(callsite.with_values(values, |values| {
        let attributes = match parent {
            Some(parent) => Attributes::child_of(parent, metadata, values),
            None => Attributes::new_root(metadata, values),
        };
        dispatch.new_span(&attributes)
    }))
}

/// Gives the subscriber an event of a worker, if it wants the event.
fn emit(callsite: &'static Remote, dispatch: &Dispatch, parent: Option<Id>, values: &Values) {
    if callsite.is_enabled(dispatch) {
        let metadata = callsite.metadata();
        callsite.with_values(values, |values| {
            dispatch.event(&Recorded::new_child_of(parent, metadata, values));
        });
    }
}

/// Records how a call or an attempt has ended, and closes its span.
fn end(span: Span, outcome: &str, error: Option<&str>) {
    span.record("outcome", outcome);
    if let Some(error) = error {
        span.record("error", error);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};

    use tracing_subscriber::layer::{Context as LayerContext, Layer, SubscriberExt};

    use super::super::messages::{Callsite, FIELDS, Value};
    use super::*;

    /// Counts the spans that are open.
    struct Count(Arc<AtomicI64>);

    impl<S: tracing::Subscriber> Layer<S> for Count {
        fn on_new_span(&self, _: &Attributes<'_>, _: &Id, _: LayerContext<'_, S>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }

        fn on_close(&self, _: Id, _: LayerContext<'_, S>) {
            self.0.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn callsite(random: &mut fastrand::Rng) -> Callsite {
        let fields = 0..random.usize(0..=FIELDS + 1);
        Callsite {
            is_span: random.bool(),
            level: random.u8(0..7),
            name: format!("name{}", random.u8(0..3)),
            target: "target".to_owned(),
            module: None,
            file: None,
            line: None,
            fields: fields.map(|number| format!("f{number}")).collect(),
        }
    }

    fn values(random: &mut fastrand::Rng) -> Values {
        let value = |random: &mut fastrand::Rng| match random.u8(0..4) {
            0 => Value::U64(random.u64(..)),
            1 => Value::Shown("shown".to_owned()),
            2 => Value::Error(Vec::new()),
            _ => Value::Error(vec!["outer".to_owned(), "inner".to_owned()]),
        };
        (0..random.usize(0..FIELDS + 8))
            .map(|_| (random.u8(..), value(random)))
            .collect()
    }

    fn message(random: &mut fastrand::Rng) -> Message {
        let [span, parent, ticket] = [0; 3].map(|_: u8| random.u64(0..6));
        match random.u8(0..6) {
            0 => Message::Callsite(callsite(random)),
            1 | 2 => Message::Open {
                span,
                parent,
                ticket,
                callsite: random.u32(0..6),
                values: values(random),
            },
            3 => Message::Set {
                span,
                values: values(random),
            },
            4 => Message::Close { span },
            _ => Message::Event {
                parent,
                ticket,
                callsite: random.u32(0..6),
                values: values(random),
            },
        }
    }

    #[test]
    fn records_of_a_corrupt_worker_do_no_harm() {
        let seed = fastrand::u64(..);
        println!("seed {seed}");
        let mut random = fastrand::Rng::with_seed(seed);
        let open = Arc::new(AtomicI64::new(0));
        let subscriber = tracing_subscriber::registry().with(Count(Arc::clone(&open)));
        dispatcher::with_default(&Dispatch::new(subscriber), || {
            let origin = Origin {
                worker: 1,
                pid: 2,
                function: "f",
            };
            for _ in 0..200 {
                let mut live = Live::new(None);
                let contexts = [CallNumber(1), CallNumber(2)];
                for id in contexts {
                    live.begin_calls(id, 1, "f", None, &Context::current());
                }
                let calls = contexts.map(|id| (id.0, id, Context::current()));
                let mut worker = Worker::default();
                for _ in 0..100 {
                    let mut batch = Batch::default();
                    batch.push(message(&mut random));
                    let record = batch.records.remove(0);
                    live.take_in_record(&origin, &calls, &mut worker, record);
                }
                live.workers.insert(1, worker);
                live.end_worker(1);
                for id in contexts {
                    live.end_call(id, CallOutcome::Lost, None);
                }
                assert_eq!(open.load(Ordering::Relaxed), 0);
            }
        });
    }
}
