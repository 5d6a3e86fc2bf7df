//! The standby: a process that is started before it is needed, so that a worker that dies is replaced at
//! once.
//!
//! A standby has gone through everything up to its orders, and so may serve any function. A program whose
//! workers never die has none. After a worker that was ready had to be replaced, one is kept for a while,
//! since further deaths often follow the first.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::reactor::Inbox;
use super::spawn_environment::SpawnEnvironment;
use super::start::Process;
use crate::sys::group::{signal_group, suspend_group};

/// The time for which a standby is kept after a worker has died, unless the configuration states how long
/// idle workers are kept.
const STANDBY_LIFETIME: Duration = Duration::from_secs(60);

/// The standby of one engine. The spawner starts it, and the I/O thread notices its end.
#[derive(Default)]
pub(crate) struct Standby {
    state: StandbyState,
    /// Former standbys that were killed or have died.
    ending: Vec<Process>,
    /// The running time until which a standby is wanted.
    until: Option<Instant>,
    /// Set once the engine is being shut down.
    closed: bool,
    is_suspended: bool,
}

#[derive(Default)]
enum StandbyState {
    #[default]
    None,
    /// The spawner is about to start one.
    Starting,
    Waiting(Process, Box<SpawnEnvironment>),
}

impl Standby {
    /// Records that a worker that was ready has ended, and not because it had nothing to do. `now` is the
    /// running time, here and below.
    pub(super) fn want(&mut self, now: Instant, kept: Option<Duration>) {
        // The window may be longer than the clock's range.
        let until = now.checked_add(kept.unwrap_or(STANDBY_LIFETIME));
        self.until = until.or_else(|| now.checked_add(STANDBY_LIFETIME));
    }

    /// Marks a standby as starting if one is wanted, and returns whether it is. The caller must then report
    /// the result to [`finish_start`](Self::finish_start).
    pub(super) fn begin_start(&mut self, now: Instant) -> bool {
        let wanted = !self.closed && self.until.is_some_and(|until| now < until);
        let begins = wanted && matches!(self.state, StandbyState::None);
        if begins {
            self.state = StandbyState::Starting;
        }
        begins
    }

    /// Takes the result of a start.
    pub(super) fn finish_start(
        &mut self,
        inbox: &Inbox,
        started: Option<(Process, SpawnEnvironment)>,
    ) {
        self.state = match started {
            Some((process, spawn_environment)) if inbox.watch_standby(&process.pidfd).is_ok() => {
                StandbyState::Waiting(process, Box::new(spawn_environment))
            }
            Some((process, _)) => {
                // Its end would not be noticed.
                process.end();
                StandbyState::None
            }
            None => StandbyState::None,
        };
        if self.closed {
            self.dismiss();
        }
    }

    /// Returns whether there is a standby that can be [taken](Self::take).
    pub(super) fn is_waiting(&self) -> bool {
        matches!(self.state, StandbyState::Waiting(..))
    }

    /// Takes the standby if its spawn environment still matches that of a process started now. Otherwise
    /// dismisses it.
    pub(super) fn take(&mut self, inbox: &Inbox, now: &SpawnEnvironment) -> Option<Process> {
        match std::mem::take(&mut self.state) {
            StandbyState::Waiting(process, then) if *then == *now && !process.has_ended() => {
                inbox.forget_standby(&process.pidfd);
                return Some(process);
            }
            other => self.state = other,
        }
        self.dismiss();
        None
    }

    /// Kills a standby that was taken but cannot be used.
    pub(super) fn discard(&mut self, inbox: &Inbox, process: Process) {
        if inbox.watch_standby(&process.pidfd).is_err() {
            // Its end would not be noticed.
            process.end();
            return;
        }
        process.kill();
        self.ending.push(process);
    }

    /// Maintains the standby and returns the running time at which to do so again. To be called after its end
    /// as well.
    pub(super) fn tend(&mut self, now: Instant, inbox: &Inbox) -> Option<Instant> {
        if let StandbyState::Waiting(process, _) = &self.state {
            let overdue = self.until.is_none_or(|until| until <= now);
            if process.has_ended() || overdue {
                // Another standby would die as well, so none is started before the next worker dies.
                self.until = None;
                self.dismiss();
            }
        }
        for ended in self.ending.extract_if(.., |process| process.has_ended()) {
            inbox.forget_standby(&ended.pidfd);
            ended.end();
        }
        self.until.filter(|_| self.is_waiting())
    }

    /// Allows no more standbys. The process is gone once [`is_gone`](Self::is_gone) returns true.
    pub(crate) fn close(&mut self) {
        self.closed = true;
        self.dismiss();
    }

    /// Returns whether there is no process.
    pub(crate) fn is_gone(&self) -> bool {
        matches!(self.state, StandbyState::None) && self.ending.is_empty()
    }

    /// Suspends the standby until it is [resumed](Self::resume).
    pub(super) fn suspend(&mut self) {
        if let StandbyState::Waiting(process, _) = &self.state {
            self.is_suspended = suspend_group(process.pid());
        }
    }

    pub(super) fn resume(&mut self) {
        if let StandbyState::Waiting(process, _) = &self.state
            && std::mem::take(&mut self.is_suspended)
        {
            signal_group(process.pid(), Signal::CONT);
        }
    }

    /// Kills the standby. The I/O thread notices its end.
    fn dismiss(&mut self) {
        self.state = match std::mem::take(&mut self.state) {
            StandbyState::Waiting(process, _) => {
                process.kill();
                self.ending.push(process);
                StandbyState::None
            }
            other => other,
        };
    }
}
