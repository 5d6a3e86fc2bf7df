//! The agent's side: takes tasks from their queues, and shows the server that they are being worked on.

use std::fmt;
use std::future::poll_fn;
use std::io::{self, Write};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

use retry_runtime::engine::{Agent, Delivery, Execution, Queue, Verdict};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

use crate::backoff::Backoff;
use crate::presence::Callers;
use crate::runtime;
use crate::service::{self, LONG_LIMIT, Problem, Report, Service, Taken};

/// The time after which a queue without room is looked at again: calls of a task end one by one.
const LOOK: Duration = Duration::from_millis(50);

/// The longest time between two signs of life at the beginning of a task.
const FIRST_BEAT: Duration = Duration::from_secs(1);

/// The time after which a heartbeat without an answer is sent again, at most.
const BEAT_LIMIT: Duration = Duration::from_secs(10);

/// The time limit of a poll for tasks, which the server ends without one a second earlier. An agent that drains waits for
/// that, and never gives a poll up: the server may be about to answer it with a task, which then belongs to nobody until
/// it is given up. That also happens if the server is asked to end polls
/// (`frontend.enableCancelWorkerPollsOnShutdown`). So the limit is short, and a poll costs the server little.
const POLL_LIMIT: Duration = Duration::from_secs(6);

/// The time that the server has for forgetting an agent that drains.
const FORGETTING: Duration = Duration::from_secs(1);

/// The separator in the identity of an agent's presence poll: the name of the agent, this, and a queue that it serves.
const SERVES: &str = " serves ";

/// Returns the queue that an agent of this identity serves.
pub(crate) fn served_by(identity: &str) -> Option<Queue> {
    let (_, queue) = identity.rsplit_once(SERVES)?;
    queue.parse().ok()
}

/// Serves an agent until it is drained.
pub(crate) fn serve(address: &str, agent: Agent) -> Result<(), String> {
    let service = service::open(address, agent.name())?;
    let handle = runtime::handle()?;
    let (sender, ended) = mpsc::channel();
    let (draining, drains) = watch::channel(false);
    let host = Arc::new(Host {
        service,
        key: format!("{}/{:016x}", agent.name(), crate::backoff::random()),
        agent,
        drains,
        callers: Callers::new(),
        changed: Notify::new(),
        is_waiting: AtomicBool::new(false),
    });
    // The caller may be a thread of another runtime, so it must not drive this one.
    handle.spawn(async move {
        let _ = sender.send(host.serve(&draining).await);
    });
    ended
        .recv()
        .map_err(|_| "the agent has panicked".to_owned())?
}

struct Host {
    service: Service,
    /// The key by which the server knows the polls for tasks of this agent.
    key: String,
    agent: Agent,
    drains: watch::Receiver<bool>,
    /// Those whose tasks this agent has or had.
    callers: Callers,
    /// Tells that there may be room for tasks again.
    changed: Notify,
    /// `true` once a message has said that the server is away, until it answers.
    is_waiting: AtomicBool,
}

impl Host {
    async fn serve(self: Arc<Self>, draining: &watch::Sender<bool>) -> Result<(), String> {
        let mut drains = pin!(poll_fn(|context| self.agent.poll_draining(context)));
        let found = tokio::select! {
            found = self.service.ping() => found,
            () = &mut drains => return Ok(()),
        };
        match found {
            Ok(()) | Err(Problem::Busy | Problem::Exists) => {}
            Err(Problem::NotFound(reason) | Problem::Denied(reason) | Problem::Refused(reason)) => {
                let place = self.service.place();
                return Err(format!("the Temporal server at {place}: {reason}"));
            }
            Err(problem) => self.is_away(&problem),
        }
        let mut all = JoinSet::new();
        for queue in self.agent.queues() {
            let (host, shown) = (Arc::clone(&self), queue.clone());
            all.spawn(async move { host.show(&shown).await });
            let host = Arc::clone(&self);
            all.spawn(async move { host.take(&queue).await });
        }
        drains.await;
        draining.send_replace(true);
        while let Some(ended) = all.join_next().await {
            ended.map_err(|error| format!("the agent has failed: {error}"))?;
        }
        Ok(())
    }

    /// Completes when the agent drains.
    async fn drained(&self) {
        let mut drains = self.drains.clone();
        let _ = drains.wait_for(|drains| *drains).await;
    }

    /// Shows those that look for them that this machine serves a function, also while there is no room for tasks.
    async fn show(&self, queue: &Queue) {
        let identity = format!("{}{SERVES}{queue}", self.agent.name());
        // The server ends all polls of a key at once, and those for tasks are not to be ended.
        let key = format!("{}/shown", self.key);
        let show = async {
            let mut backoff = Backoff::new();
            loop {
                let begun = Instant::now();
                let polled = self
                    .service
                    .poll(queue.function(), &identity, &key, LONG_LIMIT);
                match polled.await {
                    Ok(None) => tokio::time::sleep(backoff.after_poll(begun)).await,
                    Ok(Some(task)) => {
                        let why = Report::Failed("this queue has no tasks");
                        let _ = self.service.report(&task.token, &why).await;
                    }
                    Err(_) => self.answers(&mut backoff).await,
                }
            }
        };
        // Calls that it still has are served until they have ended.
        let ended = async {
            self.drained().await;
            while !self.agent.is_drained() {
                tokio::time::sleep(LOOK).await;
            }
        };
        tokio::select! {
            () = show => {}
            () = ended => {}
        }
        // The server forgets that this machine serves it.
        let ended = self.service.end_polls(queue.function(), &identity, &key);
        let _ = tokio::time::timeout(FORGETTING, ended).await;
    }

    /// Takes tasks from a queue, and takes them to their ends.
    async fn take(self: &Arc<Self>, queue: &Queue) {
        let name = queue.to_string();
        let mut held = JoinSet::new();
        let mut backoff = Backoff::new();
        while !*self.drains.borrow() {
            if self.agent.free(queue) == 0 {
                tokio::select! {
                    () = self.changed.notified() => {}
                    () = tokio::time::sleep(LOOK) => {}
                    () = self.drained() => {}
                }
                continue;
            }
            // Also if the agent drains meanwhile: a task that comes with it is handed back.
            let begun = Instant::now();
            let polled = self
                .service
                .poll(&name, self.agent.name(), &self.key, POLL_LIMIT);
            let polled = polled.await;
            if polled.is_ok() {
                self.is_back();
            }
            match polled {
                Ok(Some(mut task)) => {
                    backoff = Backoff::new();
                    let delivery = Delivery {
                        body: std::mem::take(&mut task.body),
                        ledger: task.ledger.take(),
                        waited: task.waited,
                    };
                    // Now, since it decides whether there is room for another one.
                    let run = self.agent.run(delivery);
                    let host = Arc::clone(self);
                    held.spawn(async move { host.carry(&task, run).await });
                }
                Ok(None) => tokio::select! {
                    () = tokio::time::sleep(backoff.after_poll(begun)) => {}
                    () = self.drained() => {}
                },
                Err(problem) => {
                    self.is_away(&problem);
                    tokio::select! {
                        () = self.answers(&mut backoff) => {}
                        () = self.drained() => {}
                    }
                }
            }
            while held.try_join_next().is_some() {}
        }
        while held.join_next().await.is_some() {}
    }

    /// Waits before the next poll, until the server answers: a poll would not show that at once.
    async fn answers(&self, backoff: &mut Backoff) {
        backoff.wait().await;
        let mut was_away = false;
        while let Err(problem) = self.service.ping().await {
            was_away = true;
            self.is_away(&problem);
            backoff.wait().await;
        }
        // Otherwise it is polls alone that the server does not answer.
        if was_away {
            *backoff = Backoff::new();
            self.is_back();
        }
    }

    fn is_back(&self) {
        if self.is_waiting.swap(false, Ordering::Relaxed) {
            say(format_args!(
                "the Temporal server at {} answers",
                self.service.place()
            ));
        }
    }

    fn is_away(&self, problem: &Problem) {
        let reason = match problem {
            Problem::Busy | Problem::Exists => return,
            Problem::Away(reason)
            | Problem::NotFound(reason)
            | Problem::Denied(reason)
            | Problem::Refused(reason) => reason,
        };
        if !self.is_waiting.swap(true, Ordering::Relaxed) {
            let place = self.service.place();
            say(format_args!(
                "waiting for the Temporal server at {place}: {reason}"
            ));
        }
    }

    /// Takes a task to its end on this machine.
    async fn carry(&self, task: &Taken, run: Result<Execution, Verdict>) {
        match run {
            Err(verdict) => {
                let lease = Lease::new(task.host_timeout);
                self.report(task, &lease, report_of(&verdict)).await;
            }
            Ok(execution) => self.hold(task, execution).await,
        }
        self.changed.notify_waiters();
    }

    async fn hold(&self, task: &Taken, execution: Execution) {
        let lease = Lease::new(task.host_timeout);
        let caller = task.caller.as_ref().map(|queue| self.callers.get(queue));
        // A task that has waited for long begins once its caller was seen.
        let waits = caller.as_ref().is_some_and(|one| one.is_asked_first(task));
        let (begins, may_begin) = watch::channel(!waits);
        let gone = async {
            match &caller {
                Some(caller) => {
                    let seen = || {
                        begins.send_replace(true);
                    };
                    caller.gone(&self.service, task, seen).await;
                }
                None => std::future::pending().await,
            }
        };
        let mut beats = pin!(self.beat(task, &lease, &execution, may_begin));
        let mut is_abandoned = false;
        let ended = tokio::select! {
            verdict = execution.verdict() => Some(verdict),
            () = &mut beats => None,
            () = gone => {
                say(format_args!("ended a task whose caller is gone"));
                is_abandoned = true;
                execution.cancel();
                tokio::select! {
                    verdict = execution.verdict() => Some(verdict),
                    () = &mut beats => None,
                }
            }
        };
        let Some(verdict) = ended else {
            // Another machine has the task, or its caller has ended it.
            execution.cancel();
            let _ = execution.verdict().await;
            return;
        };
        let report = match report_of(&verdict) {
            Some(Report::Cancelled) if is_abandoned => Some(Report::Abandoned),
            report => report,
        };
        // The task may take its time to be reported, and stays with this machine meanwhile.
        tokio::select! {
            () = self.report(task, &lease, report) => {}
            () = beats => {}
        }
    }

    /// Sends signs of life until the server does not know the task any more.
    async fn beat(
        &self,
        task: &Taken,
        lease: &Lease,
        execution: &Execution,
        mut may_begin: watch::Receiver<bool>,
    ) {
        let limit = (task.host_timeout / 3).clamp(LOOK, BEAT_LIMIT);
        let regular = task.host_timeout / 6;
        let mut delay = regular.min(FIRST_BEAT);
        let mut backoff = Backoff::new();
        loop {
            let begins = *may_begin.borrow_and_update();
            let ledger = match begins {
                true => execution.ledger(),
                false => execution.earlier_ledger(),
            };
            let sent = Instant::now();
            match self.service.heartbeat(&task.token, &ledger, limit).await {
                Ok(is_cancelled) => {
                    lease.extend(sent);
                    execution.acknowledged(sent);
                    if is_cancelled {
                        execution.cancel();
                    }
                    backoff = Backoff::new();
                    tokio::select! {
                        () = tokio::time::sleep(delay) => {}
                        Ok(()) = may_begin.changed(), if !begins => {}
                    }
                    delay = regular;
                }
                Err(Problem::NotFound(_)) => return,
                Err(Problem::Refused(reason)) => {
                    say(format_args!(
                        "the Temporal server refuses to hear of a task: {reason}"
                    ));
                    return;
                }
                // The task goes on until its lease is over, since a server may deny this for a moment.
                Err(problem @ Problem::Denied(_)) => {
                    self.is_away(&problem);
                    tokio::time::sleep(backoff.next().min(regular)).await;
                }
                Err(_) => tokio::time::sleep(backoff.next().min(regular)).await,
            }
        }
    }

    /// Tells the server about a task, until it has heard that or may have given the task to another machine.
    async fn report(&self, task: &Taken, lease: &Lease, report: Option<Report<'_>>) {
        let Some(report) = report else { return };
        let mut backoff = Backoff::new();
        let mut refused: Option<String> = None;
        while !lease.is_over() {
            let failed = refused.as_deref().map(Report::Failed);
            let report = failed.as_ref().unwrap_or(&report);
            match self.service.report(&task.token, report).await {
                Ok(()) | Err(Problem::NotFound(_) | Problem::Exists) => return,
                Err(Problem::Away(_) | Problem::Busy | Problem::Denied(_)) => backoff.wait().await,
                Err(Problem::Refused(_)) if refused.is_some() => return,
                Err(Problem::Refused(reason)) => {
                    say(format_args!(
                        "the Temporal server refuses the end of a task: {reason}"
                    ));
                    refused = Some(reason);
                }
            }
        }
    }
}

/// Returns what to tell the server about a task.
fn report_of(verdict: &Verdict) -> Option<Report<'_>> {
    match verdict {
        Verdict::Answer(answer) => Some(Report::Completed(answer)),
        Verdict::Again { delay, ledger } => Some(Report::Again {
            delay: *delay,
            ledger,
        }),
        Verdict::Cancelled => Some(Report::Cancelled),
        _ => None,
    }
}

/// The time for which a machine may have a task.
struct Lease {
    time: Duration,
    sent: Mutex<Instant>,
}

impl Lease {
    fn new(time: Duration) -> Self {
        Self {
            time,
            sent: Mutex::new(Instant::now()),
        }
    }

    fn extend(&self, sent: Instant) {
        *self.sent.lock().unwrap_or_else(PoisonError::into_inner) = sent;
    }

    fn is_over(&self) -> bool {
        let sent = *self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        sent.elapsed() >= self.time
    }
}

/// Prints a line. If standard error is closed, nothing happens, where `eprintln!` would panic.
fn say(line: fmt::Arguments<'_>) {
    let _ = io::stderr().write_all(format!("{line}\n").as_bytes());
}
