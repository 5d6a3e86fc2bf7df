//! The end of a worker: reads what it has left, and determines how it has ended.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::process::{WaitIdStatus, WaitStatus};

use super::output::Lines;
use super::receive::{Pace, ReceiveSide};
use super::{OwnedPool, Pool};
use crate::api::failure::{ExitCause, Panic};
use crate::codec;
use crate::local::backend::StartRequest;
use crate::local::core::Core;
use crate::scheduler::{ExitReport, LastPanic};
use crate::sys::children;
use crate::sys::group::kill_group;
use crate::wire::PROCESS_WENT_ON;

/// The outcome of reaping a worker.
pub(super) enum Reaped {
    /// The worker had nothing left to do, or was not ready yet.
    Retired,
    /// The worker was ready, and has ended for another reason.
    Died,
    /// A standby that was killed before it had received its function. Another worker must be started for this
    /// request.
    Again(StartRequest),
}

impl ReceiveSide {
    /// Kills a worker whose process lives on without its connection.
    pub(super) fn kill_overdue(&mut self, pool: Pool<'_>, socket: &OwnedFd) {
        self.look_at_once(pool, socket);
        self.breach(pool, "it closed its connection".to_owned());
        kill_group(self.child.id());
    }

    /// Passes on what a process that has ended has printed, along with the answers that it left. Returns
    /// false if output is still waiting to be written first.
    pub(super) fn look_at_end(&mut self, pool: Pool<'_>, socket: &OwnedFd) -> bool {
        self.drain(pool, true);
        if !self.look(pool, socket) && self.behind.is_none() {
            self.pass_current(pool);
        }
        self.behind.is_none() && !self.hold_back(pool, Pace::Output)
    }

    /// Takes in everything that a process that has ended has left, and reaps it.
    pub(super) fn reap(&mut self, owned: &OwnedPool, socket: &OwnedFd) -> Reaped {
        let pool = owned.get();
        // Output that was printed before the remaining answers must come before them.
        self.drain(pool, true);
        pool.engine.step(|core, _| core.unlink(self.key));
        self.behind = None;
        self.take_in_all(pool, Pace::AtOnce);
        // Read at most what the writer can have left. Normally nothing writes any more, but a process that
        // still does must not keep this loop going for ever.
        let mut left = self.reader.left_behind();
        while left > 0 && !self.broken && !self.reader.is_empty() {
            left = left.saturating_sub(self.read(pool, socket));
            self.take_in_all(pool, Pace::AtOnce);
        }
        // Nothing more is read from this worker.
        self.broken = true;
        self.reaped = true;
        let cause = self.exit_cause();
        // A grandchild may hold the pipes open. Take what is there now and wait for nothing more.
        self.drain(pool, true);
        self.pass_ended(pool);
        let of = pool.engine.step(|core, _| self.current(core));
        self.pass_rest(pool, &of.unwrap_or_default(), Lines::All);
        let (panic, stderr_tail) = self.last_words();
        let report = ExitReport {
            cause,
            claimed: self.control.claimed(),
            has_outlived_lease: pool.engine.lease().is_some() && self.control.has_outlived_lease(),
            panic,
            stderr_tail,
        };
        // A standby that was killed before it had received its function: none of the function's work has
        // begun.
        if let Some(request) = self.again.take_if(|_| !self.said_hello)
            && pool
                .engine
                .step(|core, _| core.scheduler.is_wanted(self.key))
        {
            let _ = self.child.wait();
            self.family.end(None);
            return Reaped::Again(request);
        }
        if report.has_outlived_lease {
            // What may have begun elsewhere must have been given up before the calls are handed out again.
            pool.engine.note_lease_over();
        }
        self.requests.end_spans(pool.engine);
        self.family.begin_end();
        let died = pool.engine.step(|core, now| {
            pool.state().unreaped += 1;
            let died = self.was_ready && self.has_died(core, &report);
            core.scheduler.handle_exit(now, self.key, report);
            self.requests.let_go(core);
            died
        });
        // Wait for the process only now, since it takes a while: the work that the worker held has been
        // handed out again.
        let _ = self.child.wait();
        self.family.end(Some(owned.clone()));
        if died { Reaped::Died } else { Reaped::Retired }
    }

    /// Kills what is left of the process's group, and returns how the process has ended.
    fn exit_cause(&mut self) -> ExitCause {
        let cause = match children::kill_rest(self.child.id(), kill_group) {
            Some(status) => cause_of(&status),
            // The status cannot be determined without waiting for the process, or not at all.
            None => self
                .child
                .wait()
                .map_or(ExitCause::Unknown, cause_of_waited),
        };
        // Blame memory only if the kernel confirms it.
        if matches!(cause, ExitCause::Signal { signal: 9, .. })
            && let Some(cgroup) = &self.family.cgroup
            && let Some((limit, peak)) = cgroup.out_of_memory()
        {
            return ExitCause::OutOfMemory { limit, peak };
        }
        cause
    }

    /// Returns the panic during which the process has ended, and the last lines of its standard error.
    fn last_words(&mut self) -> (Option<LastPanic>, Option<Arc<str>>) {
        let stderr_tail = self.tail.text();
        let words = self.control.last_words();
        let last = words.and_then(|(ticket, words)| {
            let panic = codec::decode_all::<Panic>(&words).ok()?;
            Some(LastPanic { ticket, panic })
        });
        match last {
            // The function caught this panic, and whatever ended the process came after it. Append the
            // message to the tail, because it would have been printed last.
            Some(caught) if caught.ticket == PROCESS_WENT_ON => {
                let before = stderr_tail.as_deref().unwrap_or_default();
                let all = format!("{before}{}", caught.panic.as_printed());
                (None, Some(all.into()))
            }
            last => (last, stderr_tail),
        }
    }

    /// Returns whether a worker has crashed, was killed, or was used up.
    fn has_died(&self, core: &Core, report: &ExitReport) -> bool {
        let function = core.scheduler.function_of(self.key);
        let most = function.and_then(|(_, policy)| policy.max_calls_per_worker);
        report.cause != ExitCause::Code(0)
            || !core.scheduler.executes_nothing(self.key, report.claimed)
            || self.used_up
            || most.is_some_and(|most| report.claimed >= most)
    }
}

/// Returns how a process that has not been waited for yet has ended.
fn cause_of(status: &WaitIdStatus) -> ExitCause {
    let (signal, code) = (status.terminating_signal(), status.exit_status());
    exit_cause(signal, status.dumped(), code)
}

/// Returns how a process that has been waited for has ended.
fn cause_of_waited(status: WaitStatus) -> ExitCause {
    const DUMPED: i32 = 0x80;
    let core_dumped = status.as_raw() & DUMPED != 0;
    exit_cause(
        status.terminating_signal(),
        core_dumped,
        status.exit_status(),
    )
}

fn exit_cause(signal: Option<i32>, core_dumped: bool, code: Option<i32>) -> ExitCause {
    match (signal, code) {
        (Some(signal), _) => ExitCause::Signal {
            signal,
            core_dumped,
        },
        (None, Some(code)) => ExitCause::Code(code),
        (None, None) => ExitCause::Unknown,
    }
}
