//! The loop of async functions: several calls at once on the worker's one thread.

use std::cell::Cell;
use std::collections::{HashMap, VecDeque};
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::task::{AbortHandle, Id, JoinError, JoinSet};

use super::faults;
use super::result_writer::{Remarks, ResultWriter};
use super::serve::{Growth, Server};
use super::{PANICKED, STRANGER, exit, flush_stdout};
use crate::function::current::{self, Current};
use crate::function::driver::{Driver, Socket};
use crate::function::invocation::Input;
use crate::function::invocation::{Invocation, LocalFuture, Output, State};
use crate::function::panics;
use crate::function::registry::{Run, Served};
use crate::sys::exit_if_forked;
use crate::sys::{self, Mark};
use crate::wire::ControlBlock;
use crate::wire::bell::Heard;
use crate::wire::frame::{CallHeader, Kind, Order};

/// Serves until the parent ends the connection.
pub(super) fn serve(server: &mut Server, served: &Served, state: &State, driver: &Driver) {
    let socket = Socket::new(Arc::clone(&server.socket));
    let mut executor = Executor {
        served,
        state,
        waiting: VecDeque::new(),
        slots: vec![false; served.spec().concurrency],
        running: HashMap::new(),
        tasks: JoinSet::new(),
        shared: false,
        growth: Growth::new(served),
        has_answered: false,
        server,
    };
    driver.run(
        Some(&socket),
        poll_fn(|context| executor.turn(&socket, context)),
    );
}

struct Executor<'a> {
    server: &'a mut Server,
    served: &'a Served,
    state: &'a State,
    /// What has come and is not claimed.
    waiting: VecDeque<(CallHeader, Input)>,
    /// Which slots are taken.
    slots: Vec<bool>,
    running: HashMap<Id, Running>,
    tasks: JoinSet<Option<(Kind, Output)>>,
    /// Set if several calls may have printed since it was last looked at.
    shared: bool,
    growth: Growth,
    has_answered: bool,
}

struct Running {
    slot: usize,
    ticket: u64,
    /// When it was polled first, in nanoseconds on the monotonic clock.
    started: Rc<Cell<u64>>,
    abort: AbortHandle,
}

impl Executor<'_> {
    /// Does what there is to do; ready at the end of the connection.
    fn turn(&mut self, socket: &Socket, context: &mut Context<'_>) -> Poll<()> {
        exit_if_forked(self.server.mark, 0);
        loop {
            let mut idle = true;
            while let Poll::Ready(Some(done)) = self.tasks.poll_join_next_with_id(context) {
                self.answer(done);
                idle = false;
            }
            // Until there is nothing: only then it is watched for more.
            while socket.is_readable() {
                match self.server.calls.hear() {
                    Heard::Ring => {}
                    // They are taken below, and then it is looked again.
                    Heard::Frames => {
                        idle = false;
                        break;
                    }
                    Heard::Nothing => socket.was_read(),
                    // The parent is gone, or a function has closed all that it found.
                    Heard::End if !self.server.calls.is_closed() => super::end(),
                    Heard::End => break,
                }
            }
            self.take_orders();
            while self.start_next() {
                idle = false;
            }
            if idle {
                self.server.results.flush();
                if self.running.is_empty() && self.server.calls.look() {
                    continue;
                }
                if self.server.calls.sleeps() {
                    return Poll::Pending;
                }
                if self.server.calls.is_closed() && !self.server.calls.has_more() {
                    return Poll::Ready(());
                }
            }
        }
    }

    /// Orders are obeyed at once, also where calls that came before them still wait.
    fn take_orders(&mut self) {
        while let Some((header, payload)) = self.server.calls.take() {
            match header.order {
                Order::Run => self.waiting.push_back((header, payload)),
                Order::Ask => current::asked(header.ticket),
                Order::Abort => {
                    let mut running = self.running.values();
                    if let Some(running) = running.find(|one| one.ticket == header.ticket) {
                        running.abort.abort();
                    }
                }
            }
        }
    }

    /// Starts a call if there is one and a slot for it.
    fn start_next(&mut self) -> bool {
        let Some(slot) = self.slots.iter().position(|taken| !taken) else {
            return false;
        };
        let Some((header, payload)) = self.waiting.pop_front() else {
            return false;
        };
        let Some(run) = self.served.run(header.method) else {
            exit(STRANGER);
        };
        if self.running.is_empty() {
            panics::forget();
        }
        let started = Rc::new(Cell::new(0));
        let state = self.state.clone();
        let invocation = Invocation::new(payload, state, self.server.limit);
        let abort = self.tasks.spawn_local(Attempt {
            mark: self.server.mark,
            current: Current::new(&header, slot),
            fault: header.fault,
            results: Rc::clone(&self.server.results),
            limit: self.server.limit,
            start: Some(Start {
                control: Arc::clone(&self.server.control),
                slot,
                ticket: header.ticket,
                at: Rc::clone(&started),
                run,
                invocation,
            }),
            future: None,
        });
        let id = abort.id();
        self.slots[slot] = true;
        let running = Running {
            slot,
            ticket: header.ticket,
            started,
            abort,
        };
        self.running.insert(id, running);
        self.shared |= self.running.len() > 1;
        true
    }

    fn answer(&mut self, done: Result<(Id, Option<(Kind, Output)>), JoinError>) {
        let (id, answer) = match done {
            Ok((id, answer)) => (id, answer),
            // Panics are caught inside, so that it can only have been aborted.
            Err(error) => (error.id(), Some((Kind::Aborted, Output::default()))),
        };
        let Some(running) = self.running.remove(&id) else {
            return;
        };
        let Some((kind, output)) = answer else {
            self.slots[running.slot] = false;
            return;
        };
        if self.running.is_empty() {
            panics::forget();
        }
        flush_stdout();
        let server = &mut *self.server;
        let duration = sys::monotonic_nanos()
            .saturating_sub(running.started.get())
            .saturating_sub(server.control.paused(running.slot));
        let remarks = Remarks {
            used_up: self.growth.is_exceeded(),
        };
        let left = self.running.len();
        if !self.shared {
            if !server.printed.is_certain(duration) {
                server
                    .printed
                    .look(&server.results, running.ticket, true, true);
            }
        } else if left > 1 {
            server.printed.leaves_unseen(running.ticket);
        } else {
            // What is printed from here on is from one of them alone.
            self.shared = false;
            let last = left == 0;
            server
                .printed
                .look(&server.results, running.ticket, false, last);
        }
        server
            .results
            .answer_with(kind, running.ticket, duration, remarks, &output);
        server.control.done(running.slot);
        self.slots[running.slot] = false;
        if !std::mem::replace(&mut self.has_answered, true) {
            server.results.flush();
            server.printed.measure();
            // The first call may have installed a hook of its own.
            panics::install();
        }
    }
}

/// One attempt: a future that catches panics and during which its call is the current one.
struct Attempt {
    /// The worker's process.
    mark: Mark,
    current: Current,
    fault: u16,
    results: Rc<ResultWriter>,
    limit: usize,
    start: Option<Start>,
    future: Option<LocalFuture<Invocation>>,
}

/// An attempt before its first poll. Only then its ticket is claimed, and its time begins: until then an
/// input that does not yield may keep the thread. Tasks are polled first in the order in which they were
/// spawned, as tickets have to be claimed.
struct Start {
    control: Arc<ControlBlock>,
    slot: usize,
    ticket: u64,
    at: Rc<Cell<u64>>,
    run: Run,
    invocation: Invocation,
}

impl Start {
    fn claims(&self) -> bool {
        self.at.set(sys::monotonic_nanos());
        self.control.claim(self.slot, self.ticket, self.at.get())
    }
}

impl Future for Attempt {
    /// Nothing if the parent has taken the input back.
    type Output = Option<(Kind, Output)>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if this.start.as_ref().is_some_and(|start| !start.claims()) {
            return Poll::Ready(None);
        }
        current::enter(this.current);
        let polled = panics::told(|| {
            if let Some(Start {
                run,
                mut invocation,
                ..
            }) = this.start.take()
            {
                faults::act(this.fault, &this.results);
                match run {
                    Run::Async(start) => this.future = Some(start(invocation)),
                    // A method that is not async, of a service that has others which are.
                    Run::Blocking(run) => {
                        run(&mut invocation);
                        return Poll::Ready(invocation);
                    }
                    Run::Batch(run) => {
                        run(std::slice::from_mut(&mut invocation));
                        return Poll::Ready(invocation);
                    }
                }
            }
            let future = this.future.as_mut().expect("it was started");
            future.as_mut().poll(context)
        });
        exit_if_forked(this.mark, if polled.is_ok() { 0 } else { PANICKED });
        current::leave();
        match polled {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(invocation)) => {
                let kind = invocation.kind();
                Poll::Ready(Some((kind, invocation.into_output())))
            }
            Err(payload) => {
                let mut output = Output::default();
                let panic = panics::caught(payload, this.limit);
                panics::encode(&panic, output.instead());
                // What the future holds is dropped here, where a panic can still be caught.
                let _ = catch_unwind(AssertUnwindSafe(|| this.future = None));
                Poll::Ready(Some((Kind::Panicked, output)))
            }
        }
    }
}
