//! The loop for async functions: concurrent calls on the worker's one serving thread.

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
use crate::spans::forwarder;
use crate::sys::{Mark, exit_if_forked};
use crate::wire::ControlBlock;
use crate::wire::bell::Heard;
use crate::wire::frame::{CallHeader, Kind, Order};

/// Serves calls until the parent closes the connection.
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
    /// Calls that have arrived and are not claimed yet.
    waiting: VecDeque<(CallHeader, Input)>,
    /// The slots: true for those in use.
    slots: Vec<bool>,
    running: HashMap<Id, RunningTask>,
    tasks: JoinSet<Option<(Kind, Output)>>,
    /// Set if several calls may have printed since the output was last counted.
    shared: bool,
    growth: Growth,
    has_answered: bool,
}

struct RunningTask {
    slot: usize,
    ticket: u64,
    /// Time of the first poll, in nanoseconds on the clock of the control block.
    started: Rc<Cell<u64>>,
    abort: AbortHandle,
}

impl Executor<'_> {
    /// Makes all progress that is possible now. Ready when the parent has closed the connection.
    fn turn(&mut self, socket: &Socket, context: &mut Context<'_>) -> Poll<()> {
        exit_if_forked(self.server.mark, 0);
        loop {
            let mut idle = true;
            while let Poll::Ready(Some(done)) = self.tasks.poll_join_next_with_id(context) {
                self.answer(done);
                idle = false;
            }
            // Read until nothing is left: only then does the driver watch the socket again.
            while socket.is_readable() {
                match self.server.calls.hear() {
                    Heard::Ring => {}
                    // The frames are taken below; the next pass looks at the socket again.
                    Heard::Frames => {
                        idle = false;
                        break;
                    }
                    Heard::Nothing => socket.mark_read(),
                    // Either the parent has exited, or a function has closed every descriptor it found.
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
                if self.server.calls.arm_bell() {
                    return Poll::Pending;
                }
                if self.server.calls.is_closed() && !self.server.calls.has_more() {
                    return Poll::Ready(());
                }
            }
        }
    }

    /// Takes orders. `Ask` and `Abort` are obeyed at once, even if earlier calls are still waiting.
    fn take_orders(&mut self) {
        while let Some((header, payload)) = self.server.calls.take() {
            match header.order {
                Order::Run => self.waiting.push_back((header, payload)),
                Order::Ask => current::wake_asked(header.ticket),
                Order::Abort => {
                    let mut running = self.running.values();
                    if let Some(running) = running.find(|one| one.ticket == header.ticket) {
                        running.abort.abort();
                    }
                }
            }
        }
    }

    /// Starts the next call if there is one and a slot is free. Returns whether it did.
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
        forwarder::raise(header.level);
        if self.running.is_empty() {
            panics::forget();
        }
        let started = Rc::new(Cell::new(0));
        let state = self.state.clone();
        let invocation = Invocation::new(payload, state, self.server.limit);
        let abort = self.tasks.spawn_local(AttemptFuture {
            mark: self.server.mark,
            current: Current::new(&header, slot),
            fault: header.fault,
            results: Rc::clone(&self.server.results),
            limit: self.server.limit,
            control: Arc::clone(&self.server.control),
            ticket: header.ticket,
            start: Some(Start {
                slot,
                at: Rc::clone(&started),
                run,
                invocation,
            }),
            future: None,
        });
        let id = abort.id();
        self.slots[slot] = true;
        let running = RunningTask {
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
            // Panics are caught inside the task, so it can only have been aborted.
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
        let control = &server.control;
        let duration = control.elapsed(running.slot, running.started.get());
        let remarks = Remarks {
            used_up: self.growth.check(),
        };
        let left = self.running.len();
        if !self.shared {
            if !server.printed.is_certain(duration) {
                server
                    .printed
                    .look(&server.results, running.ticket, true, true);
            }
        } else if left > 1 {
            server.printed.mark_unseen(running.ticket);
        } else {
            // From here on at most one call is executing, so new output belongs to it alone.
            self.shared = false;
            let last = left == 0;
            server
                .printed
                .look(&server.results, running.ticket, false, last);
        }
        server
            .results
            .answer_with(kind, running.ticket, duration, remarks, &output);
        server.control.clear_slot(running.slot);
        self.slots[running.slot] = false;
        if !std::mem::replace(&mut self.has_answered, true) {
            server.results.flush();
            server.printed.measure();
            // The first call may have installed its own panic hook.
            panics::install();
        }
    }
}

/// One attempt: a future that catches panics and makes its call the current one while it is polled.
struct AttemptFuture {
    /// Identifies the worker's process.
    mark: Mark,
    current: Current,
    fault: u16,
    results: Rc<ResultWriter>,
    limit: usize,
    control: Arc<ControlBlock>,
    ticket: u64,
    start: Option<Start>,
    future: Option<LocalFuture<Invocation>>,
}

/// An attempt before its first poll. The first poll claims the ticket and starts the clock, not the spawn: in
/// between, an input that does not yield may occupy the thread. Tasks are first polled in the order in which
/// they were spawned, which is the order in which tickets must be claimed.
struct Start {
    slot: usize,
    at: Rc<Cell<u64>>,
    run: Run,
    invocation: Invocation,
}

impl Start {
    /// Starts the clock and claims the ticket. Returns false if the parent has recalled it.
    fn try_claim(&self, control: &ControlBlock, ticket: u64) -> bool {
        self.at.set(control.now());
        control.claim(self.slot, ticket, self.at.get())
    }
}

impl Future for AttemptFuture {
    /// `None` if the parent has recalled the input.
    type Output = Option<(Kind, Output)>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if let Some(start) = &this.start
            && !start.try_claim(&this.control, this.ticket)
        {
            return Poll::Ready(None);
        }
        this.control.set_polled(this.ticket);
        current::enter(this.current);
        let polled = panics::catch(|| {
            if let Some(Start {
                run,
                mut invocation,
                ..
            }) = this.start.take()
            {
                faults::act(this.fault, &this.results);
                match run {
                    Run::Async(start) => this.future = Some(start(invocation)),
                    // A blocking method of a service that also has async methods.
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
        this.control.set_polled(0);
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
                // Drop the future's state here, where a panic can still be caught.
                let _ = catch_unwind(AssertUnwindSafe(|| this.future = None));
                Poll::Ready(Some((Kind::Panicked, output)))
            }
        }
    }
}
