//! The loop of functions that take many inputs at once.

use std::time::Instant;

use super::calls::Input;
use super::current::{self, Current};
use super::invocation::{Invocation, State};
use super::outbox::Remarks;
use super::serve::{Growth, Server};
use super::{PANICKED, flush_stdout, leave_if_forked, panics};
use crate::args::Val;
use crate::codec::Wire;
use crate::faults;
use crate::registry::Served;
use crate::spec::{Batch, FunctionSpec};
use crate::sys;
use crate::transport::frame::{CallHeader, Kind, Order};

/// A collection of the inputs or of the results of a batch.
#[diagnostic::on_unimplemented(
    message = "a function with `batch` takes a `Vec` of inputs and returns a `Vec` of results",
    label = "this is not a `Vec`"
)]
pub trait Batched {
    /// What callers pass or get.
    type Item;
}

impl<T> Batched for Vec<T> {
    type Item = T;
}

/// Runs a batch: hands all inputs to `body` and each of them its own result through `reply`.
pub(crate) fn run_batch<T: Wire, R>(
    batch: &mut [Invocation],
    spec: &FunctionSpec,
    body: impl FnOnce(Vec<T>) -> Vec<R>,
    mut reply: impl FnMut(&mut Invocation, R),
) {
    let mut inputs = Vec::with_capacity(batch.len());
    let mut accepted = Vec::with_capacity(batch.len());
    for invocation in batch {
        if let Some((input,)) = invocation.arguments::<(Val<T>,)>(spec) {
            inputs.push(input);
            accepted.push(invocation);
        }
    }
    if accepted.is_empty() {
        return;
    }
    let results = body(inputs);
    if results.len() == accepted.len() {
        for (invocation, result) in accepted.into_iter().zip(results) {
            reply(invocation, result);
        }
    } else {
        let expected = accepted.len();
        for invocation in accepted {
            invocation.wrong_length(expected, results.len());
        }
    }
}

/// Serves until the parent ends the connection.
pub(super) fn serve(
    server: &mut Server,
    served: &Served,
    run: fn(&mut [Invocation]),
    state: &State,
) {
    let batch = served.spec().batch.unwrap_or(Batch::ONE);
    let mut growth = Growth::new(served);
    let mut has_answered = false;
    while let Some(collected) = collect(server, batch) {
        let started = sys::monotonic_nanos();
        let mut headers = Vec::with_capacity(collected.len());
        let mut invocations = Vec::with_capacity(collected.len());
        for (header, payload) in collected {
            if server.board.claim(headers.len(), header.ticket, started) {
                headers.push(header);
                let state = state.clone();
                invocations.push(Invocation::new(payload, state, server.limit));
            }
        }
        let Some(first) = headers.first() else {
            continue;
        };
        current::enter(Current::new(first, 0));
        panics::forget();
        let ran = panics::told(|| {
            for header in &headers {
                faults::act(header.fault, &server.outbox);
            }
            run(&mut invocations);
        });
        leave_if_forked(server.mark, if ran.is_ok() { 0 } else { PANICKED });
        current::leave();
        flush_stdout();
        let panic = ran.err().map(|one| panics::caught(one, server.limit));
        panics::forget();
        let duration = sys::monotonic_nanos()
            .saturating_sub(started)
            .saturating_sub(server.board.paused(0));
        let remarks = Remarks {
            used_up: growth.is_exceeded(),
        };
        // What a batch prints is from all of its inputs.
        let alone = headers.len() == 1;
        let Server {
            printed, outbox, ..
        } = &mut *server;
        if !printed.is_certain(duration) {
            printed.look(outbox, headers[0].ticket, alone, true);
        }
        for (slot, (header, invocation)) in headers.iter().zip(invocations).enumerate() {
            let mut kind = invocation.kind();
            let mut output = invocation.into_output();
            if let Some(panic) = &panic {
                kind = Kind::Panicked;
                panics::encode(panic, output.instead());
            }
            server
                .outbox
                .answer_with(kind, header.ticket, duration, remarks, &output);
            server.board.done(slot);
        }
        // The next batch may be there, and may take its time.
        server.outbox.flush();
        if !std::mem::replace(&mut has_answered, true) {
            server.printed.measure();
            // The first call may have installed a hook of its own.
            panics::install();
        }
    }
}

/// The inputs of the next batch: as many as it may have, or what comes within its time. `None`
/// when the parent has ended the connection.
fn collect(server: &mut Server, batch: Batch) -> Option<Vec<(CallHeader, Input)>> {
    let mut collected = Vec::new();
    let mut until: Option<Instant> = None;
    loop {
        while collected.len() < batch.max_size
            && let Some(message) = server.calls.take()
        {
            if message.0.order == Order::Run {
                collected.push(message);
            }
        }
        if collected.len() == batch.max_size {
            return Some(collected);
        }
        server.outbox.flush();
        if collected.is_empty() {
            if !server.calls.wait() {
                return None;
            }
        } else {
            let until = *until.get_or_insert_with(|| Instant::now() + batch.max_wait);
            if !server.calls.wait_until(until) {
                return Some(collected);
            }
        }
    }
}
