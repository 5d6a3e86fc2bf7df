//! The worker's half of nested calls: submits calls to the parent and delivers their outcomes.

use std::borrow::Borrow;
use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use bytes::Bytes;

use crate::api::call_id::CallNumber;
use crate::api::failure::Rejected;
use crate::api::options::Options;
use crate::api::run::RunId;
use crate::codec::payload::Payload;
use crate::config::Config;
use crate::function::callee::Callee;
use crate::function::current::{count_made, count_request, current};
use crate::job::Job;
use crate::job::caller::Caller;
use crate::job::delivery;
use crate::job::delivery::Deliver;
use crate::job::outcome::CallKey;
use crate::shared::{self, Handed, Object, ObjectId, Objects, Received, Source};
#[cfg(feature = "tracing")]
use crate::spans::Batch;
use crate::spans::{Context, forwarder};
use crate::sys::{self, Mark, SealedMemory, StagedMemory};
use crate::wait::spin;
use crate::wire::arrived::{Arrived, NO_DESCRIPTOR};
use crate::wire::message::{self, Calls, Item};
use crate::wire::nested::{Content, Notice, Offered, Purpose, Request, Submission};
use crate::wire::write_queue;

static UPSTREAM: OnceLock<Upstream> = OnceLock::new();

/// This worker's connection for nested calls.
pub(crate) struct Upstream {
    socket: Arc<OwnedFd>,
    /// The run of the parent, which the worker's calls belong to.
    run: RunId,
    worker: u64,
    limit: usize,
    options: Options,
    max_buffered: usize,
    /// Held while writing, so that messages do not interleave.
    writing: Mutex<()>,
    pending: Mutex<Pending>,
    /// Keeps the place of a descriptor, for the file of a shared value: functions may leak descriptors.
    spare: Mutex<Option<OwnedFd>>,
    /// Identifies the worker's process.
    mark: Mark,
}

#[derive(Default)]
struct Pending {
    jobs: HashMap<u32, Job>,
    next: u32,
    /// The threads that wait for shared values.
    objects: HashMap<ObjectId, VecDeque<SyncSender<Fetched>>>,
    /// Set once the reading thread has been started.
    reading: bool,
}

/// A shared value, or the reason for which it cannot be had.
type Fetched = Result<Arc<Object>, String>;

impl Upstream {
    /// Installs the connection that this worker received from its parent.
    pub(crate) fn install(socket: OwnedFd, run: RunId, worker: u64, limit: usize) {
        let config = Config::from_environment();
        spin::enable(config.spin);
        let _ = UPSTREAM.set(Self {
            spare: Mutex::new(socket.try_clone().ok()),
            socket: Arc::new(socket),
            run,
            worker,
            limit,
            // Workers inherit the environment; the parent's other settings do not reach them.
            options: config.options,
            max_buffered: config.max_buffered,
            writing: Mutex::default(),
            pending: Mutex::default(),
            mark: Mark::current(),
        });
        shared::set_source(Source {
            worker,
            fetch: |id| match Self::get() {
                Some(upstream) => upstream.fetch(id),
                None => Err("there is no parent to ask for a shared value".to_owned()),
            },
            count_made: |made| {
                if Self::get().is_some_and(|upstream| !upstream.is_foreign()) {
                    count_made(made);
                }
            },
            give_back: |id, count| {
                if let Some(upstream) = Self::get().filter(|upstream| !upstream.is_foreign()) {
                    upstream.write(&Request::GiveBack { id, count }, &[]);
                }
            },
        });
    }

    /// Returns whether this process was forked from the worker: see `Host::is_foreign`.
    pub(crate) fn is_foreign(&self) -> bool {
        !self.mark.is_current()
    }

    /// Returns the connection if this process is a worker or was forked from one.
    pub(crate) fn get() -> Option<&'static Self> {
        UPSTREAM.get()
    }

    pub(crate) fn run(&self) -> RunId {
        self.run
    }

    pub(crate) fn max_message(&self) -> usize {
        self.limit
    }

    pub(crate) fn max_buffered(&self) -> usize {
        self.max_buffered
    }

    pub(crate) fn options(&self) -> Options {
        self.options
    }

    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts the thread that receives what the parent sends, unless it runs.
    fn start_reading(&'static self, pending: &mut Pending) -> Result<(), String> {
        if !pending.reading {
            std::thread::Builder::new()
                .name("retry-nested".to_owned())
                .spawn(|| self.read())
                .map_err(|error| error.to_string())?;
            pending.reading = true;
        }
        Ok(())
    }

    /// Gets a shared value, or memory in which arguments are staged, from the parent.
    fn fetch(&'static self, id: ObjectId) -> Fetched {
        if self.is_foreign() {
            return Err("a process that was forked from a worker gets no shared values".to_owned());
        }
        let fetched = self.ask_for(id);
        if !matches!(&fetched, Err(reason) if reason == NO_DESCRIPTOR) {
            return fetched;
        }
        // The file is closed again once it is mapped.
        let mut spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner);
        drop(spare.take());
        let fetched = self.ask_for(id);
        *spare = self.socket.try_clone().ok();
        fetched
    }

    fn ask_for(&'static self, id: ObjectId) -> Fetched {
        let (sender, receiver) = sync_channel(1);
        let mut pending = self.pending();
        self.start_reading(&mut pending)?;
        pending.objects.entry(id).or_default().push_back(sender);
        drop(pending);
        self.write(&Request::Object(id), &[]);
        receiver
            .recv()
            .unwrap_or_else(|_| Err("the connection is gone".to_owned()))
    }

    /// Submits a call or the inputs of a chunk. Returns the key of the last one.
    pub(crate) fn submit(&'static self, callee: &Callee, job: Job) -> Result<CallKey, Rejected> {
        // The parent rejects messages whose inputs exceed the limit in total.
        let mut messages = vec![(Vec::new(), Vec::new(), Objects::NONE)];
        let caller = job.caller;
        let span = job.spans.number();
        // The parent must know the span in which the calls are made.
        forwarder::flush();
        let mut pending = self.pending();
        self.start_reading(&mut pending)
            .map_err(|reason| Rejected::NoResources(reason.into()))?;
        for job in job.parts() {
            let input = job.input.clone().into_one();
            if messages
                .last()
                .is_some_and(|(_, payload, _)| payload.len() + input.len() > self.limit)
            {
                messages.push((Vec::new(), Vec::new(), Objects::NONE));
            }
            let (calls, payload, objects) = messages.last_mut().expect("there is one");
            *objects = std::mem::take(objects).and(&job.objects);
            pending.next = pending.next.wrapping_add(1).max(1);
            let number = pending.next;
            let input = Payload::One(input);
            calls.push(Item::put(number, job.index, &input, None, payload));
            pending.jobs.insert(number, job);
        }
        let last = CallNumber::nested(self.worker, pending.next);
        drop(pending);
        for (items, payload, objects) in messages {
            let head = Request::Submit(Box::new(Submission {
                calls: Calls {
                    function: callee.registration.spec.name.to_owned(),
                    config: callee.config.as_deref().map(<[u8]>::to_vec),
                    policy: callee.policy,
                    items,
                },
                budget: callee
                    .budget
                    .as_deref()
                    .map(|budget| (budget.id(), budget.ratio())),
                caller: caller.0,
                called: callee.called.as_ref().map(|line| line.to_string().into()),
                ticket: current().map_or(0, |call| call.ticket()),
                span,
            }));
            // Together, since other threads may submit calls as well.
            let writing = self.begin_writing();
            self.offer(&writing, &objects, Purpose::Calls);
            self.write_locked(&writing, &head, &payload, None);
        }
        Ok(CallKey::nested(last))
    }

    /// Hands over the shared values that the answer to a ticket names, before the answer.
    #[cold]
    pub(crate) fn offer_for_answer(&self, ticket: u64, objects: &Objects) {
        let writing = self.begin_writing();
        self.offer(&writing, objects, Purpose::Answer(ticket));
    }

    fn offer(&self, writing: &MutexGuard<'_, ()>, objects: &Objects, purpose: Purpose) {
        for object in objects.iter() {
            let id = object.id();
            let offer = |content| Request::Offer {
                id,
                purpose,
                content,
            };
            match object.handed() {
                _ if object.came_from_parent() => {
                    self.write_locked(writing, &offer(Offered::There), &[], None);
                }
                Some(Handed::Sealed(file)) => {
                    let offer = offer(Offered::File(object.length() as u64));
                    self.write_locked(writing, &offer, &[], Some(file.as_fd()));
                }
                Some(Handed::Copied(bytes)) => {
                    self.write_locked(writing, &offer(Offered::Payload), bytes, None);
                }
                // Staging memory has no value that could be named.
                Some(Handed::Staging(_)) | None => {}
            }
        }
    }

    /// Sends the parent spans and events.
    #[cfg(feature = "tracing")]
    pub(crate) fn send_spans(&self, batch: Batch) {
        self.write(&Request::Spans(batch), &[]);
    }

    pub(crate) fn cancel(&self, call: CallKey) {
        self.write(&Request::Cancel(vec![call.id.number()]), &[]);
    }

    /// Tells the parent to hold back inputs of a map, or to stop doing so. `held` is evaluated under the
    /// writing lock, so that the last message that is written carries the current state.
    pub(crate) fn hold(&self, caller: Caller, held: impl FnOnce() -> Option<Option<u64>>) {
        self.write_with(
            || {
                let (caller, held) = (caller.0, held());
                Request::Hold { caller, held }
            },
            &[],
        );
    }

    /// Cancels the calls whose outcomes are delivered to `target`.
    pub(crate) fn cancel_all(&self, target: &Arc<dyn Deliver>) {
        let pending = self.pending();
        let there = pending
            .jobs
            .iter()
            .filter(|(_, job)| delivery::is_same(&job.target, target));
        let numbers = there.map(|(number, _)| *number).collect();
        drop(pending);
        self.write(&Request::Cancel(numbers), &[]);
    }

    fn write(&self, request: &Request, payload: &[u8]) {
        self.write_with(|| request, payload);
    }

    fn write_with<R: Borrow<Request>>(&self, request: impl FnOnce() -> R, payload: &[u8]) {
        let writing = self.begin_writing();
        self.write_locked(&writing, request().borrow(), payload, None);
    }

    fn begin_writing(&self) -> MutexGuard<'_, ()> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_locked(
        &self,
        _: &MutexGuard<'_, ()>,
        request: &Request,
        payload: &[u8],
        file: Option<BorrowedFd<'_>>,
    ) {
        let head = message::encode(request, payload.len());
        // Count the request before writing it: an answer that follows on the other connection must not
        // overtake this message.
        count_request();
        if write_queue::send_all(&self.socket, &head, payload, file).is_err() {
            self.end();
        }
    }

    /// Ends this worker, whose connection is broken: calls would wait for answers for ever. The parent keeps its end for
    /// as long as this process lives. So either the parent has exited, or a function has closed descriptors that it
    /// has not opened.
    fn end(&self) {
        if !self.is_foreign() {
            super::end();
        }
    }

    /// Receives what the parent sends and acts on it, until the connection ends.
    fn read(&self) {
        let mut arrived = Arrived::default();
        loop {
            // The texts of a failure may be as large as the message limit.
            let taken = arrived.take::<Notice>(usize::MAX, usize::MAX);
            let acted = match taken {
                Ok(Some((notice, payload))) => self.act(notice, payload, &mut arrived),
                Ok(None) => match arrived.read(&self.socket, self.limit) {
                    Ok(0) => break,
                    Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
                    Err(_) => break,
                },
                Err(reason) => Err(reason),
            };
            // The parent runs this same program, so this is a bug. Without the reader, callers would wait forever.
            if let Err(reason) = acted {
                sys::complain(format_args!("the parent sent {reason}\n"));
                std::process::abort();
            }
        }
        self.end();
    }

    fn act(&self, notice: Notice, mut payload: Bytes, arrived: &mut Arrived) -> Result<(), String> {
        match notice {
            Notice::Reply(reply, named) => {
                let number = reply.number;
                let mut outcome = reply.take(&mut payload)?;
                if !named.is_empty() {
                    // Now, before a following message says that they are not needed any more.
                    let named = shared::borrow(named);
                    outcome.result = outcome.result.map(|value| named.payload(value));
                }
                let job = self.pending().jobs.remove(&number);
                if let Some(mut job) = job {
                    // The caller's span must not stay open because of this thread.
                    job.spans = Context::default();
                    delivery::deliver(&mut vec![(job, outcome)]);
                }
            }
            Notice::Forget(id) => shared::forget(id),
            Notice::Object { id, content } => {
                let text = |error: io::Error| error.to_string();
                let memory = match content {
                    Content::Payload => {
                        let memory = SealedMemory::copy_of(&payload);
                        memory.map(Received::Sealed).map_err(text)
                    }
                    Content::File(length) => arrived.take_file()?.and_then(|file| {
                        let memory = SealedMemory::receive(file, length);
                        let memory = memory.map(SealedMemory::without_file);
                        memory.map(Received::Sealed).map_err(text)
                    }),
                    Content::Staging(length) => arrived.take_file()?.and_then(|file| {
                        let memory = StagedMemory::map(&file, length).map_err(text)?;
                        let length = usize::try_from(length).unwrap_or(usize::MAX);
                        Ok(Received::Staged(memory, length))
                    }),
                    Content::Gone => Err(shared::GONE.to_owned()),
                };
                // Here, so that a following message which says that it is not needed any more finds it.
                let received = memory.map(|memory| shared::receive(id, memory));
                // Each request has an answer of its own, so one thread gets this one.
                let mut pending = self.pending();
                let waiting = pending.objects.get_mut(&id);
                if let Some(first) = waiting.and_then(VecDeque::pop_front) {
                    let _ = first.send(received);
                }
                pending.objects.retain(|_, waiting| !waiting.is_empty());
            }
        }
        Ok(())
    }
}
