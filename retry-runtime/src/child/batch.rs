//! The loop for functions that take a batch of inputs.

use std::time::Instant;

use super::faults;
use super::result_writer::Remarks;
use super::serve::{Growth, Server};
use super::{PANICKED, flush_stdout};
use crate::api::spec::Batch;
use crate::function::current::{self, Current};
use crate::function::invocation::{Input, Invocation, State};
use crate::function::panics;
use crate::function::registry::Served;
use crate::spans::forwarder;
use crate::sys::exit_if_forked;
use crate::wire::frame::{CallHeader, Kind, Order};

/// Serves batches until the parent closes the connection.
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
        let started = server.control.now();
        let mut headers = Vec::with_capacity(collected.len());
        let mut invocations = Vec::with_capacity(collected.len());
        for (header, payload) in collected {
            forwarder::raise(header.level);
            if server.control.claim(headers.len(), header.ticket, started) {
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
        let ran = panics::catch(|| {
            for header in &headers {
                faults::act(header.fault, &server.results);
            }
            run(&mut invocations);
        });
        exit_if_forked(server.mark, if ran.is_ok() { 0 } else { PANICKED });
        current::leave();
        flush_stdout();
        let panic = ran.err().map(|one| panics::caught(one, server.limit));
        panics::forget();
        let control = &server.control;
        let duration = control.elapsed(0, started);
        let remarks = Remarks {
            used_up: growth.check(),
        };
        // The output of a batch belongs to all of its inputs.
        let alone = headers.len() == 1;
        let Server {
            printed, results, ..
        } = &mut *server;
        if !printed.is_certain(duration) {
            printed.look(results, headers[0].ticket, alone, true);
        }
        for (slot, (header, invocation)) in headers.iter().zip(invocations).enumerate() {
            let mut kind = invocation.kind();
            let mut output = invocation.into_output();
            if let Some(panic) = &panic {
                kind = Kind::Panicked;
                panics::encode(panic, output.instead());
            }
            server
                .results
                .answer_with(kind, header.ticket, duration, remarks, &output);
            server.control.clear_slot(slot);
        }
        // Flush now: the next batch may already be here, and it may take long.
        server.results.flush();
        if !std::mem::replace(&mut has_answered, true) {
            server.printed.measure();
            // The first call may have installed its own panic hook.
            panics::install();
        }
    }
}

/// Collects the inputs of the next batch: up to `max_size`, or those that arrive within `max_wait` of the
/// first. Returns `None` if the parent has closed the connection.
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
        server.results.flush();
        if collected.is_empty() {
            if !server.calls.wait(None) {
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
