//! The caller's side: an activity for each task.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use retry_runtime::engine::{Engine, Found, Hosts, Queue, Reply, Task, TaskEnd, TaskId};
use tokio::sync::watch;

use crate::backoff::Backoff;
use crate::presence::{self, Presence};
use crate::service::{self, Outcome, Problem, Service, Start};
use crate::{agent, runtime};

/// The time within which a server must be reached for the first time.
const FIRST_CONTACT: Duration = Duration::from_secs(8);

/// The time for which a machine counts after it has polled. A poll takes a minute.
const HOST_IS_KNOWN: Duration = Duration::from_secs(70);

/// The time for which a server may deny a call that it has allowed before.
const DENIED: Duration = Duration::from_secs(60);

/// The time that the server has for saying that the deadline of a task has passed.
const DEADLINE_GRACE: Duration = Duration::from_secs(2);

/// Connects a program that makes calls.
pub(crate) fn connect(address: &str) -> Result<Arc<dyn Engine>, String> {
    let identity = format!("caller {}", std::process::id());
    let service = Arc::new(service::open(address, &identity)?);
    Ok(Arc::new(Temporal {
        presence: Arc::new(Presence::new(Arc::clone(&service))),
        service,
        tasks: Arc::default(),
    }))
}

struct Temporal {
    service: Arc<Service>,
    presence: Arc<Presence>,
    tasks: Arc<Cancelled>,
}

/// Tells the futures that carry tasks that these are cancelled.
#[derive(Default)]
struct Cancelled(Mutex<HashMap<TaskId, watch::Sender<bool>>>);

impl Cancelled {
    fn tasks(&self) -> MutexGuard<'_, HashMap<TaskId, watch::Sender<bool>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns what becomes true once a task is cancelled. Several may wait for the same one.
    fn watch(&self, id: &TaskId) -> watch::Receiver<bool> {
        let mut tasks = self.tasks();
        let sender = tasks.entry(id.clone()).or_default();
        sender.subscribe()
    }

    fn forget(&self, id: &TaskId) {
        self.tasks().remove(id);
    }
}

impl Engine for Temporal {
    fn submit(&self, task: Task, mut reply: Reply) {
        let handle = match runtime::handle() {
            Ok(handle) => handle,
            Err(problem) => return reply.send(TaskEnd::Refused(problem)),
        };
        let cancelled = self.tasks.watch(&task.id);
        let service = Arc::clone(&self.service);
        let tasks = Arc::clone(&self.tasks);
        let shows = (!task.detached).then(|| self.presence.show(&task.id));
        handle.spawn(async move {
            let _shows = shows;
            let id = task.id.clone();
            let end = carry(&service, task, cancelled, || reply.accepted()).await;
            tasks.forget(&id);
            reply.send(end);
        });
    }

    fn attach(&self, id: &TaskId, mut reply: Reply) {
        let handle = match runtime::handle() {
            Ok(handle) => handle,
            Err(problem) => return reply.send(TaskEnd::Refused(problem)),
        };
        let mut cancelled = self.tasks.watch(id);
        let (service, id) = (Arc::clone(&self.service), id.clone());
        let tasks = Arc::clone(&self.tasks);
        handle.spawn(async move {
            let end = match reach(&service).await {
                Ok(()) => {
                    reply.accepted();
                    wait(&service, id.as_str(), &mut cancelled).await
                }
                Err(end) => end,
            };
            tasks.forget(&id);
            reply.send(end);
        });
    }

    fn cancel(&self, id: &TaskId) {
        if let Some(sender) = self.tasks.tasks().get(id) {
            sender.send_replace(true);
        }
    }

    fn find_hosts(&self, queue: &Queue, found: Found) {
        let (service, queue) = (Arc::clone(&self.service), queue.clone());
        let find = async move {
            if let Ok(hosts) = find(&service, &queue).await {
                found.send(hosts);
            }
        };
        if let Ok(handle) = runtime::handle() {
            handle.spawn(find);
        }
    }
}

/// Finds the machines that serve the function of a queue: some of them if one is of this build, and otherwise all.
async fn find(service: &Service, queue: &Queue) -> Result<Hosts, Problem> {
    let name = queue.function();
    let mut pollers = service.pollers(name, HOST_IS_KNOWN).await?;
    let is_own = |identity: &String| agent::served_by(identity).as_ref() == Some(queue);
    // The server lets each machine poll one of several partitions, four by default. Each partition passes one poll at a
    // time on to the root, which therefore knows some of the machines, if there are any. Only the root forgets machines
    // that end.
    if !pollers.is_empty() && !pollers.iter().any(is_own) {
        for partition in service.partitions(name).await? {
            pollers.extend(service.pollers(&partition, HOST_IS_KNOWN).await?);
        }
    }
    let mut hosts = Hosts::default();
    for identity in pollers {
        match agent::served_by(&identity) {
            Some(served) if served == *queue => hosts.serve = true,
            Some(served) if !hosts.others.contains(&served) => hosts.others.push(served),
            _ => {}
        }
    }
    hosts.others.sort();
    Ok(hosts)
}

/// Takes a task to its end.
async fn carry(
    service: &Arc<Service>,
    task: Task,
    mut cancelled: watch::Receiver<bool>,
    accepted: impl FnOnce() + Send,
) -> TaskEnd {
    let begun = Instant::now();
    // The machine that has the task and the server keep the deadline. This is for a server that cannot be reached.
    let ends = task
        .deadline
        .and_then(|deadline| begun.checked_add(deadline.saturating_add(DEADLINE_GRACE)));
    let carried = async {
        if let Err(end) = start(service, &task, begun, &cancelled).await {
            return end;
        }
        accepted();
        if !task.delay.is_zero() {
            // There is no result before, and a server answers a limited number of those that wait.
            let asked = cancelled.wait_for(|is_cancelled| *is_cancelled);
            let _ = tokio::time::timeout(task.delay, asked).await;
        }
        wait(service, task.id.as_str(), &mut cancelled).await
    };
    let (Some(ends), Some(deadline)) = (ends, task.deadline) else {
        return carried.await;
    };
    match tokio::time::timeout_at(ends.into(), carried).await {
        Ok(end) => end,
        Err(_) => {
            ask_to_end(service, task.id.as_str());
            TaskEnd::TimedOut(deadline)
        }
    }
}

/// Starts the activity, however often that has to be tried.
async fn start(
    service: &Service,
    task: &Task,
    begun: Instant,
    cancelled: &watch::Receiver<bool>,
) -> Result<(), TaskEnd> {
    let queue = task.queue.to_string();
    let caller = (!task.detached).then(|| presence::queue_of(&task.id));
    let start = Start {
        id: task.id.as_str(),
        kind: task.queue.function(),
        queue: &queue,
        body: &task.body,
        summary: &task.label,
        delay: task.delay,
        deadline: task.deadline,
        host_timeout: task.host_timeout,
        caller: caller.as_deref(),
    };
    let mut backoff = Backoff::new();
    let mut is_tried = false;
    let mut last = "no answer".to_owned();
    loop {
        if *cancelled.borrow() && !is_tried {
            return Err(TaskEnd::Cancelled);
        }
        let starting = service.start(&start);
        let started = match service.has_answered() {
            true => starting.await,
            false => {
                let until = begun + FIRST_CONTACT;
                let starting = tokio::time::timeout_at(until.into(), starting).await;
                starting.unwrap_or_else(|_| Err(Problem::Away(last.clone())))
            }
        };
        match started {
            // One that exists is this one: an earlier answer was lost.
            Ok(()) | Err(Problem::Exists) => return Ok(()),
            Err(Problem::NotFound(reason) | Problem::Denied(reason) | Problem::Refused(reason)) => {
                return Err(refused(service, &reason));
            }
            Err(Problem::Away(reason)) => {
                if !service.has_answered() && begun.elapsed() >= FIRST_CONTACT {
                    return Err(refused(service, &reason));
                }
                is_tried |= service.has_answered();
                last = reason;
            }
            Err(Problem::Busy) => {}
        }
        let mut delay = backoff.next();
        if !service.has_answered() {
            delay = delay.min(FIRST_CONTACT.saturating_sub(begun.elapsed()));
        }
        tokio::time::sleep(delay).await;
    }
}

fn refused(service: &Service, reason: &str) -> TaskEnd {
    let place = service.place();
    TaskEnd::Refused(format!("the Temporal server at {place}: {reason}"))
}

/// Finds out whether the server can be reached, which a question for a result does not tell for a while.
async fn reach(service: &Service) -> Result<(), TaskEnd> {
    let until = Instant::now() + FIRST_CONTACT;
    let mut backoff = Backoff::new();
    let mut last = "no answer".to_owned();
    while !service.has_answered() {
        let Ok(answer) = tokio::time::timeout_at(until.into(), service.ping()).await else {
            return Err(refused(service, &last));
        };
        match answer {
            Err(Problem::NotFound(reason) | Problem::Denied(reason) | Problem::Refused(reason)) => {
                return Err(refused(service, &reason));
            }
            Err(Problem::Away(reason)) => last = reason,
            Ok(()) | Err(Problem::Busy | Problem::Exists) => {}
        }
        let left = until.saturating_duration_since(Instant::now());
        tokio::time::sleep(backoff.next().min(left)).await;
    }
    Ok(())
}

/// Waits for the end of the activity.
async fn wait(service: &Arc<Service>, id: &str, cancelled: &mut watch::Receiver<bool>) -> TaskEnd {
    let mut backoff = Backoff::new();
    let mut pause = Duration::ZERO;
    let mut is_asked = false;
    let mut denial = Denial::default();
    loop {
        let polled = async {
            tokio::time::sleep(pause).await;
            let begun = Instant::now();
            (begun, service.result(id).await)
        };
        let (begun, result) = tokio::select! {
            polled = polled => polled,
            Ok(_) = cancelled.wait_for(|is_cancelled| *is_cancelled), if !is_asked => {
                is_asked = true;
                ask_to_end(service, id);
                continue;
            }
        };
        match result {
            Ok(None) => {
                denial = Denial::default();
                pause = backoff.after_poll(begun);
                continue;
            }
            Ok(Some(Outcome::Completed(answer))) => return TaskEnd::Answered(answer),
            Ok(Some(Outcome::Canceled)) => return TaskEnd::Cancelled,
            // It may have timed out, or failed, before the server was asked.
            Ok(Some(_)) if is_asked => return TaskEnd::Cancelled,
            Ok(Some(Outcome::TimedOut(limit))) => return TaskEnd::TimedOut(limit),
            Ok(Some(Outcome::Abandoned)) => return TaskEnd::Expired,
            Ok(Some(Outcome::Failed(reason))) => return TaskEnd::Refused(reason),
            Err(Problem::NotFound(_) | Problem::Exists) => return TaskEnd::Expired,
            Err(Problem::Refused(reason)) => return TaskEnd::Refused(reason),
            Err(Problem::Denied(reason)) if denial.lasts() => return refused(service, &reason),
            Err(Problem::Denied(_)) => {}
            Err(Problem::Away(_) | Problem::Busy) => denial = Denial::default(),
        }
        pause = backoff.next();
    }
}

/// The time since which the server denies a call to it.
#[derive(Default)]
struct Denial(Option<Instant>);

impl Denial {
    /// Takes in another one. Returns whether the server has denied the call for longer than it may.
    fn lasts(&mut self) -> bool {
        self.0.get_or_insert_with(Instant::now).elapsed() >= DENIED
    }
}

/// Asks the server for the end of an activity, until it has heard that.
fn ask_to_end(service: &Arc<Service>, id: &str) {
    let (service, id) = (Arc::clone(service), id.to_owned());
    tokio::spawn(async move {
        let mut backoff = Backoff::new();
        let mut denial = Denial::default();
        loop {
            match service.cancel(&id).await {
                Err(Problem::Away(_) | Problem::Busy) => denial = Denial::default(),
                Err(Problem::Denied(_)) if !denial.lasts() => {}
                _ => return,
            }
            backoff.wait().await;
        }
    });
}
