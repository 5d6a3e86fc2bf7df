//! A process that is started before it is needed, so that a worker that dies is replaced at once.
//!
//! It has gone through everything up to its orders, and so may serve any function. A program
//! whose workers never die has none: one is kept for a while after a worker that was ready had to
//! be replaced, since where one dies the next one often follows.

use std::time::{Duration, Instant};

use super::process::Process;
use super::reactor::Inbox;
use super::spawn_environment::SpawnEnvironment;

/// How long one is kept after a worker has died, where nobody says how long idle workers are.
const KEPT: Duration = Duration::from_secs(60);

/// The standby of one engine. The spawner starts it, and the I/O thread notices its end.
#[derive(Default)]
pub(crate) struct Standby {
    state: State,
    /// Those that were killed or have died.
    ending: Vec<Process>,
    /// Until when one is wanted.
    until: Option<Instant>,
    /// The engine is being shut down.
    closed: bool,
}

#[derive(Default)]
enum State {
    #[default]
    None,
    /// The spawner is about to start one.
    Starting,
    Waiting(Process, Box<SpawnEnvironment>),
}

impl Standby {
    /// A worker that was ready has ended, and not because it had nothing to do.
    pub(super) fn want(&mut self, kept: Option<Duration>) {
        let now = Instant::now();
        // Some windows are longer than the clock goes.
        let until = now.checked_add(kept.unwrap_or(KEPT));
        self.until = until.or_else(|| now.checked_add(KEPT));
    }

    /// Whether one is to be started. If so, [`started`](Self::started) is to be told.
    pub(super) fn begin(&mut self) -> bool {
        let wanted = !self.closed && self.until.is_some_and(|until| Instant::now() < until);
        let begins = wanted && matches!(self.state, State::None);
        if begins {
            self.state = State::Starting;
        }
        begins
    }

    /// What became of the start.
    pub(super) fn started(&mut self, inbox: &Inbox, started: Option<(Process, SpawnEnvironment)>) {
        self.state = match started {
            Some((process, spawn_environment)) if inbox.watch_standby(&process.pidfd).is_ok() => {
                State::Waiting(process, Box::new(spawn_environment))
            }
            Some((process, _)) => {
                // Nobody would hear of its end.
                process.end();
                State::None
            }
            None => State::None,
        };
        if self.closed {
            self.dismiss();
        }
    }

    /// Whether there is one to be [taken](Self::take).
    pub(super) fn is_waiting(&self) -> bool {
        matches!(self.state, State::Waiting(..))
    }

    /// The process, if it is as good as one that is started now.
    pub(super) fn take(&mut self, inbox: &Inbox, now: &SpawnEnvironment) -> Option<Process> {
        match std::mem::take(&mut self.state) {
            State::Waiting(process, then) if *then == *now && !process.has_ended() => {
                inbox.forget_standby(&process.pidfd);
                return Some(process);
            }
            other => self.state = other,
        }
        self.dismiss();
        None
    }

    /// One that was taken cannot be used.
    pub(super) fn discard(&mut self, inbox: &Inbox, process: Process) {
        if inbox.watch_standby(&process.pidfd).is_err() {
            // Nobody would hear of its end.
            process.end();
            return;
        }
        process.kill();
        self.ending.push(process);
    }

    /// Looks after it, and says when to do so again. To be called when it has ended as well.
    pub(super) fn tend(&mut self, inbox: &Inbox) -> Option<Instant> {
        if let State::Waiting(process, _) = &self.state {
            let overdue = self.until.is_none_or(|until| until <= Instant::now());
            if process.has_ended() || overdue {
                // Another one would die as well: it is not tried again before a worker dies.
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

    /// No more from now on. The process is gone when [`is_gone`](Self::is_gone).
    pub(crate) fn close(&mut self) {
        self.closed = true;
        self.dismiss();
    }

    /// Whether there is no process.
    pub(crate) fn is_gone(&self) -> bool {
        matches!(self.state, State::None) && self.ending.is_empty()
    }

    /// Kills it. The I/O thread hears of its end.
    fn dismiss(&mut self) {
        self.state = match std::mem::take(&mut self.state) {
            State::Waiting(process, _) => {
                process.kill();
                self.ending.push(process);
                State::None
            }
            other => other,
        };
    }
}
