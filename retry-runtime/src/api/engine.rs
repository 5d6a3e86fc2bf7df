//! The interface of an engine, which carries calls to other machines.

use std::fmt;
use std::ops::Deref;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use crate::api::call_id::CallId;

/// A service that carries tasks from the programs that make calls to the machines that run them.
///
/// An engine keeps each task until a machine has answered it, starts it again on another machine when it has heard
/// nothing from the first one for [`Task::host_timeout`], and delivers the [ledger](Delivery::ledger) of the
/// earlier start along with it. It need not look into a task: the body, the answer and the ledger are bytes to it.
/// It decides nothing about retries either. The machine that has a task decides from the ledger what becomes of it.
///
/// Its methods may be called on any thread, also from within a [`Reply`] or [`Found`] that it sends, and it may be
/// dropped there.
///
/// A crate that connects such a service implements this trait, and [registers](crate::engine::Scheme) a
/// scheme, under whose name programs find it.
pub trait Engine: Send + Sync {
    /// Accepts a task. Does not block: what the service says to it goes to `reply`.
    fn submit(&self, task: Task, reply: Reply);

    /// Asks for a task to end. It ends as [`TaskEnd::Cancelled`] once no machine has it any more, unless it has
    /// been answered before. Does nothing if the task has ended.
    fn cancel(&self, id: &TaskId);

    /// Waits for the end of a task that was [detached](Task::detached) and that any program has submitted, this one or an
    /// earlier one. A task that the service does not know ends as [`TaskEnd::Expired`]. [`cancel`](Self::cancel) has an
    /// effect on it while this program waits.
    ///
    /// The default refuses that.
    fn attach(&self, id: &TaskId, reply: Reply) {
        let _ = id;
        reply.send(TaskEnd::Refused(
            "this engine does not keep the results of spawned calls".to_owned(),
        ));
    }

    /// Finds out which machines serve a queue at present. A machine that is busy with its tasks asks for no others, and
    /// serves it nevertheless.
    fn find_hosts(&self, queue: &Queue, found: Found);

    /// Returns the size in bytes of the largest body, ledger or answer that the service accepts. The default is
    /// 1.9 MB.
    fn max_body(&self) -> usize {
        1_900_000
    }
}

/// Returns the address of an engine without a user's name and password, for messages.
pub(crate) fn shown_address(address: &str) -> String {
    let Some((before, place)) = address.rsplit_once('@') else {
        return address.to_owned();
    };
    match before.split_once("://") {
        Some((scheme, _)) => format!("{scheme}://{place}"),
        None => place.to_owned(),
    }
}

/// The address of an engine. Its `Debug` shows no password.
#[derive(Clone)]
pub(crate) struct Address(pub(crate) String);

impl Deref for Address {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        shown_address(&self.0).fmt(f)
    }
}

/// A unit that an engine carries: some calls of one function.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Task {
    /// The id, which no other task has.
    pub id: TaskId,
    /// The queue that machines take it from.
    pub queue: Queue,
    /// The calls, which only the same program can read.
    pub body: Vec<u8>,
    /// A description for people, such as `resize[1024..2048]`.
    pub label: String,
    /// The time for which no machine may get it.
    pub delay: Duration,
    /// The time from now on after which its answer is no longer wanted. The machine that has it keeps shorter
    /// limits itself; this one is for a task that no machine gets.
    pub deadline: Option<Duration>,
    /// The time after which a machine that is not heard of any more has lost the task.
    pub host_timeout: Duration,
    /// `true` if the task goes on although the program that has submitted it ends: its call was spawned.
    ///
    /// An engine ends all other tasks, running or not, when it has not heard of the program for a while, since nothing
    /// waits for them. Machines that have one [cancel](crate::engine::Execution::cancel) it.
    pub detached: bool,
}

impl Task {
    pub(crate) fn new(id: TaskId, queue: Queue, body: Vec<u8>, host_timeout: Duration) -> Self {
        Self {
            id,
            queue,
            body,
            label: String::new(),
            delay: Duration::ZERO,
            deadline: None,
            host_timeout,
            detached: false,
        }
    }
}

/// The id of a [`Task`]: the id of the run that has submitted it, and its number, such as `1M8KXTGN4XCCR/t17`. The id of
/// a [detached](Task::detached) task is that of its call, such as `1M8KXTGN4XCCR/17`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TaskId(Arc<str>);

impl TaskId {
    pub(crate) fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// Returns the id of the task of a call that was spawned.
    pub(crate) fn of_call(call: CallId) -> Self {
        Self(call.to_string().into())
    }

    /// Returns the id as a text of at most 64 letters, digits, slashes and dots.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The name of a queue: a function of one build of a program, such as `shop::resize@9f2c41d0a5b1c377`.
///
/// Another build has other queues, so that no machine gets calls that it cannot read.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Queue {
    function: Arc<str>,
    version: u64,
}

impl Queue {
    pub(crate) fn new(function: &str, version: u64) -> Self {
        Self {
            function: function.into(),
            version,
        }
    }

    /// Returns the function's registered name, or the name of the service.
    #[must_use]
    pub fn function(&self) -> &str {
        &self.function
    }

    /// Returns the version of the program.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }
}

impl FromStr for Queue {
    type Err = InvalidQueue;

    /// Reads what `Display` writes.
    fn from_str(text: &str) -> Result<Self, InvalidQueue> {
        let (function, version) = text.rsplit_once('@').ok_or(InvalidQueue)?;
        let version = u64::from_str_radix(version, 16).map_err(|_| InvalidQueue)?;
        let queue = Self::new(function, version);
        match queue.to_string() == text {
            true => Ok(queue),
            false => Err(InvalidQueue),
        }
    }
}

/// The error for a text that is not the name of a [`Queue`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidQueue;

impl fmt::Display for InvalidQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not the name of a queue, such as `shop::resize@9f2c41d0a5b1c377`")
    }
}

impl std::error::Error for InvalidQueue {}

impl fmt::Display for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{:016x}", self.function, self.version)
    }
}

/// The end of a task, for the program that has submitted it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TaskEnd {
    /// A machine has answered it.
    Answered(Vec<u8>),
    /// It was [cancelled](Engine::cancel).
    Cancelled,
    /// Its [deadline](Task::deadline) has passed, or the service keeps no task for longer than this time, which is told
    /// if the program knows of no deadline.
    TimedOut(Duration),
    /// The service does not know it any more.
    Expired,
    /// The service cannot be reached or does not accept the task, for this reason. The text is shown to users.
    Refused(String),
}

/// The news about a task, for the program that has submitted it.
pub(crate) enum TaskNews {
    /// The service has the task: it does not depend on this program any more.
    Accepted,
    Ended(TaskEnd),
}

/// Takes the end of a task. An engine that drops it has lost the task.
pub struct Reply(Option<Box<dyn FnMut(TaskNews) + Send>>);

impl Reply {
    pub(crate) fn new(take: impl FnMut(TaskNews) + Send + 'static) -> Self {
        Self(Some(Box::new(take)))
    }

    /// Tells the program that the service has the task. A program that ends may leave a
    /// [detached](Task::detached) task then.
    pub fn accepted(&mut self) {
        if let Some(take) = &mut self.0 {
            take(TaskNews::Accepted);
        }
    }

    /// Tells the program how the task has ended.
    pub fn send(mut self, end: TaskEnd) {
        if let Some(mut take) = self.0.take() {
            take(TaskNews::Ended(end));
        }
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if let Some(mut take) = self.0.take() {
            take(TaskNews::Ended(TaskEnd::Expired));
        }
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reply").finish_non_exhaustive()
    }
}

/// Takes the machines that serve a queue.
pub struct Found(Box<dyn FnOnce(Hosts) + Send>);

impl Found {
    pub(crate) fn new(take: impl FnOnce(Hosts) + Send + 'static) -> Self {
        Self(Box::new(take))
    }

    /// Tells the program which machines there are. Dropping it instead says that this is not known.
    pub fn send(self, hosts: Hosts) {
        (self.0)(hosts);
    }
}

impl fmt::Debug for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Found").finish_non_exhaustive()
    }
}

/// The machines that serve a function.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hosts {
    /// `true` if a machine serves the queue: it takes tasks from it, or has some of them and no room for others.
    pub serve: bool,
    /// Queues of other builds of the program for the same function that machines take tasks from, as far as they
    /// are known.
    pub others: Vec<Queue>,
}

/// A task as a machine gets it.
#[derive(Clone, Debug, Default)]
pub struct Delivery {
    /// The body of the task.
    pub body: Vec<u8>,
    /// The last ledger that the service has acknowledged, or that came with [`Verdict::Again`].
    pub ledger: Option<Vec<u8>>,
    /// The time since the task was submitted, by the clock of the service. It includes the delay.
    pub waited: Duration,
}

/// The decision of a machine about a task that it had.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// The task has ended with this answer.
    Answer(Vec<u8>),
    /// The task is to be started again after a delay, on any machine, with this ledger.
    Again {
        /// The time for which no machine may get it.
        delay: Duration,
        /// The ledger for the next machine.
        ledger: Vec<u8>,
    },
    /// The task was cancelled. Functions that are running end within their `grace`.
    Cancelled,
    /// The machine has lost the task, since the service has acknowledged nothing for too long. Another machine
    /// gets it, or has it already, so there is nothing to say about it.
    Lost,
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn a_dropped_reply_is_an_expired_task() {
        let ends = Arc::new(Mutex::new(Vec::new()));
        let reply = || {
            let ends = Arc::clone(&ends);
            Reply::new(move |news| {
                if let TaskNews::Ended(end) = news {
                    ends.lock().unwrap().push(end);
                }
            })
        };
        let mut first = reply();
        first.accepted();
        first.send(TaskEnd::Cancelled);
        drop(reply());
        assert_eq!(
            *ends.lock().unwrap(),
            [TaskEnd::Cancelled, TaskEnd::Expired]
        );
    }

    #[test]
    fn addresses_are_shown_without_passwords() {
        for (address, shown) in [
            (
                "temporal://host:7233/default",
                "temporal://host:7233/default",
            ),
            ("temporal://me:pass@word@host:7233", "temporal://host:7233"),
            ("me:password@host", "host"),
            ("host", "host"),
        ] {
            assert_eq!(shown_address(address), shown);
            assert_eq!(
                format!("{:?}", Address(address.to_owned())),
                format!("{shown:?}")
            );
        }
    }

    #[test]
    fn queues_are_read_as_they_are_written() {
        let queue = Queue::new("shop::resize", 0x9f2c);
        assert_eq!(queue.to_string(), "shop::resize@0000000000009f2c");
        assert_eq!(queue.to_string().parse(), Ok(queue));
        for text in [
            "",
            "resize",
            "resize@",
            "resize@9f2c",
            "resize@000000000000000g",
        ] {
            assert_eq!(text.parse::<Queue>(), Err(InvalidQueue), "{text}");
        }
    }
}
