//! The parent's side of the connection for nested calls.

use std::collections::{BTreeMap, HashMap};
use std::mem::take;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use bytes::Bytes;

use super::Pool;
use super::cgroup::Cgroup;
use super::sources::{NESTED, Writable};
use crate::api::call_id::CallNumber;
use crate::api::failure::{Cancelled, Rejected};
use crate::function::callee::Callee;
use crate::job::Job;
use crate::job::budget::Budget;
use crate::job::call_site::CallSite;
use crate::job::caller::Caller;
use crate::job::capture;
use crate::job::delivery::{Deliver, Outcomes};
use crate::job::outcome::{CallKey, Outcome, rejected};
use crate::local::LocalEngine;
use crate::local::core::Core;
use crate::scheduler::{NestedOrigin, WorkerKey};
use crate::shared::{self, Handed, Holder, Object, ObjectId, Objects};
#[cfg(feature = "tracing")]
use crate::spans::Batch;
use crate::spans::{Context, Origin};
use crate::sys::SealedMemory;
use crate::wire::arrived::Arrived;
use crate::wire::message::{self, Reply};
use crate::wire::nested::{
    Content, LARGEST_REQUEST, Notice, Offered, Purpose, Request, Submission,
};
use crate::wire::write_queue::WriteQueue;

/// The backlog limit: while more bytes than this wait for a worker to accept them, no further inputs of its
/// calls are handed out. A worker takes in everything that arrives, so this state ends by itself.
const MAX_UNSENT_BYTES: usize = 16 * 1024 * 1024;

/// The maximum number of shared values that a worker has handed over for one answer or for calls, and of answers that
/// it has announced so.
const MOST_OFFERED: usize = shared::MOST_NAMED;

/// The path of outcomes to one worker.
pub(crate) struct Downstream {
    engine: Weak<LocalEngine>,
    is_behind: AtomicBool,
    worker: u64,
    socket: Arc<OwnedFd>,
    writable: Writable,
    write_queue: Mutex<(WriteQueue, bool)>,
    /// The shared values that were lent to the worker, and how often.
    lent: Mutex<HashMap<ObjectId, (Arc<Object>, u32)>>,
    /// The number of bytes of shared values that the worker was given.
    given: Arc<AtomicU64>,
}

impl Downstream {
    pub(super) fn new(
        engine: Weak<LocalEngine>,
        worker: u64,
        socket: Arc<OwnedFd>,
        writable: Writable,
    ) -> Self {
        Self {
            engine,
            is_behind: AtomicBool::new(false),
            worker,
            socket,
            writable,
            write_queue: Mutex::default(),
            lent: Mutex::default(),
            given: Arc::default(),
        }
    }

    /// Returns the number of bytes of shared values that the worker was given, which changes.
    pub(super) fn given(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.given)
    }

    /// Sends the outcome of a call. Bytes that the socket does not accept are queued until it does.
    pub(crate) fn send(self: &Arc<Self>, number: u32, outcome: Outcome) {
        let named = outcome.result.as_ref().map(Objects::named_by);
        let named = named.unwrap_or_default();
        let ids = named.iter().map(|object| {
            self.lend(object);
            object.id()
        });
        let ids = ids.collect();
        let (reply, payload) = Reply::new(number, outcome);
        let head = message::encode(&Notice::Reply(reply, ids), payload.len());
        self.with_write_queue(|write_queue| write_queue.push(&head, &payload));
    }

    /// Sends a shared value, which exists until the worker gives it back: the worker may hand it over again, and
    /// nothing else may have a handle on it here.
    fn lend(self: &Arc<Self>, object: &Arc<Object>) {
        let mut lent = self.lent.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = lent.entry(object.id());
        entry.or_insert_with(|| (Arc::clone(object), 0)).1 += 1;
        drop(lent);
        self.send_object(object.id(), Some(object));
    }

    fn take_back(&self, id: ObjectId, count: u32) {
        let mut lent = self.lent.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((_, times)) = lent.get_mut(&id) else {
            return;
        };
        *times = times.saturating_sub(count);
        let last = (*times == 0).then(|| lent.remove(&id));
        // Dropping it writes to this connection.
        drop(lent);
        drop(last);
    }

    /// Drops all that was lent to the worker, because it has ended.
    fn take_all_back(&self) {
        let mut lent = self.lent.lock().unwrap_or_else(PoisonError::into_inner);
        let all = take(&mut *lent);
        drop(lent);
        drop(all);
    }

    /// Sends a shared value, or that it does not exist any more.
    fn send_object(self: &Arc<Self>, id: ObjectId, object: Option<&Arc<Object>>) {
        let Some(object) = object else {
            return self.notify(&Notice::Object {
                id,
                content: Content::Gone,
            });
        };
        let holder: Arc<dyn Holder> = Arc::clone(self) as Arc<dyn Holder>;
        let is_new = object.add_holder(Arc::downgrade(&holder));
        // Memory that a worker has made and handed over counts as its own.
        if is_new && id.maker != self.worker {
            let length = object.mapped_length() as u64;
            self.given.fetch_add(length, Ordering::Relaxed);
        }
        let length = object.length() as u64;
        let (content, file) = match object.handed() {
            Some(Handed::Copied(bytes)) => {
                let content = Content::Payload;
                let head = message::encode(&Notice::Object { id, content }, bytes.len());
                let message = [&head[..], bytes].concat();
                return self.with_write_queue(|write_queue| {
                    write_queue.push(&message, &Bytes::new());
                });
            }
            Some(Handed::Sealed(file)) => (Content::File(length), file),
            Some(Handed::Staging(file)) => (Content::Staging(length), file),
            // Only a worker has such memory.
            None => return,
        };
        let head = message::encode(&Notice::Object { id, content }, 0);
        self.with_write_queue(|write_queue| write_queue.push_with_file(&head, Arc::clone(file)));
    }

    fn notify(&self, notice: &Notice) {
        let head = message::encode(notice, 0);
        self.with_write_queue(|write_queue| write_queue.push(&head, &Bytes::new()));
    }

    /// Sends queued bytes after the socket has reported room.
    pub(crate) fn flush(&self) {
        self.with_write_queue(|_| {});
    }

    /// Changes the queue, and writes what the socket accepts of it.
    fn write(&self, change: impl FnOnce(&mut WriteQueue)) -> MutexGuard<'_, (WriteQueue, bool)> {
        let mut guard = self
            .write_queue
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let (write_queue, was_full) = &mut *guard;
        change(write_queue);
        // A broken connection shows on the reading side.
        let full = matches!(write_queue.write_to(&self.socket), Ok(false));
        if full != *was_full {
            *was_full = full;
            self.writable.set(&self.socket, self.worker, NESTED, full);
        }
        guard
    }

    fn with_write_queue(&self, change: impl FnOnce(&mut WriteQueue)) {
        let guard = self.write(change);
        let was_behind = !self.has_room();
        let most = if was_behind {
            MAX_UNSENT_BYTES / 2
        } else {
            MAX_UNSENT_BYTES
        };
        let is_behind = guard.0.bytes() > most;
        self.is_behind.store(is_behind, Ordering::Relaxed);
        drop(guard);
        if was_behind
            && !is_behind
            && let Some(engine) = self.engine.upgrade()
        {
            engine.step(|core, _| core.scheduler.look_at_queues());
        }
    }
}

impl Holder for Downstream {
    fn forget(&self, object: ObjectId, mapped_length: usize) {
        if object.maker != self.worker {
            let length = mapped_length as u64;
            self.given.fetch_sub(length, Ordering::Relaxed);
        }
        let head = message::encode(&Notice::Forget(object), 0);
        // The engine may be locked, so whether the worker is behind is left to the next message.
        drop(self.write(|write_queue| write_queue.push(&head, &Bytes::new())));
    }
}

impl Deliver for Downstream {
    fn deliver(self: Arc<Self>, outcomes: Outcomes<'_, '_>) {
        for (job, outcome) in outcomes {
            self.send(job.number, outcome);
        }
    }

    fn has_room(&self) -> bool {
        !self.is_behind.load(Ordering::Relaxed)
    }
}

/// Shared values that a worker has handed over, and how many bytes of them are new here.
#[derive(Default)]
struct Offers {
    objects: Vec<Arc<Object>>,
    weight: usize,
}

/// The requests of one worker.
pub(crate) struct Requests {
    worker: WorkerKey,
    #[cfg_attr(
        not(feature = "tracing"),
        expect(dead_code, reason = "workers record nothing")
    )]
    origin: Origin,
    pub(crate) replies: Arc<Downstream>,
    /// The control group that limits the worker's memory, if the kernel does so.
    cgroup: Option<Arc<Cgroup>>,
    arrived: Arrived,
    /// The shared values that the next submission names, or why there is none.
    for_calls: Result<Vec<Arc<Object>>, String>,
    /// The shared values that answers name which are about to arrive, by ticket, or why there is none.
    for_answers: BTreeMap<u64, Result<Offers, String>>,
    /// The worker's limit on the size of a message.
    limit: usize,
    /// The number of requests taken in.
    pub(crate) taken: u64,
    /// Set once nothing more will arrive.
    pub(crate) ended: bool,
    /// The maps whose inputs are held back.
    held: Vec<Caller>,
    /// The retry budgets that maps of this worker share, as long as there are calls that use them, by id.
    budgets: HashMap<u64, Weak<Budget>>,
}

impl Requests {
    pub(crate) fn new(
        worker: WorkerKey,
        function: &'static str,
        pid: u32,
        replies: Downstream,
        limit: usize,
        cgroup: Option<Arc<Cgroup>>,
    ) -> Self {
        Self {
            worker,
            origin: Origin {
                worker: worker.id,
                pid,
                function,
            },
            replies: Arc::new(replies),
            cgroup,
            arrived: Arrived::default(),
            for_calls: Ok(Vec::new()),
            for_answers: BTreeMap::new(),
            limit,
            taken: 0,
            ended: false,
            held: Vec::new(),
            budgets: HashMap::new(),
        }
    }

    pub(crate) fn socket(&self) -> &OwnedFd {
        &self.replies.socket
    }

    /// Takes in what has arrived and returns whether anything has. An error is a breach of the protocol.
    pub(crate) fn receive(&mut self, pool: Pool<'_>) -> Result<bool, String> {
        let engine = pool.engine;
        let limit = self.limit;
        match self.arrived.read(&self.replies.socket, limit) {
            Ok(0) => {
                self.ended = true;
                return Ok(false);
            }
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            // Nothing has arrived yet; or the worker is ending, which its process reports.
            Err(_) => return Ok(false),
        }
        while let Some((request, payload)) = self.arrived.take(LARGEST_REQUEST, limit)? {
            self.taken += 1;
            match request {
                Request::Submit(submission) => self.submit(engine, *submission, payload)?,
                Request::Offer {
                    id,
                    purpose,
                    content,
                } => self.take_in_offer(id, purpose, content, &payload)?,
                Request::GiveBack { id, count } => self.replies.take_back(id, count),
                Request::Object(id) => {
                    self.replies.send_object(id, shared::find_here(id).as_ref());
                }
                #[cfg(feature = "tracing")]
                Request::Spans(batch) => self.take_in_spans(engine, batch),
                Request::Hold { caller, held } => {
                    let caller = Caller::of_worker(self.worker.id, caller);
                    self.held.retain(|other| *other != caller);
                    self.held.extend(held.map(|_| caller));
                    engine.step(|core, _| core.scheduler.hold(caller, held));
                }
                Request::Cancel(numbers) => {
                    let worker = self.worker.id;
                    let keys = numbers
                        .into_iter()
                        .map(|number| CallNumber::nested(worker, number));
                    engine.step(|core, _| {
                        let keys: Vec<CallKey> = keys
                            .filter_map(|id| core.scheduler.find_nested(self.worker, id))
                            .collect();
                        core.scheduler.cancel(keys, Cancelled::ByCaller);
                    });
                }
            }
        }
        Ok(true)
    }

    /// Takes in a shared value of the worker, or one that the worker was given.
    fn take_in_offer(
        &mut self,
        id: ObjectId,
        purpose: Purpose,
        content: Offered,
        payload: &[u8],
    ) -> Result<(), String> {
        let known = shared::find_here(id);
        if let (None, Offered::There, Purpose::Calls) = (&known, &content, &purpose) {
            // The worker that executes a call with it asks for it, and is told. Other calls may come in the same message.
            return Ok(());
        }
        let memory = match content {
            Offered::There => Err(shared::GONE.to_owned()),
            _ if id.maker != self.worker.id => {
                return Err("a shared value of another process".to_owned());
            }
            Offered::Payload => SealedMemory::copy_of(payload).map_err(|error| error.to_string()),
            Offered::File(length) => self.arrived.take_file()?.and_then(|file| {
                let memory = SealedMemory::receive(file, length);
                let memory = memory.map_err(|error| error.to_string())?;
                let cgroup = self.cgroup.as_ref().filter(|_| known.is_none());
                Ok(memory.charged(cgroup.map(|cgroup| cgroup.take_over(length))))
            }),
        };
        let (object, weight) = match (known, memory) {
            (Some(known), _) => (Ok(known), 0),
            (None, Ok(memory)) => {
                let object = Object::adopted(id, memory);
                let weight = object.length();
                (Ok(object), weight)
            }
            (None, Err(reason)) => (Err(reason), 0),
        };
        match purpose {
            Purpose::Answer(ticket) => {
                if self.for_answers.len() > MOST_OFFERED {
                    return Err("shared values for answers that do not come".to_owned());
                }
                let offers = self.for_answers.entry(ticket);
                match (offers.or_insert_with(|| Ok(Offers::default())), object) {
                    (Ok(offers), Ok(_)) if offers.objects.len() > MOST_OFFERED => {
                        return Err(format!(
                            "more than {MOST_OFFERED} shared values for one answer"
                        ));
                    }
                    (Ok(offers), Ok(object)) => {
                        offers.objects.push(object);
                        offers.weight = offers.weight.saturating_add(weight);
                    }
                    (offers, Err(reason)) => *offers = Err(reason),
                    (Err(_), Ok(_)) => {}
                }
            }
            Purpose::Calls => match (&mut self.for_calls, object) {
                (Ok(objects), Ok(_)) if objects.len() > MOST_OFFERED => {
                    return Err("shared values for calls that do not come".to_owned());
                }
                (Ok(objects), Ok(object)) => objects.push(object),
                (objects, Err(reason)) => *objects = Err(reason),
                (Err(_), Ok(_)) => {}
            },
        }
        Ok(())
    }

    /// Takes the shared values that the answer to a ticket names. An error is why there are none.
    #[inline]
    pub(crate) fn take_for_answer(&mut self, ticket: u64) -> Result<Objects, String> {
        if self.for_answers.is_empty() {
            return Ok(Objects::NONE);
        }
        let offers = self.for_answers.remove(&ticket);
        let offers = offers.unwrap_or_else(|| Ok(Offers::default()));
        offers.map(|offers| Objects::new(offers.objects, Vec::new(), offers.weight))
    }

    /// Releases all maps that are held back, and what was kept for the worker, because it has ended.
    pub(crate) fn let_go(&mut self, core: &mut Core) {
        self.for_answers.clear();
        self.for_calls = Ok(Vec::new());
        self.replies.take_all_back();
        for caller in self.held.drain(..) {
            core.scheduler.hold(caller, None);
        }
    }

    /// Closes the spans of the worker, because it has ended.
    pub(crate) fn end_spans(&self, engine: &LocalEngine) {
        if let Some(tracer) = engine.tracer() {
            tracer.end_worker(self.worker.id);
        }
    }

    /// Takes in spans and events, with the calls that have recorded them.
    #[cfg(feature = "tracing")]
    fn take_in_spans(&self, engine: &LocalEngine, batch: Batch) {
        let Some(tracer) = engine.tracer() else {
            return;
        };
        let calls = engine.step(|core, _| {
            let call_of = |ticket| {
                let (id, _, job) = core.scheduler.call_of(self.worker, ticket)?;
                Some((ticket, id, job.spans.clone()))
            };
            batch.tickets().into_iter().filter_map(call_of).collect()
        });
        tracer.take_in(self.origin, calls, batch);
    }

    /// Returns the place of nested calls among spans.
    fn place(&self, engine: &LocalEngine, submission: &Submission) -> Context {
        if engine.tracer().is_none() {
            return Context::default();
        }
        let outer = engine.step(|core, _| {
            let outer = core.scheduler.call_of(self.worker, submission.ticket);
            outer.map(|(id, _, job)| (id, job.spans.clone()))
        });
        let nested = |(id, context): (CallNumber, Context)| {
            context.nested(self.worker.id, submission.span, id)
        };
        outer.map(nested).unwrap_or_default()
    }

    fn budget(&mut self, (id, ratio): (u64, f64)) -> Arc<Budget> {
        self.budgets.retain(|_, budget| budget.strong_count() > 0);
        let known = self.budgets.get(&id).and_then(Weak::upgrade);
        known.unwrap_or_else(|| {
            let budget = Arc::new(Budget::received(id, ratio));
            self.budgets.insert(id, Arc::downgrade(&budget));
            budget
        })
    }

    fn submit(
        &mut self,
        engine: &LocalEngine,
        submission: Submission,
        mut payload: Bytes,
    ) -> Result<(), String> {
        let spans = self.place(engine, &submission);
        let budget = submission.budget.map(|budget| self.budget(budget));
        let objects = std::mem::replace(&mut self.for_calls, Ok(Vec::new()));
        let objects = objects.map(|objects| Objects::new(objects, Vec::new(), 0));
        let (mut callee, items) = Callee::received(submission.calls, budget)?;
        callee.called = submission
            .called
            .map(|line| CallSite::InWorker(line.into()));
        let registration = callee.registration;
        let mut jobs = Vec::with_capacity(items.len());
        for item in items {
            if item.count != 1 || item.resumption.is_some() {
                return Err("a nested call that is not one new call".to_owned());
            }
            let job = Job {
                target: Arc::clone(&self.replies) as Arc<dyn Deliver>,
                number: item.number,
                index: item.index,
                input: item.take(&mut payload)?,
                objects: objects.clone().unwrap_or_default(),
                caller: Caller::of_worker(self.worker.id, submission.caller),
                method: registration.place(),
                spans: spans.clone(),
            };
            jobs.push((CallNumber::nested(self.worker.id, item.number), job));
        }
        let called = registration.pool().name;
        let refused = engine.step(|core, now| {
            if let Err(reason) = objects {
                return Some((Rejected::NoResources(reason.into()), jobs));
            }
            let ticket = submission.ticket;
            let outer = core.scheduler.call_of(self.worker, ticket);
            let outer = outer.map(|(_, _, job)| job.caller);
            let function = match core.function(&callee) {
                Ok(function) => function,
                Err(reason) => return Some((reason, jobs)),
            };
            let terms = core.terms(function, &callee);
            for (id, job) in jobs {
                if let Some(outer) = outer.filter(|_| capture::is_on()) {
                    capture::route_within(called, job.caller.0, outer.0);
                }
                let origin = NestedOrigin {
                    id,
                    worker: self.worker,
                    ticket,
                };
                let traced = engine.trace(core, &job);
                core.scheduler
                    .submit_nested(now, function, Arc::clone(&terms), origin, job);
                engine.begin_spans(id, registration.spec.name, traced);
            }
            core.scheduler.dispatch(now, function);
            None
        });
        if let Some((reason, jobs)) = refused {
            let refuse = |reason: &Rejected| rejected(reason.clone());
            for (id, _) in jobs {
                self.replies.send(id.number(), refuse(&reason));
            }
        }
        Ok(())
    }
}
