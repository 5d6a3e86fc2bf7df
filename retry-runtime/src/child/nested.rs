//! The worker's half of nested calls: submits calls to the parent and delivers their outcomes.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use bytes::{Bytes, BytesMut};

use crate::api::call_id::CallNumber;
use crate::api::failure::Rejected;
use crate::api::options::Options;
use crate::api::run::RunId;
use crate::codec::payload::Payload;
use crate::config::Config;
use crate::function::callee::Callee;
use crate::function::current::{count_request, current};
use crate::job::Job;
use crate::job::caller::Caller;
use crate::job::delivery;
use crate::job::delivery::Deliver;
use crate::job::outcome::CallKey;
#[cfg(feature = "tracing")]
use crate::spans::Batch;
use crate::spans::{Context, forwarder};
use crate::sys::{self, Mark};
use crate::wait::spin;
use crate::wire::message::{self, Calls, Item, Reply};
use crate::wire::nested::{Request, Submission};
use crate::wire::write_queue;

/// Bytes read at once.
const READ: usize = 64 * 1024;

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
    /// Identifies the worker's process.
    mark: Mark,
}

#[derive(Default)]
struct Pending {
    jobs: HashMap<u32, Job>,
    next: u32,
    /// Set once the reading thread has been started.
    reading: bool,
}

impl Upstream {
    /// Installs the connection that this worker received from its parent.
    pub(crate) fn install(socket: OwnedFd, run: RunId, worker: u64, limit: usize) {
        let config = Config::from_environment();
        spin::enable(config.spin);
        let _ = UPSTREAM.set(Self {
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

    /// Submits calls of one function, in order.
    pub(crate) fn submit(
        &'static self,
        callee: &Callee,
        jobs: impl IntoIterator<Item = Job>,
        mut submitted: impl FnMut(CallKey),
    ) -> Result<(), Rejected> {
        // The parent rejects messages whose inputs exceed the limit in total.
        let mut messages = vec![(Vec::new(), Vec::new())];
        let mut caller = Caller::thread();
        let mut span = 0;
        // The parent must know the span in which the calls are made.
        forwarder::flush();
        let mut pending = self.pending();
        if !pending.reading {
            std::thread::Builder::new()
                .name("retry-nested".to_owned())
                .spawn(|| self.read())
                .map_err(|error| Rejected::NoResources(error.to_string().into()))?;
            pending.reading = true;
        }
        for job in jobs.into_iter().flat_map(Job::parts) {
            let input = job.input.clone().into_one();
            caller = job.caller;
            span = job.spans.number();
            if messages
                .last()
                .is_some_and(|(_, payload)| payload.len() + input.len() > self.limit)
            {
                messages.push((Vec::new(), Vec::new()));
            }
            let (calls, payload) = messages.last_mut().expect("there is one");
            pending.next = pending.next.wrapping_add(1).max(1);
            let number = pending.next;
            let input = Payload::One(input);
            calls.push(Item::put(number, job.index, &input, None, payload));
            submitted(CallKey::nested(CallNumber::nested(self.worker, number)));
            pending.jobs.insert(number, job);
        }
        drop(pending);
        for (items, payload) in messages {
            let head = Request::Submit(Submission {
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
                ticket: current().map_or(0, |call| call.ticket()),
                span,
            });
            self.write(&head, &payload);
        }
        Ok(())
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
        let _whole = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let head = message::encode(request().borrow(), payload.len());
        // Count the request before writing it: an answer that follows on the other connection must not
        // overtake this message.
        count_request();
        // A failure means that the parent has exited, which the watchdog handles.
        let _ = write_queue::send_all(&self.socket, &head, payload);
    }

    /// Receives replies and delivers their outcomes, until the connection ends.
    fn read(&self) {
        let mut input = BytesMut::new();
        loop {
            loop {
                // The texts of a failure may be as large as the message limit.
                let taken = message::take::<Reply>(&mut input, usize::MAX, usize::MAX);
                let taken = taken.and_then(|taken| {
                    let replied = |(reply, mut payload): (Reply, Bytes)| {
                        Ok((reply.number, reply.take(&mut payload)?))
                    };
                    taken.map(replied).transpose()
                });
                let (number, outcome) = match taken {
                    Ok(Some(replied)) => replied,
                    Ok(None) => break,
                    // The parent runs this same program, so this is a bug. Without the reader, callers would
                    // wait forever.
                    Err(reason) => {
                        eprintln!("the parent sent {reason}");
                        std::process::abort();
                    }
                };
                let job = self.pending().jobs.remove(&number);
                if let Some(mut job) = job {
                    // The caller's span must not stay open because of this thread.
                    job.spans = Context::default();
                    delivery::deliver(&mut vec![(job, outcome)]);
                }
            }
            let want = message::wanted(&input, READ, self.limit.max(READ));
            match sys::read_into(self.socket.as_fd(), &mut input, want) {
                Ok(0) => return,
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(_) => return,
            }
        }
    }
}
