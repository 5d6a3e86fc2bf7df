//! A small engine for tests: a server in the test's process, which callers and agents reach through a Unix socket. It can
//! be told to fail in the ways in which real ones do.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use retry_runtime::engine::{
    Agent, Delivery, Engine, Execution, Found, Hosts, Queue, Reply, Scheme, Task, TaskEnd, TaskId,
    Verdict,
};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

retry_runtime::register_engine!(Scheme::new("relay", connect, serve));

/// The time for which an agent's question for a task waits for one.
const POLL: Duration = Duration::from_millis(50);

/// The time for which a queue counts as served after an agent has asked for tasks.
const SERVED: Duration = Duration::from_secs(2);

#[derive(Debug, Serialize, Deserialize)]
enum Request {
    Submit {
        id: String,
        label: String,
        queue: String,
        body: Vec<u8>,
        delay: Duration,
        deadline: Option<Duration>,
        host_timeout: Duration,
        detached: bool,
    },
    /// Waits for the end of a task that was submitted before.
    Attach(String),
    Cancel(String),
    Hosts(String),
    Take {
        agent: String,
        /// The queues that the agent serves, and those for whose tasks it has room.
        serves: Vec<String>,
        queues: Vec<String>,
    },
    Beat {
        agent: String,
        id: String,
        delivery: u64,
        ledger: Vec<u8>,
    },
    End {
        agent: String,
        id: String,
        delivery: u64,
        verdict: Ended,
    },
}

#[derive(Debug, Serialize, Deserialize)]
enum Response {
    /// The task is there. Its end follows.
    Accepted,
    End(Ended),
    Hosts {
        serve: bool,
        others: Vec<String>,
    },
    Delivery {
        id: String,
        delivery: u64,
        body: Vec<u8>,
        ledger: Option<Vec<u8>>,
        waited: Duration,
        host_timeout: Duration,
    },
    Nothing,
    Known {
        is_cancelled: bool,
    },
    Unknown,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
enum Ended {
    Answer(Vec<u8>),
    Again { delay: Duration, ledger: Vec<u8> },
    Cancelled,
    TimedOut(Duration),
    Expired,
}

/// The server. Dropping it ends it, with all of its tasks.
pub struct Relay {
    shared: Arc<Shared>,
    directory: TempDir,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    tasks: BTreeMap<String, Kept>,
    /// The ends of tasks whose callers need not be there.
    ended: BTreeMap<String, Ended>,
    polled: BTreeMap<String, Instant>,
    /// The agents whose messages are lost.
    cut_off: BTreeSet<String>,
    deliveries: u64,
    /// The labels of all tasks, in the order in which the tasks came.
    labels: Vec<String>,
    is_closed: bool,
}

struct Kept {
    queue: String,
    body: Vec<u8>,
    ledger: Option<Vec<u8>>,
    submitted: Instant,
    due: Instant,
    deadline: Option<Instant>,
    host_timeout: Duration,
    /// The delivery that counts, and when its agent was heard of.
    holder: Option<(u64, Instant)>,
    is_cancelled: bool,
    is_detached: bool,
    ends: Vec<Sender<Ended>>,
}

impl Relay {
    /// Starts a server.
    #[must_use]
    pub fn start() -> Self {
        let relay = Self {
            shared: Arc::default(),
            directory: TempDir::new().unwrap(),
        };
        let listener = UnixListener::bind(relay.directory.path().join("relay")).unwrap();
        let shared = Arc::clone(&relay.shared);
        thread::spawn(move || {
            for stream in listener.incoming() {
                if shared.lock().is_closed {
                    return;
                }
                let (shared, stream) = (Arc::clone(&shared), stream.unwrap());
                thread::spawn(move || shared.talk(stream));
            }
        });
        relay
    }

    /// Returns the value of `RETRY_ENGINE`.
    #[must_use]
    pub fn address(&self) -> String {
        format!("relay://{}", self.path())
    }

    fn path(&self) -> String {
        let path = self.directory.path().join("relay");
        path.to_str().expect("a temporary path is text").to_owned()
    }

    /// Loses all messages of an agent until it is [healed](Self::heal).
    pub fn cut_off(&self, agent: &str) {
        self.shared.lock().cut_off.insert(agent.to_owned());
    }

    /// Ends the effect of [`cut_off`](Self::cut_off).
    pub fn heal(&self, agent: &str) {
        self.shared.lock().cut_off.remove(agent);
    }

    /// Forgets all tasks, as a server that restarts without its data.
    pub fn lose_data(&self) {
        let mut state = self.shared.lock();
        state.ended.clear();
        for task in std::mem::take(&mut state.tasks).into_values() {
            task.end(&Ended::Expired);
        }
    }

    /// Returns how many deliveries there were.
    #[must_use]
    pub fn deliveries(&self) -> u64 {
        self.shared.lock().deliveries
    }

    /// Returns the labels of all tasks, in the order in which they came.
    #[must_use]
    pub fn labels(&self) -> Vec<String> {
        self.shared.lock().labels.clone()
    }

    /// Returns how many tasks have not ended, and how many of these an agent has.
    #[must_use]
    pub fn tasks(&self) -> (usize, usize) {
        let state = self.shared.lock();
        let held = state.tasks.values().filter(|task| task.holder.is_some());
        (state.tasks.len(), held.count())
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.shared.lock().is_closed = true;
        self.lose_data();
        self.shared.changed.notify_all();
        // Ends the thread that accepts connections.
        let _ = UnixStream::connect(self.path());
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers the requests of one connection, until it is closed or its messages are lost.
    fn talk(self: Arc<Self>, stream: UnixStream) {
        let mut output = stream.try_clone().unwrap();
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            let request = serde_json::from_str(&line).expect("a request");
            if let Request::Submit {
                id,
                detached: false,
                ..
            } = &request
            {
                let (shared, id) = (Arc::clone(&self), id.clone());
                let mut connection = output.try_clone().unwrap();
                thread::spawn(move || shared.wait_for_end_of(&mut connection, id));
            }
            let response = match request {
                Request::Submit { .. } | Request::Attach(_) => {
                    let end = self.take_in(request);
                    if write(&mut output, &Response::Accepted).is_err() {
                        return;
                    }
                    self.wait_for(&end)
                }
                request => match self.answer(request) {
                    Some(response) => response,
                    None => return,
                },
            };
            if write(&mut output, &response).is_err() {
                return;
            }
        }
    }

    /// Cancels a task once the connection is closed over which it was submitted: nothing waits for it any more. A caller
    /// says nothing else over that connection.
    fn wait_for_end_of(&self, connection: &mut UnixStream, id: String) {
        let _ = connection.read(&mut [0]);
        self.answer(Request::Cancel(id));
    }

    /// Takes in a task, or a further one that waits for it. Returns where its end will be.
    fn take_in(&self, request: Request) -> Receiver<Ended> {
        let now = Instant::now();
        let (sender, end) = channel();
        let mut state = self.lock();
        match request {
            Request::Submit {
                id,
                label,
                queue,
                body,
                delay,
                deadline,
                host_timeout,
                detached,
            } => {
                let task = Kept {
                    queue,
                    body,
                    ledger: None,
                    submitted: now,
                    due: now + delay,
                    deadline: deadline.map(|deadline| now + deadline),
                    host_timeout,
                    holder: None,
                    is_cancelled: false,
                    is_detached: detached,
                    ends: vec![sender],
                };
                state.labels.push(label);
                let is_new = state.tasks.insert(id.clone(), task).is_none();
                assert!(is_new && !state.ended.contains_key(&id), "{id} is new");
            }
            Request::Attach(id) => {
                let ended = state.ended.get(&id).cloned();
                match state.tasks.get_mut(&id) {
                    Some(task) => task.ends.push(sender),
                    None => {
                        let _ = sender.send(ended.unwrap_or(Ended::Expired));
                    }
                }
            }
            other => panic!("{other:?} has no end"),
        }
        drop(state);
        self.changed.notify_all();
        end
    }

    fn wait_for(&self, end: &Receiver<Ended>) -> Response {
        loop {
            if let Ok(end) = end.recv_timeout(POLL) {
                return Response::End(end);
            }
            self.lock().expire(Instant::now());
        }
    }

    fn answer(&self, request: Request) -> Option<Response> {
        let now = Instant::now();
        let mut state = self.lock();
        if let Request::Take { agent, .. }
        | Request::Beat { agent, .. }
        | Request::End { agent, .. } = &request
            && state.cut_off.contains(agent)
        {
            return None;
        }
        Some(match request {
            Request::Submit { .. } | Request::Attach(_) => return None,
            Request::Cancel(id) => {
                if let Some(task) = state.tasks.get_mut(&id) {
                    task.is_cancelled = true;
                    if task.holder.is_none() {
                        state.end(&id, Ended::Cancelled);
                    }
                }
                Response::Nothing
            }
            Request::Hosts(queue) => {
                let is_served = |at: &Instant| now.saturating_duration_since(*at) < SERVED;
                let function = queue.rsplit_once('@').map_or("", |(function, _)| function);
                let is_other = |other: &&String| {
                    **other != queue
                        && other
                            .rsplit_once('@')
                            .is_some_and(|(name, _)| name == function)
                };
                let served = state.polled.iter().filter(|(_, at)| is_served(at));
                Response::Hosts {
                    serve: state.polled.get(&queue).is_some_and(is_served),
                    others: served
                        .map(|(queue, _)| queue)
                        .filter(is_other)
                        .cloned()
                        .collect(),
                }
            }
            Request::Take { serves, queues, .. } => {
                let until = now + POLL;
                loop {
                    let now = Instant::now();
                    state.expire(now);
                    state
                        .polled
                        .extend(serves.iter().map(|queue| (queue.clone(), now)));
                    if let Some(delivery) = state.deliver(&queues, now) {
                        return Some(delivery);
                    }
                    let left = until.saturating_duration_since(now);
                    if left.is_zero() || state.is_closed {
                        return Some(Response::Nothing);
                    }
                    let waited = self.changed.wait_timeout(state, left.min(POLL / 10));
                    state = waited.unwrap_or_else(PoisonError::into_inner).0;
                }
            }
            Request::Beat {
                id,
                delivery,
                ledger,
                ..
            } => match state.held(&id, delivery) {
                Some(task) => {
                    task.holder = Some((delivery, now));
                    task.ledger = Some(ledger);
                    let is_cancelled = task.is_cancelled;
                    Response::Known { is_cancelled }
                }
                None => Response::Unknown,
            },
            Request::End {
                id,
                delivery,
                verdict,
                ..
            } => match state.held(&id, delivery) {
                Some(task) => {
                    match verdict {
                        Ended::Again { delay, ledger } if !task.is_cancelled => {
                            task.holder = None;
                            task.ledger = Some(ledger);
                            task.due = now + delay;
                        }
                        Ended::Again { .. } => state.end(&id, Ended::Cancelled),
                        verdict => state.end(&id, verdict),
                    }
                    self.changed.notify_all();
                    Response::Known {
                        is_cancelled: false,
                    }
                }
                None => Response::Unknown,
            },
        })
    }
}

impl Kept {
    fn end(&self, end: &Ended) {
        for waiting in &self.ends {
            let _ = waiting.send(end.clone());
        }
    }
}

impl State {
    fn end(&mut self, id: &str, end: Ended) {
        if let Some(task) = self.tasks.remove(id) {
            task.end(&end);
            if task.is_detached {
                self.ended.insert(id.to_owned(), end);
            }
        }
    }

    fn held(&mut self, id: &str, delivery: u64) -> Option<&mut Kept> {
        let task = self.tasks.get_mut(id)?;
        let is_held = task.holder.is_some_and(|(holder, _)| holder == delivery);
        is_held.then_some(task)
    }

    /// Gives up agents that are not heard of, and tasks whose deadline has passed.
    fn expire(&mut self, now: Instant) {
        let mut over = Vec::new();
        for (id, task) in &mut self.tasks {
            let timeout = task.host_timeout;
            if task.holder.is_some_and(|(_, heard)| now - heard > timeout) {
                task.holder = None;
                if task.is_cancelled {
                    over.push((id.clone(), Ended::Cancelled));
                }
            }
            if task.deadline.is_some_and(|deadline| deadline <= now) {
                let limit = now.saturating_duration_since(task.submitted);
                over.push((id.clone(), Ended::TimedOut(limit)));
            }
        }
        for (id, end) in over {
            self.end(&id, end);
        }
    }

    fn deliver(&mut self, queues: &[String], now: Instant) -> Option<Response> {
        let is_next =
            |task: &Kept| task.holder.is_none() && task.due <= now && queues.contains(&task.queue);
        let waiting = self.tasks.iter_mut().filter(|(_, task)| is_next(task));
        let (id, task) = waiting.min_by_key(|(_, task)| task.submitted)?;
        self.deliveries += 1;
        task.holder = Some((self.deliveries, now));
        Some(Response::Delivery {
            id: id.clone(),
            delivery: self.deliveries,
            body: task.body.clone(),
            ledger: task.ledger.clone(),
            waited: now - task.submitted,
            host_timeout: task.host_timeout,
        })
    }
}

fn write(stream: &mut UnixStream, message: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    stream.write_all(&line)
}

/// The program's side of one connection.
struct Connection {
    input: BufReader<UnixStream>,
    output: UnixStream,
}

impl Connection {
    fn open(path: &str) -> io::Result<Self> {
        let output = UnixStream::connect(path)?;
        let input = BufReader::new(output.try_clone()?);
        Ok(Self { input, output })
    }

    fn ask(&mut self, request: &Request) -> io::Result<Response> {
        write(&mut self.output, request)?;
        self.read()
    }

    fn read(&mut self) -> io::Result<Response> {
        let mut line = String::new();
        match self.input.read_line(&mut line)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(serde_json::from_str(&line)?),
        }
    }
}

fn ask(path: &str, request: &Request) -> io::Result<Response> {
    Connection::open(path)?.ask(request)
}

/// The engine for callers.
struct Client {
    path: String,
}

fn connect(address: &str) -> Result<Arc<dyn Engine>, String> {
    let path = path_of(address)?;
    Ok(Arc::new(Client { path }))
}

fn path_of(address: &str) -> Result<String, String> {
    match address.strip_prefix("relay://") {
        Some(path) if Path::new(path).is_absolute() => Ok(path.to_owned()),
        _ => Err(format!("`{address}` must have an absolute path")),
    }
}

impl Client {
    /// Asks the server on a thread of its own, since nothing here may block.
    fn ask(&self, request: Request, then: impl FnOnce(io::Result<Response>) + Send + 'static) {
        let path = self.path.clone();
        thread::spawn(move || then(ask(&path, &request)));
    }

    /// Waits for the end of a task on a thread of its own.
    fn carry(&self, request: Request, mut reply: Reply) {
        let path = self.path.clone();
        thread::spawn(move || {
            let ended = Connection::open(&path).and_then(|mut connection| {
                let mut response = connection.ask(&request)?;
                if let Response::Accepted = response {
                    reply.accepted();
                    response = connection.read()?;
                }
                Ok(response)
            });
            reply.send(match ended {
                Ok(Response::End(Ended::Answer(answer))) => TaskEnd::Answered(answer),
                Ok(Response::End(Ended::Cancelled)) => TaskEnd::Cancelled,
                Ok(Response::End(Ended::TimedOut(limit))) => TaskEnd::TimedOut(limit),
                Ok(_) => TaskEnd::Expired,
                Err(error) => TaskEnd::Refused(format!("no relay at {path}: {error}")),
            });
        });
    }
}

impl Engine for Client {
    fn submit(&self, task: Task, reply: Reply) {
        let request = Request::Submit {
            id: task.id.to_string(),
            label: task.label,
            queue: task.queue.to_string(),
            body: task.body,
            delay: task.delay,
            deadline: task.deadline,
            host_timeout: task.host_timeout,
            detached: task.detached,
        };
        self.carry(request, reply);
    }

    fn attach(&self, id: &TaskId, reply: Reply) {
        self.carry(Request::Attach(id.to_string()), reply);
    }

    fn cancel(&self, id: &TaskId) {
        self.ask(Request::Cancel(id.to_string()), drop);
    }

    fn find_hosts(&self, queue: &Queue, found: Found) {
        self.ask(Request::Hosts(queue.to_string()), |response| {
            if let Ok(Response::Hosts { serve, others }) = response {
                let others = others.iter().filter_map(|queue| queue.parse().ok());
                found.send(Hosts {
                    serve,
                    others: others.collect(),
                });
            }
        });
    }
}

/// Serves an agent until it is drained.
fn serve(address: &str, agent: Agent) -> Result<(), String> {
    let path = path_of(address)?;
    while !agent.is_drained() {
        let queues = agent.queues();
        let free = queues.iter().filter(|queue| agent.free(queue) > 0);
        let request = Request::Take {
            agent: agent.name().to_owned(),
            serves: queues.iter().map(Queue::to_string).collect(),
            queues: free.map(Queue::to_string).collect(),
        };
        let taken = ask(&path, &request);
        if let Ok(Response::Delivery {
            id,
            delivery,
            body,
            ledger,
            waited,
            host_timeout,
        }) = taken
        {
            let task = Held {
                path: path.clone(),
                agent: agent.name().to_owned(),
                id,
                delivery,
                host_timeout,
            };
            let delivery = Delivery {
                body,
                ledger,
                waited,
            };
            match agent.run(delivery) {
                Ok(execution) => {
                    thread::spawn(move || task.hold(&execution));
                }
                Err(verdict) => task.end(verdict),
            }
        } else if taken.is_err() {
            thread::sleep(POLL);
        }
    }
    Ok(())
}

/// A task that an agent has.
struct Held {
    path: String,
    agent: String,
    id: String,
    delivery: u64,
    host_timeout: Duration,
}

impl Held {
    /// Shows the server that the agent is alive, until the task has ended here.
    fn hold(&self, execution: &Execution) {
        let verdict = loop {
            let beat = Request::Beat {
                agent: self.agent.clone(),
                id: self.id.clone(),
                delivery: self.delivery,
                ledger: execution.ledger(),
            };
            let sent = Instant::now();
            match ask(&self.path, &beat) {
                Ok(Response::Known { is_cancelled: true }) => execution.cancel(),
                Ok(Response::Known { .. }) => execution.acknowledged(sent),
                Ok(Response::Unknown) => execution.cancel(),
                _ => {}
            }
            if let Some(verdict) = execution.wait((self.host_timeout / 6).min(POLL)) {
                break verdict;
            }
        };
        self.end(verdict);
    }

    fn end(&self, verdict: Verdict) {
        let verdict = match verdict {
            Verdict::Answer(answer) => Ended::Answer(answer),
            Verdict::Again { delay, ledger } => Ended::Again { delay, ledger },
            Verdict::Cancelled => Ended::Cancelled,
            _ => return,
        };
        let request = Request::End {
            agent: self.agent.clone(),
            id: self.id.clone(),
            delivery: self.delivery,
            verdict,
        };
        let until = Instant::now() + self.host_timeout;
        while ask(&self.path, &request).is_err() && Instant::now() < until {
            thread::sleep(POLL);
        }
    }
}
