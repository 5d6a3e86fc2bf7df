//! Feeds the inputs of a map to the workers, and hands its results out.

use std::any::Any;
use std::collections::{BTreeMap, VecDeque};
use std::marker::PhantomData;
use std::ops::{Range, RangeInclusive};
use std::panic::{AssertUnwindSafe, Location, catch_unwind, resume_unwind};
use std::sync::{Arc, Weak};
use std::task::{self, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::api::call_id::CallNumber;
use crate::api::error::CallError;
use crate::api::failure::{Lost, Rejected, Startup};
use crate::api::options::Options;
use crate::caller::call::{Decoders, not_decodable};
use crate::caller::host::Host;
use crate::caller::refused::RefusedCalls;
use crate::caller::underway::{self, Activity, Underway};
use crate::checkpoint::{Found, Run, Stored};
use crate::codec::buffers::BufferPool;
use crate::codec::payload::{self, Packed, Payload};
use crate::function::callee::Callee;
use crate::function::registry::Registration;
use crate::function::service_config::{ServiceConfig, names_any};
use crate::job::Job;
use crate::job::budget::Budget;
use crate::job::delivery::Deliver;
use crate::job::outcome::{self, Failure, Outcome, failed};
use crate::local::{LocalEngine, PollIntent, Submitted, WaitTarget};
use crate::scheduler::FunctionKey;
use crate::shared::{ChunkObjects, InputObjects, Objects, StagingPool};
use crate::spans;
use crate::sys;
use crate::wait::Waiter;
use crate::wait::spin::Spin;

use super::arrivals::{SharedArrivals, size_of_result};
use super::{Encode, Map, Yields, refuse};

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

/// Most inputs that are submitted at once.
const CHUNK: usize = 4096;

/// Least number of chunks in a window.
const CHUNKS: usize = 8;

/// After this many inputs in one chunk, use the cheaper but coarser clock.
const TIMED_INPUTS: u32 = 16;

/// Bytes of inputs that are submitted at once.
const CHUNK_BYTES: usize = 256 * 1024;

/// Bytes of memory for inputs that are kept for further ones.
const BUFFERS: usize = 8 * 1024 * 1024;

/// Pause after a failed start before another one is tried. It doubles with each further failure, up to the
/// longest.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Time for which inputs are collected before they are submitted: an input iterator may be slow.
const CHUNK_TIME: Duration = Duration::from_micros(200);

/// Takes inputs, submits them and collects their outcomes.
pub(super) struct MapDriver<I: Iterator, T, E, Y> {
    pub(super) host: Host,
    /// The line of the program that made the map.
    called: &'static Location<'static>,
    spans: spans::Context,
    pub(super) config: Option<ServiceConfig>,
    pub(super) budget: Option<Arc<Budget>>,
    pub(super) registration: &'static Registration,
    pub(super) options: Options,
    pub(super) decoders: Decoders<T, E>,
    pub(super) inputs: Option<I>,
    /// The number of inputs in all, if the iterator knew it at the start.
    pub(super) total: Option<u64>,
    pub(super) encode: Encode<I::Item>,
    pub(super) window: usize,
    /// `true` if the window adapts to throughput.
    pub(super) adapts: bool,
    pub(super) ordered: bool,
    pub(super) shared: Arc<SharedArrivals>,
    pub(super) arrived: VecDeque<(u64, Outcome)>,
    /// The values that are left of a packed payload, with the index and the call id of the next one.
    pub(super) values: Option<(u64, CallNumber, Packed)>,
    pub(super) next_index: u64,
    /// The inputs that were taken and not handed out. Kept only if each item needs its index and the order
    /// does not determine it.
    pub(super) left: Option<Left>,
    /// Number of inputs that were taken and whose results were not handed out.
    pub(super) pending: usize,
    /// Number of those whose results have not arrived.
    pub(super) outstanding: usize,
    pub(super) outstanding_bytes: usize,
    /// Limit on `outstanding_bytes`.
    pub(super) window_bytes: usize,
    /// Size of the last chunk: the next one will be about as large.
    pub(super) chunk_bytes: usize,
    /// A panic of the input iterator, to be resumed after all earlier results are handed out.
    pub(super) panic: Option<Box<dyn Any + Send>>,
    /// The latest failed start: further inputs share it instead of trying to start workers again.
    pub(super) startup: Option<ReportedStart>,
    /// Bytes of results that were handed out and still count as buffered, and how many of them are worth
    /// taking the lock for.
    pub(super) consumed: usize,
    pub(super) worth_telling: usize,
    /// The function whose answers a waiting thread polls for.
    pub(super) function: Option<FunctionKey>,
    /// The state of the map for those who watch, if maps are watched.
    pub(super) underway: Option<Arc<Underway>>,
    /// The results that are kept in a file, or why they cannot be.
    pub(super) checkpoint: Option<Result<Box<Run>, Rejected>>,
    /// The memory of inputs, which is used again.
    pub(super) buffers: Arc<BufferPool>,
    pub(super) yields: PhantomData<Y>,
}

/// Inputs that were encoded to be submitted together.
pub(super) struct Chunk {
    /// The packed inputs.
    buffer: Vec<u8>,
    count: u32,
    /// The input after these, if it is large and has memory of its own.
    large: Option<Bytes>,
    /// The value of the input after these, or the reason why it is refused, if that is known already.
    known: Option<Result<Bytes, Rejected>>,
    /// The shared values that the packed inputs name, and those of the input after them.
    objects: ChunkObjects,
    objects_of_large: InputObjects,
}

/// A failed start of a worker that the map has reported.
pub(super) struct ReportedStart {
    startup: Startup,
    /// Until then, further inputs share the failure.
    until: Instant,
    pause: Duration,
}

impl<I: Iterator, T, E, Y: Yields> MapDriver<I, T, E, Y> {
    pub(super) fn new(map: Map<I, T, E, Y>) -> Self {
        let most_buffered = map.max_buffered.unwrap_or_else(|| map.host.max_buffered());
        let shared = SharedArrivals::new(map.host.clone(), map.ordered, most_buffered);
        let function = map.registration.pool().name;
        let total = underway::known_length(map.inputs.size_hint());
        let is_shown = map.host.is_global();
        let underway = is_shown
            .then(|| {
                let counts = || map.host.counts(function);
                underway::begin(function, total, counts)
            })
            .flatten();
        let checkpoint = open_checkpoint(&map, total);
        let shared = Arc::new(shared);
        if let Some(Ok(run)) = &checkpoint {
            let map = Arc::downgrade(&shared) as Weak<dyn Stored>;
            shared.lock().recorder = run.recorder(map);
        }
        Self {
            host: map.host,
            called: map.called,
            spans: map.spans,
            underway,
            checkpoint,
            config: map.config,
            budget: map.budget.map(|ratio| Arc::new(Budget::new(ratio))),
            registration: map.registration,
            options: map.options,
            decoders: map.decoders,
            inputs: Some(map.inputs),
            encode: map.encode,
            window: map.window.unwrap_or(WINDOW),
            adapts: map.window.is_none(),
            ordered: map.ordered,
            shared,
            arrived: VecDeque::new(),
            values: None,
            next_index: 0,
            left: (Y::INDEXED && !map.ordered).then(Left::default),
            pending: 0,
            outstanding: 0,
            outstanding_bytes: 0,
            window_bytes: *WINDOW_BYTES.start(),
            total,
            chunk_bytes: 0,
            panic: None,
            startup: None,
            consumed: 0,
            worth_telling: most_buffered / 16,
            function: None,
            buffers: BufferPool::new(BUFFERS, || {}),
            yields: PhantomData,
        }
    }

    /// Returns a result that has already arrived, as long as the workers have enough to do.
    pub(super) fn next_arrived(&mut self) -> Option<Y::Item<T, E>> {
        // Submit inputs by the chunk: a submission for each result would cost a lock, a system call and a
        // wake-up each.
        let room = self.window.saturating_sub(self.pending);
        if self.inputs.is_some() && self.outstanding < self.window / 2 && room >= self.chunk() {
            return None;
        }
        self.hand_out()
    }

    /// Returns how many inputs are submitted at once.
    pub(super) fn chunk(&self) -> usize {
        (self.window / CHUNKS).clamp(1, CHUNK)
    }

    pub(super) fn hand_out(&mut self) -> Option<Y::Item<T, E>> {
        let left = self.values.as_ref().map_or(0, |(.., values)| values.len());
        if left == 0 {
            let (index, mut outcome) = self.arrived.pop_front()?;
            self.consumed += size_of_result(&outcome);
            if self.consumed > self.worth_telling && !self.host.is_foreign() {
                self.tell_consumed();
            }
            match outcome.result {
                Ok(Payload::Several(values)) => {
                    self.startup = None;
                    self.values = Some((index, outcome.call, values));
                }
                result => {
                    outcome.result = result;
                    self.pending -= 1;
                    self.note_start(&outcome);
                    let decode = self.decoders.outcome;
                    let result = decode(self.registration, self.host.run(), Some(index), outcome);
                    return Some(self.item(index, result));
                }
            }
        }
        let (index, call, values) = self.values.as_mut()?;
        self.pending -= 1;
        let (this, which) = (*index, *call);
        *index += 1;
        call.0 += 1;
        // Decoding may panic; the panic then stands for this result.
        let value = values.read(self.decoders.value_in_place)?;
        if values.len() == 0 {
            self.values = None;
        }
        let function = self.registration;
        let run = self.host.run();
        let result =
            value.map_err(|error| not_decodable(function, which.of(run), Some(this), &error));
        Some(self.item(this, result))
    }

    /// Creates the item for an input's result, and marks the input as handed out.
    pub(super) fn item(&mut self, index: u64, result: Result<T, CallError<E>>) -> Y::Item<T, E> {
        if Y::INDEXED
            && let Some(left) = &mut self.left
        {
            left.remove(index);
        }
        Y::item(Some(index), result)
    }

    pub(super) fn poll_next(
        &mut self,
        context: &mut task::Context<'_>,
    ) -> Poll<Option<Y::Item<T, E>>> {
        let next = self.advance(context);
        self.note_activity(match next {
            Poll::Ready(_) => Activity::Consuming,
            Poll::Pending => Activity::Waiting,
        });
        if let (Poll::Pending, Some(underway), true) = (&next, &self.underway, self.ordered) {
            underway.set_next(self.next_index - self.pending as u64);
        }
        next
    }

    /// Takes and submits inputs, and takes in results, until there is one to hand out or none can be.
    fn advance(&mut self, context: &mut task::Context<'_>) -> Poll<Option<Y::Item<T, E>>> {
        loop {
            if self.host.is_foreign() {
                return Poll::Ready(self.next_in_fork());
            }
            if let Some(item) = self.next_arrived() {
                return Poll::Ready(Some(item));
            }
            let more = self.feed();
            if self.host.is_foreign() {
                // The input iterator has forked.
                continue;
            }
            if let Some(item) = self.hand_out() {
                return Poll::Ready(Some(item));
            }
            let mut arrivals = self.shared.lock();
            self.outstanding -= std::mem::take(&mut arrivals.returned);
            self.outstanding_bytes -= std::mem::take(&mut arrivals.returned_bytes);
            // Everything that had arrived before has been handed out.
            std::mem::swap(&mut self.arrived, &mut arrivals.ready);
            if !self.arrived.is_empty() {
                drop(arrivals);
                // Return it even if there is room for more inputs, because the iterator may be slow.
                return Poll::Ready(self.hand_out());
            }
            if more {
                continue;
            }
            if self.pending == 0 {
                self.underway = None;
                let recorder = arrivals.recorder.take();
                drop(arrivals);
                drop(recorder);
                self.close_checkpoint();
                return match self.panic.take() {
                    Some(panic) => resume_unwind(panic),
                    None => Poll::Ready(None),
                };
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
            return Poll::Pending;
        }
    }

    /// Subtracts results that were handed out from the count of buffered bytes.
    pub(super) fn tell_consumed(&mut self) {
        let consumed = std::mem::take(&mut self.consumed);
        if self.shared.lock().mark_consumed(consumed) {
            self.shared.hold();
        }
    }

    /// Returns the next result in a child that was forked from the process that owns this map: results that
    /// had arrived before, and an error for each other input. Takes no lock of the parent's.
    #[cold]
    pub(super) fn next_in_fork(&mut self) -> Option<Y::Item<T, E>> {
        if let Some(item) = self.hand_out() {
            return Some(item);
        }
        let failure = if self.pending > 0 {
            Failure::Lost(Lost::Forked)
        } else if self.next_input().is_some() {
            self.take(1);
            Failure::Rejected(Rejected::Forked)
        } else if let Some(panic) = self.panic.take() {
            resume_unwind(panic);
        } else {
            return None;
        };
        // In a map that does not keep the order, the remaining inputs are known only if `left` records them.
        let index = match &mut self.left {
            Some(left) => left.take_first(),
            None => self.ordered.then(|| self.next_index - self.pending as u64),
        };
        self.pending -= 1;
        let run = self.host.run();
        let result = (self.decoders.outcome)(self.registration, run, index, failed(failure));
        Some(Y::item(index, result))
    }

    /// Polls for answers until the thread is woken, `until` is reached or `spin` gives up.
    pub(super) fn park(&mut self, until: Option<Instant>, waiter: &dyn Waiter, spin: &mut Spin) {
        let target = self.function.map_or(WaitTarget::To(None), WaitTarget::Of);
        self.host.poll_until(target, until, waiter, spin);
    }

    /// Takes inputs and submits them, at most one chunk. Returns whether there is room for more.
    pub(super) fn feed(&mut self) -> bool {
        if !self.has_room(0, 0) {
            return false;
        }
        let chunk = self.encode_chunk();
        self.chunk_bytes = chunk.buffer.len();
        self.submit_chunk(chunk);
        if self.inputs.is_none() {
            self.tell_kept();
        }
        self.inputs.is_some()
            && self.pending < self.window
            && self.outstanding_bytes < self.window_bytes
    }

    /// Returns whether another input may be taken into a chunk of `taken` inputs with this number of bytes.
    pub(super) fn has_room(&self, taken: u32, bytes: usize) -> bool {
        let taken = taken as usize;
        // Kept results arrive without the scheduler, which holds back only what it has.
        if taken == 0
            && self.checkpoint.is_some()
            && self.outstanding > 0
            && self.shared.lock().held
        {
            return false;
        }
        self.inputs.is_some()
            && self.pending + taken < self.window
            && taken < self.chunk()
            && bytes < CHUNK_BYTES
            && (self.outstanding == 0 && taken == 0
                || self.outstanding_bytes + bytes < self.window_bytes)
    }

    /// Takes inputs and encodes them one behind the other, until the chunk is full, its time is over, or an
    /// input has to be submitted alone.
    pub(super) fn encode_chunk(&mut self) -> Chunk {
        let limit = self.host.max_message(self.config.as_ref());
        let (begun, tick) = (Instant::now(), sys::coarse_nanos());
        let mut chunk = Chunk {
            buffer: self.buffers.room(self.chunk_bytes),
            count: 0,
            large: None,
            known: None,
            objects: ChunkObjects::begin(self.staging()),
            objects_of_large: InputObjects::None,
        };
        while self.has_room(chunk.count, chunk.buffer.len()) {
            let is_late = match chunk.count {
                ..TIMED_INPUTS => begun.elapsed() > CHUNK_TIME,
                _ => sys::coarse_nanos() != tick,
            };
            if is_late {
                break;
            }
            // After `TIMED_INPUTS`, taking inputs is not told apart from encoding them: they come too quickly.
            if chunk.count <= TIMED_INPUTS {
                self.note_activity(Activity::TakingInputs);
            }
            let Some(input) = self.next_input() else {
                break;
            };
            if chunk.count < TIMED_INPUTS {
                self.note_activity(Activity::Waiting);
            }
            let start = payload::begin(&mut chunk.buffer);
            // The limit applies to one input; the buffer holds several.
            let most = start.saturating_add(limit);
            let encode = || (self.encode)(input, &mut chunk.buffer, most);
            let encoded = catch_unwind(AssertUnwindSafe(encode));
            let objects = chunk.objects.of_input();
            match encoded {
                Ok(Ok(whole)) => {
                    let large = match whole {
                        Some(large) => Some(large),
                        None => {
                            payload::end(&mut chunk.buffer, start);
                            // An input that has values of its own is sent by itself, so that no other one keeps them.
                            let is_alone = matches!(objects, InputObjects::Own(_));
                            is_alone.then(|| Bytes::copy_from_slice(&chunk.buffer[start..]))
                        }
                    };
                    let input = large.as_deref().unwrap_or(&chunk.buffer[start..]);
                    chunk.known = self.known(chunk.count, input, &objects);
                    if chunk.known.is_none() {
                        if large.is_none() {
                            chunk.count += 1;
                            continue;
                        }
                        chunk.large = large;
                        chunk.objects_of_large = objects;
                    }
                }
                Ok(Err((parameter, error))) => {
                    let reason = refuse(self.registration, parameter, error, limit);
                    chunk.known = Some(Err(reason));
                }
                // A panic of the encoder counts as a panic of the iterator at this input's position.
                Err(panic) => {
                    self.panic = Some(panic);
                    self.end_inputs();
                }
            }
            chunk.buffer.truncate(start - payload::PREFIX);
            break;
        }
        self.note_activity(Activity::Waiting);
        chunk
    }

    /// Returns the memory in which large inputs are staged, if they can be. Kept results are found by the whole encoding.
    fn staging(&self) -> Option<Arc<StagingPool>> {
        match self.checkpoint {
            Some(_) => None,
            None => self.host.staging(),
        }
    }

    /// Records what the consumer does, for those who watch.
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

    /// Returns the outcome of the next input but `ahead`, if the map has a checkpoint that determines it.
    fn known(
        &mut self,
        ahead: u32,
        input: &[u8],
        objects: &InputObjects,
    ) -> Option<Result<Bytes, Rejected>> {
        let found = match self.checkpoint.as_mut()? {
            Ok(_) if !matches!(objects, InputObjects::None) || names_any(self.config.as_ref()) => {
                Err(Rejected::keeps_no_shared_value())
            }
            Ok(run) => run.find(input),
            Err(reason) => Err(reason.clone()),
        };
        match found {
            Ok(Found::Missing(0)) => None,
            Ok(Found::Missing(before)) => {
                let index = self.next_index + u64::from(ahead);
                if let Some(recorder) = &mut self.shared.lock().recorder {
                    recorder.note_repeated(index, before);
                }
                None
            }
            Ok(Found::Kept(value)) => Some(Ok(value)),
            Err(reason) => Some(Err(reason)),
        }
    }

    /// Submits the inputs of a chunk, in their order.
    pub(super) fn submit_chunk(&mut self, chunk: Chunk) {
        let Chunk {
            mut buffer,
            count,
            large,
            known,
            objects,
            objects_of_large,
        } = chunk;
        let objects = objects.into_objects();
        // The buffer may have been sized for a much larger chunk, and may be retained for long.
        if buffer.len() < buffer.capacity() / 2 {
            buffer.shrink_to_fit();
        }
        if count > 0 {
            let inputs = Payload::new(count, self.buffers.lend(buffer));
            self.submit(inputs, objects.clone());
        }
        if let Some(input) = large {
            let objects = match objects_of_large {
                InputObjects::None => Objects::NONE,
                InputObjects::InChunk => objects,
                InputObjects::Own(own) => own,
            };
            self.submit(Payload::One(input), objects);
        }
        if let Some(known) = known {
            let index = self.take(1);
            let outcome = match known {
                Ok(value) => outcome::known(value),
                Err(reason) => self.end_refused(index, 1, Failure::Rejected(reason)),
            };
            if !self.host.is_foreign() {
                // The scheduler does not count this input.
                if let Some(underway) = &self.underway {
                    underway.subtract(1);
                }
                let mut delivery = self.shared.delivery();
                delivery.put(index, &Payload::NONE, &Objects::NONE, outcome);
                if delivery.finish() {
                    self.shared.hold();
                }
            }
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
    pub(super) fn note_start(&mut self, outcome: &Outcome) {
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
    pub(super) fn recent_start_failure(&self) -> Option<Startup> {
        let known = self.startup.as_ref()?;
        let is_recent = Instant::now() < known.until;
        let is_served = self
            .function
            .is_some_and(|function| self.host.is_served(function));
        (is_recent && !is_served).then(|| known.startup.clone())
    }

    /// Counts inputs that were taken. Returns the index of the first one.
    pub(super) fn take(&mut self, count: u32) -> Option<u64> {
        let first = self.next_index;
        self.next_index += u64::from(count);
        if Y::INDEXED
            && let Some(left) = &mut self.left
        {
            left.push(first..self.next_index);
        }
        self.pending += count as usize;
        self.outstanding += count as usize;
        Some(first)
    }

    pub(super) fn next_input(&mut self) -> Option<I::Item> {
        let inputs = self.inputs.as_mut()?;
        match catch_unwind(AssertUnwindSafe(|| inputs.next())) {
            Ok(Some(input)) => Some(input),
            Ok(None) => {
                self.end_inputs();
                None
            }
            Err(panic) => {
                self.panic = Some(panic);
                self.end_inputs();
                None
            }
        }
    }

    /// Returns how many inputs are still to be taken, if that is known.
    fn to_come(&self) -> Option<u64> {
        match self.inputs {
            None => Some(0),
            Some(_) => Some(self.total?.saturating_sub(self.next_index)),
        }
    }

    pub(super) fn end_inputs(&mut self) {
        self.inputs = None;
        if let Some(underway) = &self.underway {
            underway.end_inputs();
        }
    }

    pub(super) fn submit(&mut self, inputs: Payload, objects: Objects) {
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
            called: Some(self.called),
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
        match self.host.submit(&callee, [job], PollIntent::No, |_| {}) {
            Ok(Some(Submitted {
                function,
                ahead,
                most_workers,
                ..
            })) => {
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
            Ok(None) => {}
            Err(reason) => {
                let outcome = self.end_refused(index, inputs.count(), Failure::Rejected(reason));
                let mut delivery = self.shared.delivery();
                delivery.put(index, &inputs, &given, outcome);
            }
        }
    }
}

impl<I: Iterator, T, E, Y> MapDriver<I, T, E, Y> {
    /// Cancels all outstanding inputs.
    pub(super) fn cancel(&mut self) {
        self.inputs = None;
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
    pub(super) fn close_checkpoint(&mut self) {
        if let Some(Ok(run)) = self.checkpoint.take()
            && let Some(failure) = run.close()
        {
            LocalEngine::say(&failure);
        }
    }
}

/// Opens the checkpoint of a map, if it has one.
#[cfg(feature = "checkpoint")]
fn open_checkpoint<I: Iterator, T, E, Y>(
    map: &Map<I, T, E, Y>,
    total: Option<u64>,
) -> Option<Result<Box<Run>, Rejected>> {
    let path = map.checkpoint.as_deref()?;
    if let Host::Parent(_) = map.host {
        let reason = format!(
            "the checkpoint {} cannot be used inside a worker, since one process can use it at a time: \
             run the map in the program itself",
            path.display()
        );
        return Some(Err(Rejected::Checkpoint(reason.into())));
    }
    let mut run = Run::open(
        path,
        map.registration.spec,
        map.config.as_deref(),
        map.describe,
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
fn open_checkpoint<I: Iterator, T, E, Y>(
    _: &Map<I, T, E, Y>,
    _: Option<u64>,
) -> Option<Result<Box<Run>, Rejected>> {
    None
}

impl<I: Iterator, T, E, Y> Drop for MapDriver<I, T, E, Y> {
    fn drop(&mut self) {
        self.cancel();
    }
}

/// Indices of inputs whose results were not handed out, as ranges keyed by their starts: there are at most as
/// many ranges as inputs, however far apart the indices are.
#[derive(Default)]
pub(super) struct Left(BTreeMap<u64, u64>);

impl Left {
    /// Adds indices that are above all others.
    pub(super) fn push(&mut self, range: Range<u64>) {
        match self.0.last_entry() {
            Some(mut last) if *last.get() == range.start => *last.get_mut() = range.end,
            _ => {
                self.0.insert(range.start, range.end);
            }
        }
    }

    pub(super) fn remove(&mut self, index: u64) {
        let Some((&start, end)) = self.0.range_mut(..=index).next_back() else {
            return;
        };
        let end = std::mem::replace(end, index);
        if start == index {
            self.0.remove(&start);
        }
        if index + 1 < end {
            self.0.insert(index + 1, end);
        }
    }

    pub(super) fn take_first(&mut self) -> Option<u64> {
        let first = *self.0.first_key_value()?.0;
        self.remove(first);
        Some(first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn left_tracks_the_indices_of_an_unordered_map() {
        let seed = fastrand::u64(..);
        println!("seed {seed}");
        let mut random = fastrand::Rng::with_seed(seed);
        let (mut left, mut expected) = (Left::default(), std::collections::BTreeSet::new());
        let mut next = 0;
        for _ in 0..2000 {
            if random.bool() {
                let range = next..next + random.u64(1..5);
                next = range.end;
                expected.extend(range.clone());
                left.push(range);
            } else if let Some(&index) = random.choice(&expected.iter().collect::<Vec<_>>()) {
                let index = *index;
                expected.remove(&index);
                left.remove(index);
            }
            assert!(left.0.len() <= expected.len());
            assert!(
                left.0
                    .iter()
                    .flat_map(|(start, end)| *start..*end)
                    .eq(expected.iter().copied())
            );
        }
        assert!(std::iter::from_fn(|| left.take_first()).eq(expected));
    }

    #[test]
    fn results_are_handed_out_in_input_order() {
        let seed = fastrand::u64(..);
        println!("seed {seed}");
        let mut random = fastrand::Rng::with_seed(seed);
        let mut indices: Vec<u64> = (0..1000).collect();
        for order in 0..3 {
            indices.sort_unstable();
            match order {
                // Every second one late, the first ones late, and no order at all.
                0 => indices.sort_by_key(|index| (index % 2 == 0, *index)),
                1 => indices.rotate_left(3),
                _ => random.shuffle(&mut indices),
            }
            let shared = SharedArrivals::new(Host::global(), true, usize::MAX);
            for index in &indices {
                let outcome = Outcome {
                    call: CallNumber(*index),
                    result: Ok(Payload::NONE),
                    history: None,
                };
                shared.lock().insert(*index, outcome);
            }
            let ready = std::mem::take(&mut shared.lock().ready);
            assert!(ready.into_iter().map(|(index, _)| index).eq(0..1000));
        }
    }
}
