//! Calls that run on other machines: agents are processes here, and the server is a real one.

use std::io::{BufRead, BufReader, Lines, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use retry_tests::machines::{Agent, Machines, is_gone, numbered, output};
use retry_tests::{eventually, fixture_outside};

const LIMIT: Duration = Duration::from_secs(120);

const SOON: Duration = Duration::from_secs(30);

/// The variable with the path of the server.
const SERVER: &str = "TEMPORAL_TEST_SERVER";

/// Lets a server end the polls of agents that drain. This is not the default.
const ENDS_POLLS: &str = "frontend.enableCancelWorkerPollsOnShutdown=true";

/// A server that keeps everything in memory, unless it is told otherwise. It ends with the test, whatever becomes of
/// that.
struct Server {
    child: Child,
    /// Kept, since a server ends that cannot write to it.
    _lines: Lines<BufReader<ChildStdout>>,
    port: u16,
}

impl Server {
    fn start() -> Self {
        Self::start_at(free_port())
    }

    fn start_at(port: u16) -> Self {
        Self::start_with(port, &["--dynamic-config-value", ENDS_POLLS])
    }

    fn start_with(port: u16, options: &[&str]) -> Self {
        let Some(path) = std::env::var_os(SERVER) else {
            panic!(
                "{SERVER} is not set: `retry-temporal/tests/run` gets the server and runs the tests, and any \
                 `temporal` of version 1.9.1 or newer of Temporal's command line will do"
            );
        };
        let mut child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--"])
            .arg(path)
            .args(["server", "start-dev", "--headless", "--log-level", "error"])
            .args(["--ip", "127.0.0.1", "--port", &port.to_string()])
            .args(options)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("setpriv and the server are programs");
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let up = lines
            .by_ref()
            .map_while(Result::ok)
            .find(|line| line.contains("Server:"));
        assert!(up.is_some(), "the server does not start");
        Self {
            child,
            _lines: lines,
            port,
        }
    }

    fn address(&self) -> String {
        format!("temporal://127.0.0.1:{}/default", self.port)
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Returns a port on which nothing listens.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// A connection to a server that can be cut, so that nothing is heard of it any more.
struct Link {
    port: u16,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    is_cut: AtomicBool,
    is_over: AtomicBool,
    streams: Mutex<Vec<TcpStream>>,
}

impl Link {
    fn to(server: &Server) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (shared, server) = (Arc::<Shared>::default(), server.port);
        let accepted = Arc::clone(&shared);
        let accepting = thread::spawn(move || accepted.accept(&listener, server));
        Self {
            port,
            shared,
            accepting: Some(accepting),
        }
    }

    fn address(&self) -> String {
        format!("temporal://127.0.0.1:{}/default", self.port)
    }

    /// Withholds all bytes from now on.
    fn cut(&self) {
        self.shared.is_cut.store(true, Ordering::SeqCst);
    }

    /// Passes on what was withheld, and everything that comes.
    fn heal(&self) {
        self.shared.is_cut.store(false, Ordering::SeqCst);
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::SeqCst);
        // Wakes the thread that accepts connections.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
    }
}

impl Shared {
    fn accept(self: Arc<Self>, listener: &TcpListener, server: u16) {
        let mut copying = Vec::new();
        for stream in listener.incoming() {
            if self.is_over.load(Ordering::SeqCst) {
                break;
            }
            let (near, far) = (stream.unwrap(), TcpStream::connect(("127.0.0.1", server)));
            let Ok(far) = far else {
                continue;
            };
            let copies = [&near, &far, &near, &far].map(|stream| stream.try_clone().unwrap());
            let [from_near, to_far, to_near, from_far] = copies;
            let mut streams = self.streams.lock().unwrap();
            streams.extend([near, far]);
            drop(streams);
            for (from, to) in [(from_near, to_far), (from_far, to_near)] {
                let shared = Arc::clone(&self);
                copying.push(thread::spawn(move || shared.copy(from, to)));
            }
        }
        for stream in &*self.streams.lock().unwrap() {
            let _ = stream.shutdown(Shutdown::Both);
        }
        for one in copying {
            let _ = one.join();
        }
    }

    fn copy(&self, mut from: TcpStream, mut to: TcpStream) {
        let mut bytes = [0; 1 << 16];
        while let Ok(count @ 1..) = from.read(&mut bytes) {
            while self.is_cut.load(Ordering::SeqCst) && !self.is_over.load(Ordering::SeqCst) {
                thread::sleep(Duration::from_millis(5));
            }
            if to.write_all(&bytes[..count]).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Both);
    }
}

/// Returns machines that use a server.
fn machines(server: &Server) -> Machines<()> {
    machines_at(server.address())
}

/// Returns machines that use an address.
fn machines_at(address: String) -> Machines<()> {
    Machines::new(env!("CARGO_BIN_EXE_hosts"), address, ())
}

#[test]
fn calls_run_in_the_pools_of_agents() {
    fixture_outside(LIMIT, || {
        let server = Server::start();
        let world = machines(&server);
        let agents = [world.agent(), world.agent()];
        assert_eq!(world.run(&["single", "7"]), "7\n");
        assert_eq!(
            world.run(&["square", "0", "1000"]),
            numbered((0..1000).map(|number| number * number))
        );
        for agent in agents {
            let printed = agent.end();
            assert!(printed.starts_with("draining: "), "{printed}");
        }
    });
}

#[test]
fn errors_arrive_with_the_attempts_of_their_machine() {
    fixture_outside(LIMIT, || {
        let server = Server::start();
        let world = machines(&server);
        let _agent = world.agent();
        let lines = world.run(&["fails", "0", "6"]);
        let lines: Vec<&str> = lines.lines().collect();
        assert_eq!(lines[..4], ["0 1", "1 2", "2 3", "3 4"]);
        let failed =
            "fails[4] failed after 4 attempts: attempt 4 on 4 [failed, failed, failed, failed]";
        assert_eq!(lines[4], format!("4 error: {failed}"));
        assert_eq!(world.ledger.executions()[&5], 4);
    });
}

#[test]
fn a_late_retry_is_handed_back_and_keeps_its_number() {
    fixture_outside(LIMIT, || {
        let server = Server::start();
        let world = machines(&server);
        let _agents = [world.agent(), world.agent()];
        let begun = Instant::now();
        assert_eq!(world.run(&["later", "0", "8"]), numbered([2; 8]));
        assert!(begun.elapsed() >= Duration::from_millis(1500));
        assert_eq!(world.ledger.executions().values().sum::<u32>(), 16);
    });
}

#[test]
fn a_crash_below_an_agent_costs_one_attempt() {
    fixture_outside(LIMIT, || {
        let server = Server::start();
        let world = machines(&server);
        let _agent = world.agent();
        let lines = world.run(&["crashes_at_13", "0", "64"]);
        for (number, line) in lines.lines().enumerate() {
            match number {
                13 => assert!(
                    line.contains("crashed") && line.contains("SIGABRT"),
                    "{line}"
                ),
                _ => assert_eq!(line, format!("{number} {number}")),
            }
        }
        let executions = world.ledger.executions();
        let expected = |number: u64| if number == 13 { 3 } else { 1 };
        assert_eq!(executions.len(), 64);
        assert!(
            executions
                .iter()
                .all(|(number, count)| *count == expected(*number)),
            "{executions:?}"
        );
    });
}

#[test]
fn inputs_of_a_killed_agent_run_elsewhere() {
    fixture_outside(LIMIT, || {
        let server = Server::start();
        let mut world = machines(&server);
        world.set("WORK", "30");
        let mut first = world.agent();
        let caller = world.start(&["slow", "0", "200"]);
        eventually("the first machine works", SOON, || {
            world.ledger.entries().len() > 40
        });
        let _second = world.agent();
        first.kill();
        assert_eq!(output(caller.wait_with_output().unwrap()), numbered(0..200));
        let executions = world.ledger.executions();
        assert_eq!(executions.len(), 200);
        assert!(
            executions.values().all(|count| *count <= 2),
            "{executions:?}"
        );
    });
}

#[test]
fn an_at_most_once_input_of_a_lost_machine_does_not_run_again() {
    fixture_outside(LIMIT, || {
        let server = Server::start();
        let mut world = machines(&server);
        world.set("WORK", "60000");
        let mut first = world.agent();
        let caller = world.start(&["once", "0", "2"]);
        eventually("both run", SOON, || world.ledger.entries().len() == 2);
        first.kill();
        let _second = world.agent();
        let lines = output(caller.wait_with_output().unwrap());
        let lost = format!(
            "each machine that had the call was lost before it answered: {} [its machine was lost]",
            first.name
        );
        assert_eq!(lines.lines().count(), 2);
        assert!(lines.lines().all(|line| line.ends_with(&lost)), "{lines}");
        assert_eq!(world.ledger.entries().len(), 2);
    });
}

#[test]
fn a_cancelled_call_ends_on_its_machine() {
    fixture_outside(LIMIT, || {
        let server = Server::start();
        let mut world = machines(&server);
        world.set("WORK", "60000");
        let _agent = world.agent();
        let mut command = world.call(&["cancelled", "3"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut caller = command.stderr(Stdio::piped()).spawn().unwrap();
        eventually("it runs", SOON, || world.ledger.entries().len() == 1);
        let worker = world.ledger.entries()[0].pid;
        caller.stdin.take().unwrap().write_all(b"\n").unwrap();
        let printed = output(caller.wait_with_output().unwrap());
        assert!(
            printed.contains("slow was cancelled: by its caller"),
            "{printed}"
        );
        eventually("its worker is gone", SOON, || is_gone(worker));
    });
}

#[test]
fn a_queued_call_is_cancelled_at_once() {
    fixture_outside(LIMIT, || {
        let server = Server::start();
        let world = machines(&server);
        let mut command = world.call(&["cancelled", "3"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut caller = command.stderr(Stdio::piped()).spawn().unwrap();
        let begun = Instant::now();
        caller.stdin.take().unwrap().write_all(b"\n").unwrap();
        let printed = output(caller.wait_with_output().unwrap());
        assert!(
            printed.contains("slow was cancelled: by its caller"),
            "{printed}"
        );
        assert!(begun.elapsed() < Duration::from_secs(5));
        // A machine that comes later does not get it.
        let _agent = world.agent();
        assert_eq!(world.run(&["slow", "4", "5"]), "0 4\n");
        assert_eq!(world.ledger.entries().len(), 1);
    });
}

#[test]
fn a_server_that_says_nothing_is_one_clear_error() {
    fixture_outside(LIMIT, || {
        let server = Server::start();
        let link = Link::to(&server);
        link.cut();
        let world = machines_at(link.address());
        let begun = Instant::now();
        let printed = world.run(&["single", "1"]);
        assert!(begun.elapsed() < Duration::from_secs(10));
        assert!(printed.contains("no answer within 5s"), "{printed}");
    });
}

#[test]
fn deadlines_count_from_the_call_whatever_becomes_of_it() {
    fixture_outside(LIMIT, || {
        let server = Server::start();
        let mut world = machines(&server);
        world.set("WORK", "60000");
        let agent = world.agent();
        let begun = Instant::now();
        let printed = world.run(&["single_limited", "1"]);
        assert!(printed.contains("deadline"), "{printed}");
        assert!(begun.elapsed() >= Duration::from_secs(1));
        drop(agent);
        // No machine is there any more.
        let printed = world.run(&["single_limited", "2"]);
        assert!(printed.contains("deadline"), "{printed}");
        assert_eq!(world.ledger.executions().len(), 1);
    });
}

#[test]
fn without_a_machine_the_error_says_what_to_start() {
    fixture_outside(LIMIT, || {
        let server = Server::start();
        let mut world = machines(&server);
        world.set("RETRY_STARTUP_TIMEOUT", "1s");
        let printed = world.run(&["single", "1"]);
        assert!(printed.contains("no host serves slow@"), "{printed}");
        assert!(
            printed.contains("start one with RETRY_SERVE=all"),
            "{printed}"
        );

        // Another build never gets the call.
        let mut other = world.program();
        other
            .env("RETRY_SERVE", "slow,square")
            .env("RETRY_VERSION", "2");
        let other = Agent::start(other);
        let printed = world.run(&["single", "1"]);
        assert!(printed.contains("(hosts serve slow@"), "{printed}");
        assert!(printed.contains(", another build)"), "{printed}");
        assert_eq!(world.ledger.entries(), []);
        world.set("RETRY_VERSION", "2");
        assert_eq!(world.run(&["single", "1"]), "1\n");

        // A machine that has drained serves nothing.
        other.end();
        let printed = world.run(&["single", "1"]);
        assert!(printed.contains("no host serves slow@"), "{printed}");
    });
}

#[test]
fn a_machine_without_room_serves_its_functions_all_the_same() {
    fixture_outside(LIMIT, || {
        let server = Server::start();
        let mut world = machines(&server);
        world.set("RETRY_STARTUP_TIMEOUT", "1s");
        world.set("WORK", "4000");
        let _agent = world.agent();
        let calls: Vec<Child> = (0..8)
            .map(|number: u64| world.start(&["single", &number.to_string()]))
            .collect();
        for (number, call) in calls.into_iter().enumerate() {
            assert_eq!(
                output(call.wait_with_output().unwrap()),
                format!("{number}\n")
            );
        }
    });
}

#[test]
fn a_server_that_cannot_be_used_is_one_clear_error() {
    fixture_outside(LIMIT, || {
        let port = free_port();
        let world = machines_at(format!("temporal://127.0.0.1:{port}/default"));
        let begun = Instant::now();
        let printed = world.run(&["square", "0", "2"]);
        assert!(begun.elapsed() < Duration::from_secs(10));
        let expected = format!("the Temporal server at 127.0.0.1:{port}: Connection refused");
        assert!(
            printed.lines().all(|line| line.contains(&expected)),
            "{printed}"
        );

        let server = Server::start_at(port);
        let world = machines_at(server.address().replace("default", "nowhere"));
        let begun = Instant::now();
        let printed = world.run(&["single", "1"]);
        assert!(begun.elapsed() < Duration::from_secs(10));
        assert!(
            printed.contains("Namespace nowhere is not found"),
            "{printed}"
        );
        let ended = world.program().env("RETRY_SERVE", "all").output().unwrap();
        let errors = String::from_utf8(ended.stderr).unwrap();
        assert_eq!(ended.status.code(), Some(2), "{errors}");
        assert!(
            errors.contains("Namespace nowhere is not found"),
            "{errors}"
        );
    });
}

/// Runs calls on an agent that drains, and on another one.
fn drains(server: &Server) {
    let mut world = machines(server);
    world.set("WORK", "300");
    world.set("RETRY_SHUTDOWN_GRACE", "100ms");
    // Only a lost machine would take this long.
    world.set("RETRY_HOST_TIMEOUT", "60s");
    let first = world.agent();
    let caller = world.start(&["slow", "0", "12"]);
    eventually("it runs", SOON, || world.ledger.entries().len() > 2);
    let _second = world.agent();
    let begun = Instant::now();
    first.end();
    let ended = begun.elapsed();
    assert_eq!(output(caller.wait_with_output().unwrap()), numbered(0..12));
    eprintln!("ended after {ended:?}, done after {:?}", begun.elapsed());
    assert!(ended < Duration::from_secs(8), "{ended:?}");
    assert!(begun.elapsed() < Duration::from_secs(30));
}

#[test]
fn an_agent_that_drains_hands_its_work_on() {
    fixture_outside(LIMIT, || drains(&Server::start()));
}

#[test]
fn an_agent_drains_although_the_server_does_not_end_its_polls() {
    fixture_outside(LIMIT, || drains(&Server::start_with(free_port(), &[])));
}

/// Lets machines come and go while calls are made: none of them may take a task along.
fn drains_often(server: &Server) {
    let mut world = machines(server);
    world.set("WORK", "20");
    // The time that a task would take that is taken along.
    world.set("RETRY_HOST_TIMEOUT", "60s");
    let _steady = world.agent();
    let begun = Instant::now();
    let caller = world.start(&["slow", "0", "2000"]);
    for _ in 0..5 {
        let agent = world.agent();
        let before = world.ledger.entries().len();
        eventually("calls run", SOON, || {
            world.ledger.entries().len() > before + 50 || world.ledger.entries().len() == 2000
        });
        agent.end();
    }
    assert_eq!(
        output(caller.wait_with_output().unwrap()),
        numbered(0..2000)
    );
    assert!(begun.elapsed() < Duration::from_secs(50));
    // Calls that had begun have ended where they were.
    assert_eq!(world.ledger.entries().len(), 2000);
}

#[test]
fn machines_come_and_go_without_taking_tasks_along() {
    fixture_outside(LIMIT, || drains_often(&Server::start()));
}

#[test]
fn machines_come_and_go_although_the_server_does_not_end_their_polls() {
    fixture_outside(LIMIT, || {
        drains_often(&Server::start_with(free_port(), &[]));
    });
}

#[test]
fn agents_wait_for_their_server() {
    fixture_outside(LIMIT, || {
        let port = free_port();
        let mut world = machines_at(format!("temporal://127.0.0.1:{port}/default"));
        world.set("WORK", "60000");
        let mut agent = world.agent();
        let line = agent.next_line();
        let waits =
            format!("waiting for the Temporal server at 127.0.0.1:{port}: Connection refused");
        assert!(line.starts_with(&waits), "{line}");
        let mut server = Server::start_at(port);
        let line = agent.next_line();
        assert_eq!(
            line,
            format!("the Temporal server at 127.0.0.1:{port} answers\n")
        );
        assert_eq!(world.run(&["square", "0", "3"]), numbered([0, 1, 4]));

        // One that comes back without its data ends the calls that it had.
        let caller = world.start(&["slow", "0", "3"]);
        eventually("all run", SOON, || world.ledger.entries().len() == 3);
        let workers: Vec<u32> = world.ledger.entries().iter().map(|one| one.pid).collect();
        server.kill();
        let _server = Server::start_at(port);
        let lines = output(caller.wait_with_output().unwrap());
        let expired = "the engine does not know the call any more";
        assert!(lines.lines().all(|line| line.contains(expired)), "{lines}");
        eventually("nothing of them runs", SOON, || {
            workers.iter().all(|worker| is_gone(*worker))
        });
        assert_eq!(world.run(&["square", "0", "3"]), numbered([0, 1, 4]));
    });
}

#[test]
fn a_machine_that_is_cut_off_ends_its_work_first() {
    fixture_outside(LIMIT, || {
        let server = Server::start();
        let link = Link::to(&server);
        let mut world = machines(&server);
        world.set("WORK", "4000");
        let mut program = world.program();
        program
            .env("RETRY_SERVE", "all")
            .env("RETRY_ENGINE", link.address());
        let first = Agent::start(program);
        let caller = world.start(&["slow", "0", "1"]);
        eventually("it runs", SOON, || world.ledger.entries().len() == 1);
        let worker = world.ledger.entries()[0].pid;
        link.cut();
        let second = world.agent();
        eventually("it runs elsewhere", SOON, || {
            let runs = world.ledger.entries().len() == 2;
            assert!(!runs || is_gone(worker), "it runs on both machines");
            runs
        });
        link.heal();
        assert_eq!(output(caller.wait_with_output().unwrap()), "0 0\n");
        // It serves again.
        second.end();
        assert_eq!(world.run(&["square", "0", "3"]), numbered([0, 1, 4]));
        first.end();
    });
}

#[test]
fn a_caller_that_is_cut_off_gets_its_results_later() {
    fixture_outside(LIMIT, || {
        let server = Server::start();
        let link = Link::to(&server);
        let mut world = machines(&server);
        world.set("WORK", "500");
        let _agent = world.agent();
        world.address = link.address();
        let caller = world.start(&["slow", "0", "2"]);
        eventually("they run", SOON, || world.ledger.entries().len() == 2);
        link.cut();
        world.address = server.address();
        // The calls are over when others have run in their places.
        assert_eq!(world.run(&["slow", "2", "10"]), numbered(2..10));
        link.heal();
        assert_eq!(output(caller.wait_with_output().unwrap()), numbered(0..2));
        assert_eq!(world.ledger.executions().len(), 10);
    });
}

#[test]
fn a_server_that_restarts_costs_only_time() {
    fixture_outside(LIMIT, || {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("data");
        let options = ["--db-filename", file.to_str().unwrap()];
        let port = free_port();
        let mut server = Server::start_with(port, &options);
        let mut world = machines(&server);
        world.set("WORK", "1500");
        // Twice as long as the server is away.
        world.set("RETRY_HOST_TIMEOUT", "20s");
        let _agent = world.agent();
        let caller = world.start(&["slow", "0", "20"]);
        let waiting = world.start(&["later", "0", "4"]);
        eventually("some have run", SOON, || world.ledger.entries().len() > 10);
        server.kill();
        let _server = Server::start_with(port, &options);
        assert_eq!(output(caller.wait_with_output().unwrap()), numbered(0..20));
        assert_eq!(
            output(waiting.wait_with_output().unwrap()),
            numbered([2; 4])
        );
        // Those of `later` run twice, and have the same numbers as some of `slow`.
        assert_eq!(world.ledger.total(), 20 + 2 * 4);
    });
}

#[test]
fn results_that_do_not_fit_together_come_in_smaller_tasks() {
    fixture_outside(LIMIT, || {
        let server = Server::start();
        let world = machines(&server);
        let _agent = world.agent();
        assert_eq!(world.run(&["large", "0", "40"]), "whole\n");
    });
}

#[test]
fn a_server_that_limits_the_rate_costs_only_time() {
    fixture_outside(LIMIT, || {
        let limit = "frontend.namespaceRPS=40";
        let server = Server::start_with(free_port(), &["--dynamic-config-value", limit]);
        let mut world = machines(&server);
        // Each is a task of its own, with a handful of messages.
        world.set("RETRY_HOST_TIMEOUT", "10s");
        let _agent = world.agent();
        assert_eq!(world.run(&["once", "0", "60"]), numbered(0..60));
        assert_eq!(world.ledger.entries().len(), 60);
    });
}
