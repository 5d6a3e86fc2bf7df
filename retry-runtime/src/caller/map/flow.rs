//! The part of a running map that does not depend on its types, and so is compiled once.

mod chunk;

use std::any::Any;
use std::collections::VecDeque;
use std::fmt;
use std::ops::RangeInclusive;
use std::panic::Location;
use std::sync::{Arc, Weak};
use std::task;
use std::time::{Duration, Instant};

use crate::api::call_id::CallNumber;
use crate::api::failure::{Lost, Rejected, Startup};
use crate::api::options::Options;
use crate::caller::host::Host;
use crate::caller::refused::RefusedCalls;
use crate::caller::underway::{self, Activity, Underway};
use crate::checkpoint::{Run, Stored};
use crate::codec::buffers::BufferPool;
use crate::codec::payload::{Packed, Payload};
use crate::function::callee::Callee;
use crate::function::registry::Registration;
use crate::function::service_config::ServiceConfig;
use crate::job::Job;
use crate::job::budget::Budget;
use crate::job::call_site::CallSite;
use crate::job::delivery::Deliver;
use crate::job::outcome::{Failure, Outcome, failed};
use crate::local::{LocalEngine, PollIntent, Submitted, WaitTarget};
use crate::scheduler::FunctionKey;
use crate::shared::Objects;
use crate::spans;
use crate::wait::Waiter;
use crate::wait::spin::Spin;

use super::Settings;
use super::arrivals::{SharedArrivals, size_of_result};
use super::left::Left;
use chunk::CHUNK_BYTES;

/// Least number of inputs that are taken ahead of the consumer, unless the map sets its own window.
const WINDOW: usize = 1024;

/// Most inputs that are taken ahead of the consumer.
const LARGEST_WINDOW: usize = 64 * 1024;

/// Size of the window as a multiple of the inputs that workers are given ahead of time: the rest is for
/// inputs that are done and wait for the consumer.
const WINDOWS: usize = 2;

/// Bytes of inputs that may be outstanding before no further ones are taken, however large the window is. The
/// lower bound is the default; the limit rises up to the upper bound if the workers need as many to stay
/// busy. Reusing memory is faster than touching more of it.
const WINDOW_BYTES: RangeInclusive<usize> = 8 * 1024 * 1024..=64 * 1024 * 1024;

/// Inputs, or chunks of small ones, that keep a worker busy: one that it works on, one that is in transit, and one that is
/// done and waits for the consumer. With more of them their memory would leave the cache.
const BUSY: usize = 3;

/// Bytes of memory for inputs that are kept for further ones.
const BUFFERS: usize = 8 * 1024 * 1024;

/// Pause after a failed start before another one is tried. It doubles with each further failure, up to the
/// longest.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Submits inputs, and takes their outcomes in.
pub(super) struct Flow {
    pub(super) host: Host,
    /// The line of the program that made the map.
    called: &'static Location<'static>,
    spans: spans::Context,
    config: Option<ServiceConfig>,
    budget: Option<Arc<Budget>>,
    pub(super) registration: &'static Registration,
    options: Options,
    /// False once the iterator has ended.
    pub(super) has_inputs: bool,
    /// The number of inputs in all, if the iterator knew it at the start.
    total: Option<u64>,
    window: usize,
    /// `true` if the window adapts to throughput.
    adapts: bool,
    ordered: bool,
    shared: Arc<SharedArrivals>,
    arrived: VecDeque<(u64, Outcome)>,
    /// The values that are left of a packed payload, with the index and the call id of the next one.
    values: Option<(u64, CallNumber, Packed)>,
    next_index: u64,
    /// The inputs that were taken and not handed out. Kept only if each item needs its index and the order
    /// does not determine it.
    left: Option<Left>,
    /// Number of inputs that were taken and whose results were not handed out.
    pending: usize,
    /// Number of those whose results have not arrived.
    outstanding: usize,
    outstanding_bytes: usize,
    /// Limit on `outstanding_bytes`.
    window_bytes: usize,
    /// Size of the last chunk: the next one will be about as large.
    chunk_bytes: usize,
    /// A panic of the input iterator, to be resumed after all earlier results are handed out.
    pub(super) panic: Option<Box<dyn Any + Send>>,
    /// The latest failed start: further inputs share it instead of trying to start workers again.
    startup: Option<ReportedStart>,
    /// Bytes of results that were handed out and still count as buffered, and how many of them are worth
    /// taking the lock for.
    consumed: usize,
    worth_telling: usize,
    /// The function whose answers a waiting thread polls for.
    function: Option<FunctionKey>,
    /// The state of the map for those who watch, if maps are watched.
    underway: Option<Arc<Underway>>,
    /// The results that are kept in a file, or why they cannot be.
    checkpoint: Option<Result<Box<Run>, Rejected>>,
    /// The memory of inputs, which is used again.
    buffers: Arc<BufferPool>,
}

/// A result that has arrived.
pub(super) enum Arrived {
    /// The outcome of the input with this index.
    Outcome(u64, Outcome),
    /// The values of several inputs, which are packed.
    Packed,
}

/// The next step of the consumer, after outcomes were taken in.
pub(super) enum Next {
    HandOut,
    Feed,
    End,
    Wait,
}

/// A failed start of a worker that the map has reported.
struct ReportedStart {
    startup: Startup,
    /// Until then, further inputs share the failure.
    until: Instant,
    pause: Duration,
}

impl Flow {
    /// Begins a map. `inputs` is the size hint of its iterator; `indexed` is set if each item needs its index.
    pub(super) fn new(settings: Settings, inputs: (usize, Option<usize>), indexed: bool) -> Self {
        let most_buffered = settings
            .max_buffered
            .unwrap_or_else(|| settings.host.max_buffered());
        let shared = SharedArrivals::new(settings.host.clone(), settings.ordered, most_buffered);
        let function = settings.registration.pool().name;
        let total = underway::known_length(inputs);
        let underway = if settings.host.is_global() {
            underway::begin(function, total, || settings.host.counts(function))
        } else {
            None
        };
        let checkpoint = open_checkpoint(&settings, total);
        let shared = Arc::new(shared);
        if let Some(Ok(run)) = &checkpoint {
            let map = Arc::downgrade(&shared) as Weak<dyn Stored>;
            shared.lock().recorder = run.recorder(map);
        }
        Self {
            host: settings.host,
            called: settings.called,
            spans: settings.spans,
            config: settings.config,
            budget: settings.budget.map(|ratio| Arc::new(Budget::new(ratio))),
            registration: settings.registration,
            options: settings.options,
            has_inputs: true,
            total,
            window: settings.window.unwrap_or(WINDOW),
            adapts: settings.window.is_none(),
            ordered: settings.ordered,
            shared,
            arrived: VecDeque::new(),
            values: None,
            next_index: 0,
            left: (indexed && !settings.ordered).then(Left::default),
            pending: 0,
            outstanding: 0,
            outstanding_bytes: 0,
            window_bytes: *WINDOW_BYTES.start(),
            chunk_bytes: 0,
            panic: None,
            startup: None,
            consumed: 0,
            worth_telling: most_buffered / 16,
            function: None,
            underway,
            checkpoint,
            buffers: BufferPool::new(BUFFERS, || {}),
        }
    }

    /// Returns whether the workers have so little to do that inputs are taken before the next result is handed out.
    /// Inputs are submitted by the chunk: a submission for each result would cost a lock, a system call and a wake-up
    /// each.
    #[inline]
    pub(super) fn wants_inputs(&self) -> bool {
        let room = self.window.saturating_sub(self.pending);
        self.has_inputs && self.outstanding < self.window / 2 && room >= self.chunk()
    }

    /// Returns whether packed values are left.
    #[inline]
    pub(super) fn has_packed(&self) -> bool {
        // None may be left of some whose decoding has panicked.
        let values = self.values.as_ref();
        values.is_some_and(|(.., values)| values.len() > 0)
    }

    /// Takes the next result that has arrived, if no packed values are left.
    pub(super) fn next_arrived(&mut self) -> Option<Arrived> {
        let (index, mut outcome) = self.arrived.pop_front()?;
        self.consumed += size_of_result(&outcome);
        if self.consumed > self.worth_telling && !self.host.is_foreign() {
            self.tell_consumed();
        }
        match outcome.result {
            Ok(Payload::Several(values)) => {
                self.startup = None;
                self.values = Some((index, outcome.call, values));
                Some(Arrived::Packed)
            }
            result => {
                outcome.result = result;
                self.pending -= 1;
                self.note_start(&outcome);
                Some(Arrived::Outcome(index, outcome))
            }
        }
    }

    /// Reads the next packed value. Returns the index of its input and its call as well.
    #[inline]
    pub(super) fn next_packed<R>(
        &mut self,
        read: impl FnOnce(&mut Packed) -> Option<R>,
    ) -> Option<(u64, CallNumber, R)> {
        let (index, call, values) = self.values.as_mut()?;
        self.pending -= 1;
        let (this, which) = (*index, *call);
        *index += 1;
        call.0 += 1;
        // Decoding may panic; the panic then stands for this result.
        let value = read(values)?;
        if values.len() == 0 {
            self.values = None;
        }
        Some((this, which, value))
    }

    /// Marks an input as handed out.
    #[inline]
    pub(super) fn mark_handed_out(&mut self, index: u64) {
        if let Some(left) = &mut self.left {
            left.remove(index);
        }
    }

    /// Takes in the outcomes that have arrived. `has_room` is set if further inputs may be taken.
    pub(super) fn take_in(&mut self, context: &mut task::Context<'_>, has_room: bool) -> Next {
        let mut arrivals = self.shared.lock();
        self.outstanding -= std::mem::take(&mut arrivals.returned);
        self.outstanding_bytes -= std::mem::take(&mut arrivals.returned_bytes);
        // Everything that had arrived before has been handed out.
        std::mem::swap(&mut self.arrived, &mut arrivals.ready);
        if !self.arrived.is_empty() {
            // Hand it out even if there is room for more inputs, because the iterator may be slow.
            return Next::HandOut;
        }
        if has_room {
            return Next::Feed;
        }
        if self.pending == 0 {
            self.underway = None;
            let recorder = arrivals.recorder.take();
            drop(arrivals);
            drop(recorder);
            self.close_checkpoint();
            return Next::End;
        }
        arrivals.waker = Some(context.waker().clone());
        let lets_go = arrivals.mark_consumed(std::mem::take(&mut self.consumed));
        let is_held = arrivals.held;
        drop(arrivals);
        if let Some(Ok(run)) = &mut self.checkpoint {
            run.release_snapshot();
        }
        if lets_go || is_held {
            // The input that the consumer waits for may have changed.
            self.shared.hold();
        }
        Next::Wait
    }

    /// Records whether the consumer was given a result or waits for one, for those who watch.
    pub(super) fn note_polled(&self, is_ready: bool) {
        let Some(underway) = &self.underway else {
            return;
        };
        if is_ready {
            return underway.set_activity(Activity::Consuming);
        }
        underway.set_activity(Activity::Waiting);
        if self.ordered {
            underway.set_next(self.next_index - self.pending as u64);
        }
    }

    /// Subtracts results that were handed out from the count of buffered bytes.
    fn tell_consumed(&mut self) {
        let consumed = std::mem::take(&mut self.consumed);
        if self.shared.lock().mark_consumed(consumed) {
            self.shared.hold();
        }
    }

    /// Returns the outcome of the next input in a child that was forked from the process that owns this map, with its
    /// index if that is known; `None` if there is no input. Takes no lock of the parent's.
    #[cold]
    pub(super) fn next_in_fork(
        &mut self,
        has_input: &mut dyn FnMut(&mut Self) -> bool,
    ) -> Option<(Option<u64>, Outcome)> {
        let failure = if self.pending > 0 {
            Failure::Lost(Lost::Forked)
        } else if has_input(self) {
            self.take(1);
            Failure::Rejected(Rejected::Forked)
        } else {
            return None;
        };
        // In a map that does not keep the order, the remaining inputs are known only if `left` records them.
        let index = match &mut self.left {
            Some(left) => left.take_first(),
            None => self.ordered.then(|| self.next_index - self.pending as u64),
        };
        self.pending -= 1;
        Some((index, failed(failure)))
    }

    /// Polls for answers until the thread is woken, `until` is reached or `spin` gives up.
    pub(super) fn park(&mut self, until: Option<Instant>, waiter: &dyn Waiter, spin: &mut Spin) {
        let target = self.function.map_or(WaitTarget::To(None), WaitTarget::Of);
        self.host.poll_until(target, until, waiter, spin);
    }

    /// Records what the consumer does, for those who watch.
    #[inline]
    fn note_activity(&self, activity: Activity) {
        if let Some(underway) = &self.underway {
            underway.set_activity(activity);
        }
    }

    /// Prints how many results were kept, now that all inputs were taken, unless that was known before.
    fn tell_kept(&mut self) {
        if let Some(Ok(run)) = &mut self.checkpoint
            && let Some(line) = run.tell(Some(self.next_index))
        {
            LocalEngine::say(&line);
        }
    }

    /// Returns the outcome of inputs that are not submitted.
    fn end_refused(&self, index: Option<u64>, count: u32, failure: Failure) -> Outcome {
        let refused = RefusedCalls {
            registration: self.registration,
            called: self.called,
            index,
            count,
        };
        refused.end(&self.host, failure)
    }

    /// Records whether a start failed, according to the outcome of an input.
    fn note_start(&mut self, outcome: &Outcome) {
        match &outcome.result {
            Err(Failure::Startup(startup)) => {
                let now = Instant::now();
                let pause = match &self.startup {
                    Some(known) if now < known.until => return,
                    Some(known) => (2 * known.pause).min(LONGEST_PAUSE),
                    None => FIRST_PAUSE,
                };
                self.startup = Some(ReportedStart {
                    startup: startup.clone(),
                    until: now + pause,
                    pause,
                });
            }
            Ok(_) => self.startup = None,
            Err(_) => {}
        }
    }

    /// Returns why the function's workers fail to start, if that was found out recently and no worker has
    /// become ready since: then the start is not tried again for each further input.
    fn recent_start_failure(&self) -> Option<Startup> {
        let known = self.startup.as_ref()?;
        let is_recent = Instant::now() < known.until;
        let is_served = self
            .function
            .is_some_and(|function| self.host.is_served(function));
        (is_recent && !is_served).then(|| known.startup.clone())
    }

    /// Counts inputs that were taken. Returns the index of the first one.
    fn take(&mut self, count: u32) -> Option<u64> {
        let first = self.next_index;
        self.next_index += u64::from(count);
        if let Some(left) = &mut self.left {
            left.push(first..self.next_index);
        }
        self.pending += count as usize;
        self.outstanding += count as usize;
        Some(first)
    }

    /// Returns how many inputs are still to be taken, if that is known.
    fn to_come(&self) -> Option<u64> {
        match self.has_inputs {
            false => Some(0),
            true => Some(self.total?.saturating_sub(self.next_index)),
        }
    }

    pub(super) fn end_inputs(&mut self) {
        self.has_inputs = false;
        if let Some(underway) = &self.underway {
            underway.end_inputs();
        }
    }

    fn submit(&mut self, inputs: Payload, objects: Objects) {
        let index = self.take(inputs.count());
        let size = inputs.size() + objects.weight();
        self.outstanding_bytes += size;
        if let Some(underway) = &self.underway {
            underway.subtract(inputs.count());
        }
        if self.host.is_foreign() {
            return;
        }
        if let Some(startup) = self.recent_start_failure() {
            let outcome = self.end_refused(index, inputs.count(), Failure::Startup(startup));
            return self
                .shared
                .delivery()
                .put(index, &inputs, &objects, outcome);
        }
        let options = self.options.over(self.host.options());
        let callee = Callee {
            registration: self.registration,
            config: self.config.clone(),
            policy: options.policy(self.registration.spec),
            budget: self.budget.clone(),
            called: Some(CallSite::Here(self.called)),
            longest_delay: None,
            is_detached: false,
            to_come: self.to_come(),
        };
        let given = objects.clone();
        // The call may start workers of its service.
        let objects = match &self.config {
            Some(config) => objects.and(config.objects()),
            None => objects,
        };
        let job = Job {
            target: Arc::clone(&self.shared) as Arc<dyn Deliver>,
            number: 0,
            index,
            input: inputs.clone(),
            objects,
            caller: self.shared.caller,
            method: self.registration.place(),
            spans: self.spans.clone(),
        };
        match self.host.submit(&callee, job, PollIntent::No) {
            Ok((_, Some(submitted))) => {
                let Submitted {
                    function,
                    ahead,
                    most_workers,
                    ..
                } = submitted;
                self.function = function;
                let each = CHUNK_BYTES.max(size / inputs.count() as usize);
                let busy = most_workers.saturating_mul(each);
                let ahead_bytes = busy.saturating_mul(BUSY);
                let most = *WINDOW_BYTES.end().max(&busy);
                self.window_bytes = ahead_bytes.clamp(*WINDOW_BYTES.start(), most);
                if self.adapts {
                    self.window = (WINDOWS * ahead).clamp(WINDOW, LARGEST_WINDOW);
                }
            }
            Ok((_, None)) => {}
            Err(reason) => {
                let outcome = self.end_refused(index, inputs.count(), Failure::Rejected(reason));
                let mut delivery = self.shared.delivery();
                delivery.put(index, &inputs, &given, outcome);
            }
        }
    }

    /// Cancels all outstanding inputs.
    pub(super) fn cancel(&mut self) {
        self.has_inputs = false;
        self.underway = None;
        if self.host.is_foreign() {
            self.pending = 0;
            self.arrived.clear();
            self.values = None;
            // The locks of its database may be held for ever.
            std::mem::forget(self.checkpoint.take());
            return;
        }
        let mut arrivals = self.shared.lock();
        let outstanding = self.outstanding - std::mem::take(&mut arrivals.returned);
        arrivals.closed = true;
        let was_held = std::mem::take(&mut arrivals.held);
        let early = arrivals.early.as_mut().map(std::mem::take);
        let ready = std::mem::take(&mut arrivals.ready);
        let recorder = arrivals.recorder.take();
        drop(arrivals);
        drop((early, ready, recorder));
        if was_held {
            self.shared.hold();
        }
        self.pending = 0;
        self.outstanding = 0;
        self.arrived.clear();
        self.values = None;
        if outstanding > 0 {
            let target: Arc<dyn Deliver> = Arc::clone(&self.shared) as _;
            self.host.cancel_all(&target);
        }
        self.close_checkpoint();
    }

    /// Waits until the results are on disk, and says why some of them are not.
    fn close_checkpoint(&mut self) {
        if let Some(Ok(run)) = self.checkpoint.take()
            && let Some(failure) = run.close()
        {
            LocalEngine::say(&failure);
        }
    }

    /// Describes the map for `Debug`, under the name of a type.
    pub(super) fn describe(&self, name: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct(name)
            .field("function", &self.registration.spec.name)
            .field("taken", &self.next_index)
            .field("pending", &self.pending)
            .finish_non_exhaustive()
    }
}

impl Drop for Flow {
    fn drop(&mut self) {
        self.cancel();
    }
}

/// Opens the checkpoint of a map, if it has one.
#[cfg(feature = "checkpoint")]
fn open_checkpoint(settings: &Settings, total: Option<u64>) -> Option<Result<Box<Run>, Rejected>> {
    let path = settings.checkpoint.as_deref()?;
    if let Host::Parent(_) = settings.host {
        let reason = format!(
            "the checkpoint {} cannot be used inside a worker, since one process can use it at a time: \
             run the map in the program itself",
            path.display()
        );
        return Some(Err(Rejected::Checkpoint(reason.into())));
    }
    let mut run = Run::open(
        path,
        settings.registration.spec,
        settings.config.as_deref(),
        settings.describe,
        total,
    );
    if let Ok(run) = &mut run
        && let Some(line) = run.tell(None)
    {
        LocalEngine::say(&line);
    }
    Some(run.map(Box::new))
}

#[cfg(not(feature = "checkpoint"))]
fn open_checkpoint(_: &Settings, _: Option<u64>) -> Option<Result<Box<Run>, Rejected>> {
    None
}
