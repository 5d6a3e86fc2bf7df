//! Speed of calls through a server of Temporal, beside the bare client in the same run. `benches/run` runs it.
//!
//! The bare client starts activities and waits for them with the same requests, and a loop of it polls for them and
//! completes them at once: what it takes is what any engine on this server takes at least.

#[allow(dead_code, unused_imports)]
#[path = "../src/backoff.rs"]
mod backoff;
#[allow(dead_code, unused_imports)]
#[path = "../src/service.rs"]
mod service;

use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, Lines, Write};
use std::net::TcpListener;
use std::process::{Child, ChildStderr, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use retry_runtime::{CallError, Runtime, function};
use retry_temporal as _;
use service::{Outcome, Report, Service, Start};
use tokio::task::JoinSet;

const HOST_TIMEOUT: Duration = Duration::from_secs(2);

/// The queue of the bare client.
const QUEUE: &str = "bare";

/// The calls of the first row, one after the other.
const HELLOS: usize = 60;

/// The calls of the second row, and how many of them are made at once.
const SINGLES: usize = 300;
const AT_ONCE: usize = 64;

/// The inputs of a task of the bare client, and the bytes of each.
const INPUTS: usize = 1024;
const INPUT_BYTES: usize = 9;

const NOTHING: u64 = 300_000;
const SHORT: u64 = 30_000;

#[function]
fn nothing(number: u64) -> u64 {
    number
}

#[function(max_workers = 2)]
fn short(number: u64) -> u64 {
    thread::sleep(Duration::from_millis(1));
    number
}

/// Appends a line to a file when it begins, and goes on for long.
#[function]
fn long(path: String) -> u32 {
    let file = OpenOptions::new().append(true).create(true).open(path);
    let _ = file.map(|mut file| writeln!(file, "begun"));
    thread::sleep(Duration::from_secs(600));
    0
}

struct Server {
    child: Child,
    _lines: Lines<BufReader<ChildStdout>>,
    address: String,
}

impl Server {
    fn start() -> Self {
        let path = std::env::var_os("TEMPORAL_TEST_SERVER")
            .expect("TEMPORAL_TEST_SERVER has the path of the server: see benches/run");
        let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let port = port.expect("a free port").port().to_string();
        let mut child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--"])
            .arg(path)
            .args(["server", "start-dev", "--headless", "--log-level", "error"])
            .args(["--ip", "127.0.0.1", "--port", &port])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("setpriv and the server are programs");
        let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        let is_up = |line: &String| line.contains("Server:");
        lines
            .by_ref()
            .map_while(Result::ok)
            .find(is_up)
            .expect("a server that starts");
        Self {
            child,
            _lines: lines,
            address: format!("temporal://127.0.0.1:{port}/default"),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Agent {
    child: Child,
    _lines: BufReader<ChildStderr>,
}

impl Agent {
    fn start(server: &Server) -> Self {
        let program = std::env::current_exe().expect("a path of this program");
        let mut child = Command::new(program)
            .env("RETRY_ENGINE", &server.address)
            .env("RETRY_SERVE", "all")
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("this program starts");
        let mut lines = BufReader::new(child.stderr.take().expect("it is piped"));
        let mut line = String::new();
        lines.read_line(&mut line).expect("a line");
        assert!(line.starts_with("serving "), "{line}");
        Self {
            child,
            _lines: lines,
        }
    }

    fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The client of the service without an engine.
struct Bare {
    service: Arc<Service>,
    runtime: tokio::runtime::Runtime,
    next: AtomicU64,
}

impl Bare {
    fn start(server: &Server) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("threads");
        let service = Arc::new(service::open(&server.address, "bare").expect("an address"));
        for _ in 0..4 {
            let service = Arc::clone(&service);
            runtime.spawn(async move {
                loop {
                    let Ok(Some(task)) = service
                        .poll(QUEUE, "bare", "bare", service::LONG_LIMIT)
                        .await
                    else {
                        continue;
                    };
                    let service = Arc::clone(&service);
                    tokio::spawn(async move {
                        // An agent keeps its ledger in this way before it runs anything.
                        let limit = Duration::from_secs(10);
                        let _ = service.heartbeat(&task.token, &[0; 32], limit).await;
                        let _ = service
                            .report(&task.token, &Report::Completed(&task.body))
                            .await;
                    });
                }
            });
        }
        Self {
            service,
            runtime,
            next: AtomicU64::new(0),
        }
    }

    /// Carries bodies of one size, so many at once, and returns the time of each.
    fn carry(&self, bodies: usize, at_once: usize, size: usize) -> Vec<Duration> {
        self.runtime.block_on(async {
            let (mut running, mut times) = (JoinSet::new(), Vec::new());
            for _ in 0..bodies {
                if running.len() == at_once {
                    times.extend(running.join_next().await.and_then(Result::ok));
                }
                let service = Arc::clone(&self.service);
                let id = format!("bare-{}", self.next.fetch_add(1, Ordering::Relaxed));
                running.spawn(async move {
                    let begun = Instant::now();
                    let body = vec![0; size];
                    let start = Start {
                        id: &id,
                        kind: QUEUE,
                        queue: QUEUE,
                        body: &body,
                        summary: QUEUE,
                        delay: Duration::ZERO,
                        deadline: None,
                        host_timeout: HOST_TIMEOUT,
                        caller: None,
                    };
                    service.start(&start).await.expect("a server");
                    loop {
                        match service.result(&id).await {
                            Ok(Some(Outcome::Completed(_))) => return begun.elapsed(),
                            Ok(None) => {}
                            other => panic!("{other:?}"),
                        }
                    }
                });
            }
            while let Some(time) = running.join_next().await {
                times.extend(time.ok());
            }
            times
        })
    }
}

fn quantile(times: &mut [Duration], share: f64) -> f64 {
    times.sort_unstable();
    let place = (times.len() - 1) as f64 * share;
    times[place as usize].as_secs_f64() * 1000.0
}

fn per_second(count: u64, begun: Instant) -> f64 {
    count as f64 / begun.elapsed().as_secs_f64()
}

fn lines(path: &str) -> usize {
    fs::read_to_string(path).map_or(0, |text| text.lines().count())
}

fn wait_for(is_so: impl Fn() -> bool) {
    let until = Instant::now() + Duration::from_secs(60);
    while !is_so() {
        assert!(Instant::now() < until, "not within a minute");
        thread::sleep(Duration::from_millis(1));
    }
}

fn main() {
    retry_runtime::init();
    let server = Server::start();
    let mut first = Agent::start(&server);
    let bare = Bare::start(&server);
    let engine = Runtime::builder()
        .engine(&server.address)
        .host_timeout(HOST_TIMEOUT);
    let engine = engine.build().expect("an engine");
    let call = |number| nothing.on(&engine).remote(number).wait().expect("a value");
    call(0);
    bare.carry(1, 1, INPUT_BYTES);

    let hello = |number: usize| {
        let begun = Instant::now();
        call(number as u64);
        begun.elapsed()
    };
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for number in 0..HELLOS {
        ours.push(hello(number));
        theirs.extend(bare.carry(1, 1, INPUT_BYTES));
    }
    for share in [0.5, 0.9] {
        let (ours, theirs) = (quantile(&mut ours, share), quantile(&mut theirs, share));
        let ratio = ours / theirs;
        println!(
            "single call, p{:.0}: {ours:.1} ms, bare {theirs:.1} ms, ratio {ratio:.2}",
            share * 100.0
        );
    }

    let begun = Instant::now();
    let rounds = SINGLES / AT_ONCE;
    for _ in 0..rounds {
        let calls: Vec<_> = (0..AT_ONCE as u64)
            .map(|number| nothing.on(&engine).spawn(number))
            .collect();
        for call in calls {
            call.wait().expect("a value");
        }
    }
    let ours = per_second((rounds * AT_ONCE) as u64, begun);
    let begun = Instant::now();
    bare.carry(SINGLES, AT_ONCE, INPUT_BYTES);
    let theirs = per_second(SINGLES as u64, begun);
    println!(
        "single calls, {AT_ONCE} at once: {ours:.0}/s, bare {theirs:.0}/s, ratio {:.2}",
        ours / theirs
    );

    let begun = Instant::now();
    let sum: u64 = nothing
        .on(&engine)
        .map(0..NOTHING)
        .into_iter()
        .map(Result::unwrap)
        .sum();
    assert_eq!(sum, NOTHING * (NOTHING - 1) / 2);
    let ours = per_second(NOTHING, begun);
    let tasks = NOTHING as usize / INPUTS;
    let begun = Instant::now();
    bare.carry(tasks, 8, INPUTS * INPUT_BYTES);
    let theirs = per_second((tasks * INPUTS) as u64, begun);
    println!(
        "inputs that do nothing: {ours:.0}/s, bare in tasks of {INPUTS} {theirs:.0}/s, ratio {:.2}",
        ours / theirs
    );

    let begun = Instant::now();
    assert_eq!(
        short
            .on(&engine)
            .map(0..SHORT)
            .into_iter()
            .filter(Result::is_ok)
            .count(),
        SHORT as usize
    );
    let ours = per_second(SHORT, begun);
    let begun = Instant::now();
    assert_eq!(
        short
            .map(0..SHORT)
            .into_iter()
            .filter(Result::is_ok)
            .count(),
        SHORT as usize
    );
    let theirs = per_second(SHORT, begun);
    println!(
        "inputs of 1 ms: {ours:.0}/s, local pool {theirs:.0}/s, ratio {:.2}",
        ours / theirs
    );

    let directory =
        std::env::temp_dir().join(format!("retry-temporal-speed-{}", std::process::id()));
    fs::create_dir_all(&directory).expect("a directory");
    let path = |name: &str| directory.join(name).display().to_string();
    let cancelled = path("cancelled");
    let call = long.on(&engine).spawn(cancelled.clone());
    wait_for(|| lines(&cancelled) == 1);
    let begun = Instant::now();
    call.cancel();
    assert!(matches!(call.wait(), Err(CallError::Cancelled(..))));
    println!(
        "cancel to Cancelled: {:.2} s, heartbeats every {:.2} s",
        begun.elapsed().as_secs_f64(),
        HOST_TIMEOUT.as_secs_f64() / 6.0
    );

    let killed = path("killed");
    let call = long.on(&engine).spawn(killed.clone());
    wait_for(|| lines(&killed) == 1);
    let _second = Agent::start(&server);
    let begun = Instant::now();
    first.kill();
    wait_for(|| lines(&killed) == 2);
    println!(
        "SIGKILL of an agent to the start elsewhere: {:.2} s, at a timeout of {HOST_TIMEOUT:?}",
        begun.elapsed().as_secs_f64()
    );
    call.cancel();
    let _ = fs::remove_dir_all(directory);
}
