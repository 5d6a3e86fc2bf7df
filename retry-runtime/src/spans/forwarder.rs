//! The subscriber of a worker, which sends what it records to the parent.
//!
//! An event is sent at once, as an unbuffered log line would be, so that a crash right after it does not lose
//! it. Spans that open and close are sent together with the next event, before the next answer, or a
//! [moment](DELAY) later.

use std::collections::HashMap;
use std::env;
use std::mem::take;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id};
use tracing::subscriber::Interest;
use tracing::{Dispatch, Event, Metadata, Span, Subscriber, callsite, dispatcher, span};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::{LookupSpan, SpanRef};
use tracing_subscriber::{EnvFilter, Registry};

use super::messages::{Batch, Callsite, Collector, Message, level, level_number};
use crate::sys::Mark;

/// The longest time that records of spans wait to be sent.
const DELAY: Duration = Duration::from_millis(1);

/// The size in bytes from which on records wait no longer.
const FULL: usize = 32 * 1024;

/// The variable whose directives decide what a worker records.
const FILTER: &str = "RUST_LOG";

/// The callbacks of the worker.
pub(crate) struct Hooks {
    /// Sends records to the parent.
    pub(crate) send: fn(Batch),
    /// Returns the ticket that this thread executes, or zero if that is not known.
    pub(crate) ticket: Box<dyn Fn() -> u64 + Send + Sync>,
}

/// Set in worker processes.
static FORWARDER: OnceLock<Forwarder> = OnceLock::new();

/// The number of the most verbose level that the program has recorded so far.
static LEVEL: AtomicU8 = AtomicU8::new(0);

/// Set while records wait to be sent.
static WAITING: AtomicBool = AtomicBool::new(false);

struct Forwarder {
    hooks: Hooks,
    buffer: Mutex<Buffer>,
    /// Signalled when records of spans begin to wait.
    filled: Condvar,
    next_span: AtomicU64,
    dispatch: OnceLock<Dispatch>,
    /// Identifies the worker's process.
    mark: Mark,
}

#[derive(Default)]
struct Buffer {
    batch: Batch,
    size: usize,
    /// The numbers of the callsites that the parent knows, by the addresses of their metadata.
    callsites: HashMap<usize, u32>,
    /// Set once there is a thread that sends records after a moment.
    has_thread: bool,
}

/// Prepares a worker whose program records up to this level.
pub(crate) fn prepare(hooks: Hooks, level: u8) {
    LEVEL.store(level, Ordering::Relaxed);
    let _ = FORWARDER.set(Forwarder {
        hooks,
        buffer: Mutex::default(),
        filled: Condvar::new(),
        next_span: AtomicU64::new(1),
        dispatch: OnceLock::new(),
        mark: Mark::current(),
    });
}

/// Runs the set-up of a worker, which may install a global subscriber of its own.
pub(crate) fn during_set_up<R>(set_up: impl FnOnce() -> R) -> R {
    match FORWARDER.get() {
        Some(forwarder) if LEVEL.load(Ordering::Relaxed) > 0 && !dispatcher::has_been_set() => {
            dispatcher::with_default(forwarder.dispatch(), set_up)
        }
        _ => set_up(),
    }
}

/// Installs the subscriber of a worker that is set up, unless the user has installed one or the program has
/// none.
pub(crate) fn install() {
    if let Some(forwarder) = FORWARDER.get()
        && LEVEL.load(Ordering::Relaxed) > 0
    {
        // Fails if there is one of the user's, which then gets everything.
        let _ = dispatcher::set_global_default(forwarder.dispatch().clone());
    }
}

/// Notes the level up to which the caller of a call records. A worker that was started before the program had
/// a subscriber begins to record here.
#[inline]
pub(crate) fn raise(level: u8) {
    if level > LEVEL.load(Ordering::Relaxed) {
        raise_to(level);
    }
}

#[cold]
fn raise_to(level: u8) {
    let before = LEVEL.swap(level, Ordering::Relaxed);
    if before == 0 {
        install();
    } else {
        callsite::rebuild_interest_cache();
    }
}

/// Sends the records that wait, if there are any.
#[inline]
pub(crate) fn flush() {
    if WAITING.load(Ordering::Relaxed) {
        flush_waiting();
    }
}

#[cold]
fn flush_waiting() {
    if let Some(forwarder) = FORWARDER.get()
        && forwarder.mark.is_current()
    {
        forwarder.send(&mut forwarder.lock());
    }
}

/// Returns the number under which a span is sent; 0 if it is not.
pub(super) fn number(span: &Span) -> u64 {
    let number = span.with_subscriber(|(id, dispatch)| {
        let registry = dispatch.downcast_ref::<Registry>()?;
        Some(Sent::of(&registry.span(id)?).span)
    });
    number.flatten().unwrap_or(0)
}

impl Forwarder {
    fn lock(&self) -> MutexGuard<'_, Buffer> {
        self.buffer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn dispatch(&self) -> &Dispatch {
        self.dispatch.get_or_init(|| {
            // The program reports directives that are invalid. Here nothing is filtered then.
            let directives = env::var(FILTER).ok().filter(|text| !text.is_empty());
            let filter = directives.and_then(|text| EnvFilter::try_new(text).ok());
            Dispatch::new(Registry::default().with(filter).with(Forward))
        })
    }

    /// Adds records of a span, or an event, which is sent at once. Does nothing in a forked child, whose
    /// copies of the locks may be held for ever.
    fn push(&'static self, is_event: bool, message: impl FnOnce(&mut Buffer) -> Message) {
        if !self.mark.is_current() {
            return;
        }
        let mut buffer = self.lock();
        let was_empty = buffer.batch.records.is_empty();
        let message = message(&mut buffer);
        buffer.size += message.size() + size_of::<Message>();
        buffer.batch.push(message);
        if is_event || buffer.size > FULL {
            return self.send(&mut buffer);
        }
        WAITING.store(true, Ordering::Relaxed);
        if !buffer.has_thread {
            let thread = std::thread::Builder::new().name("retry-tracing".to_owned());
            buffer.has_thread = thread.spawn(|| self.send_waiting()).is_ok();
        } else if was_empty {
            self.filled.notify_one();
        }
    }

    /// Sends all records. Called with the lock, so that they stay in order.
    fn send(&self, buffer: &mut Buffer) {
        buffer.size = 0;
        let batch = take(&mut buffer.batch);
        if !batch.records.is_empty() {
            (self.hooks.send)(batch);
        }
        // Last, so that an answer does not overtake records that another thread is sending.
        WAITING.store(false, Ordering::Relaxed);
    }

    /// Sends records that have waited for a moment, as long as the process lives.
    fn send_waiting(&self) {
        let mut buffer = self.lock();
        loop {
            while buffer.batch.records.is_empty() {
                buffer = self
                    .filled
                    .wait(buffer)
                    .unwrap_or_else(PoisonError::into_inner);
            }
            drop(buffer);
            std::thread::sleep(DELAY);
            buffer = self.lock();
            self.send(&mut buffer);
        }
    }
}

impl Buffer {
    /// Returns the number of a callsite, and tells the parent of it at first.
    fn callsite(&mut self, metadata: &'static Metadata<'static>) -> u32 {
        let address = std::ptr::from_ref(metadata).addr();
        if let Some(number) = self.callsites.get(&address) {
            return *number;
        }
        let number = u32::try_from(self.callsites.len() + 1).unwrap_or(u32::MAX);
        self.callsites.insert(address, number);
        self.batch.push(Message::Callsite(Callsite::of(metadata)));
        number
    }
}

/// Facts about a span that the parent has been told of.
#[derive(Clone, Copy, Default)]
struct Sent {
    span: u64,
    ticket: u64,
}

impl Sent {
    fn of<'a, R: LookupSpan<'a>>(span: &SpanRef<'a, R>) -> Self {
        span.extensions().get().copied().unwrap_or_default()
    }
}

/// Returns the number of the parent and the ticket of a span or an event in this span.
fn within<'a, R: LookupSpan<'a>>(forwarder: &Forwarder, span: Option<SpanRef<'a, R>>) -> Sent {
    let mut sent = span.as_ref().map(Sent::of).unwrap_or_default();
    // A span of the set-up may be around calls.
    if sent.ticket == 0 {
        sent.ticket = (forwarder.hooks.ticket)();
    }
    sent
}

/// Sends what is recorded.
struct Forward;

impl Forward {
    fn wants(metadata: &Metadata<'_>) -> bool {
        level_number(*metadata.level()) <= LEVEL.load(Ordering::Relaxed)
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Forward {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if Self::wants(metadata) {
            Interest::always()
        } else {
            Interest::never()
        }
    }

    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        Self::wants(metadata)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        let level = level(LEVEL.load(Ordering::Relaxed));
        Some(level.map_or(LevelFilter::OFF, LevelFilter::from_level))
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some((forwarder, new)) = FORWARDER.get().zip(context.span(id)) else {
            return;
        };
        let Sent {
            span: parent,
            ticket,
        } = within(forwarder, new.parent());
        let span = forwarder.next_span.fetch_add(1, Ordering::Relaxed);
        new.extensions_mut().insert(Sent { span, ticket });
        let values = Collector::collect(|collector| attributes.record(collector));
        let metadata = attributes.metadata();
        forwarder.push(false, |buffer| Message::Open {
            span,
            parent,
            ticket,
            callsite: buffer.callsite(metadata),
            values,
        });
    }

    fn on_record(&self, id: &Id, record: &span::Record<'_>, context: Context<'_, S>) {
        if let Some((forwarder, span)) = FORWARDER.get().zip(context.span(id)) {
            let Sent { span, .. } = Sent::of(&span);
            let values = Collector::collect(|collector| record.record(collector));
            forwarder.push(false, |_| Message::Set { span, values });
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let Some(forwarder) = FORWARDER.get() else {
            return;
        };
        let Sent {
            span: parent,
            ticket,
        } = within(forwarder, context.event_span(event));
        let values = Collector::collect(|collector| event.record(collector));
        let metadata = event.metadata();
        forwarder.push(true, |buffer| Message::Event {
            parent,
            ticket,
            callsite: buffer.callsite(metadata),
            values,
        });
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        if let Some((forwarder, span)) = FORWARDER.get().zip(context.span(&id)) {
            let Sent { span, .. } = Sent::of(&span);
            forwarder.push(false, |_| Message::Close { span });
        }
    }
}
