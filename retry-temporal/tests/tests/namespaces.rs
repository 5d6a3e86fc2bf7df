//! Faults of hosts and of the network between them, with a real server. Each host is a namespace of processes and of
//! the network with a ledger of its own: `srv` has the server, `w1` and `w2` have agents, and `cli` has the program
//! that makes the calls.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use retry_temporal_tests::{Host, Network, Server};
use retry_tests::machines::{Agent, Machines, assert_only_lost, numbered, output};
use retry_tests::{eventually, fixture_outside};

const LIMIT: Duration = Duration::from_secs(120);

const SOON: Duration = Duration::from_secs(30);

/// The time after which a silent host is given up.
const TIMEOUT: Duration = Duration::from_secs(2);

/// The time within which something happens for which a second or two are enough, on a machine that is busy.
const PROMPTLY: Duration = Duration::from_secs(10);

/// The program that the hosts run.
const PROGRAM: &str = env!("CARGO_BIN_EXE_hosts");

struct World {
    machines: Machines<()>,
    srv: Host,
    w1: Host,
    w2: Host,
    cli: Host,
    _network: Network,
}

impl World {
    /// Creates hosts without a server and agents.
    fn new() -> Self {
        let mut network = Network::new();
        let srv = network.host("srv");
        Self {
            machines: Machines::new(PROGRAM, Server::address_on(&srv), ()),
            srv,
            w1: network.host("w1"),
            w2: network.host("w2"),
            cli: network.host("cli"),
            _network: network,
        }
    }

    /// Creates hosts with a server.
    fn with_server() -> (Self, Server) {
        let world = Self::new();
        let server = Server::start_on(&world.srv, &[]);
        (world, server)
    }

    fn set(&mut self, name: &'static str, value: &str) {
        self.machines.set(name, value);
    }

    /// Starts an agent on a host.
    fn agent(&self, host: &Host) -> Agent {
        self.agent_of(self.machines.program(), host)
    }

    fn agent_of(&self, mut program: Command, host: &Host) -> Agent {
        program
            .env("RETRY_SERVE", "all")
            .env("LEDGER", host.ledger.path());
        let agent = Agent::start(host.command(&program));
        assert!(agent.name.ends_with(&format!("@{}", host.name)));
        agent
    }

    /// Starts a caller on a host. Its output is read at its end.
    fn start_on(&self, host: &Host, arguments: &[&str]) -> Child {
        let mut command = host.command(&self.machines.call(arguments));
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        command.stderr(Stdio::piped()).spawn().unwrap()
    }

    fn start(&self, arguments: &[&str]) -> Child {
        self.start_on(&self.cli, arguments)
    }

    fn run(&self, arguments: &[&str]) -> String {
        output(self.start(arguments).wait_with_output().unwrap())
    }

    /// Starts a caller that cancels its call when it is told to.
    fn start_cancelled(&self, mode: &str) -> Child {
        self.start(&[mode, "3"])
    }
}

/// Tells a caller to cancel its call.
fn cancel(caller: &mut Child) {
    caller.stdin.take().unwrap().write_all(b"\n").unwrap();
}

/// Asserts that a caller that has cancelled its call says so, and nothing else.
fn assert_cancelled(caller: Child) {
    let printed = output(caller.wait_with_output().unwrap());
    assert!(
        printed.contains("was cancelled: by its caller"),
        "{printed}"
    );
}

/// Returns how often the functions of both hosts were executed with each input.
fn executions(hosts: [&Host; 2]) -> BTreeMap<u64, u32> {
    let mut all = BTreeMap::new();
    for host in hosts {
        for (input, count) in host.ledger.executions() {
            *all.entry(input).or_default() += count;
        }
    }
    all
}

/// Returns the processes that have executed inputs on a host.
fn pids(host: &Host) -> Vec<u32> {
    host.ledger.entries().iter().map(|one| one.pid).collect()
}

fn all_gone(host: &Host, pids: &[u32]) -> bool {
    pids.iter().all(|pid| host.is_gone(*pid))
}

#[test]
fn a_killed_worker_below_an_agent_costs_one_attempt() {
    fixture_outside(LIMIT, || {
        let (world, _server) = World::with_server();
        let _agents = [world.agent(&world.w1), world.agent(&world.w2)];
        let caller = world.start(&["sticks_at_200", "0", "400"]);
        let mut found = None;
        eventually("the input runs that does not end", SOON, || {
            found = [&world.w1, &world.w2].into_iter().find_map(|host| {
                let entries = host.ledger.entries();
                let entry = entries.into_iter().find(|one| one.input == 200)?;
                Some((host, entry.pid))
            });
            found.is_some()
        });
        let (host, worker) = found.unwrap();
        host.kill_process(worker);
        let ended = caller.wait_with_output().unwrap();
        let errors = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert_eq!(output(ended), numbered(0..400));
        let failed: Vec<&str> = errors
            .lines()
            .filter(|one| one.contains("attempt"))
            .collect();
        assert_eq!(failed.len(), 1, "{errors}");
        assert!(
            failed[0].contains("[200]") && failed[0].contains("SIGKILL"),
            "{errors}"
        );
        // It began again in its second attempt on the same host, and all others once.
        let attempts: Vec<u32> = host
            .ledger
            .entries()
            .iter()
            .filter(|one| one.input == 200)
            .map(|one| one.attempt)
            .collect();
        assert_eq!(attempts, [1, 2]);
        let executions = executions([&world.w1, &world.w2]);
        assert_eq!(executions.len(), 400);
        assert_eq!(executions.values().sum::<u32>(), 401, "{executions:?}");
    });
}

/// Lets a host be lost in the middle of a map, and checks what becomes of the inputs that it had.
fn loses_a_host(lose: impl FnOnce(&mut World, &mut Agent)) {
    let (mut world, _server) = World::with_server();
    world.set("WORK", "200");
    let log = world.cli.ledger.path().with_file_name("events");
    world.set("RETRY_EVENTS", log.to_str().unwrap());
    let mut first = world.agent(&world.w1);
    let _second = world.agent(&world.w2);
    let caller = world.start(&["slow", "0", "200"]);
    // An input has just begun then.
    let mut before = 0;
    eventually("both hosts work", SOON, || {
        let entries = world.w1.ledger.entries().len();
        let begins = std::mem::replace(&mut before, entries) < entries;
        begins && entries > 20 && !world.w2.ledger.entries().is_empty()
    });
    lose(&mut world, &mut first);
    let lost = Instant::now();
    eventually("its inputs run on the second host", SOON, || {
        let of_first = world.w1.ledger.executions();
        let of_second = world.w2.ledger.executions();
        of_second.keys().any(|input| of_first.contains_key(input))
    });
    eprintln!("they run elsewhere after {:?}", lost.elapsed());
    assert_eq!(output(caller.wait_with_output().unwrap()), numbered(0..200));
    let executions = executions([&world.w1, &world.w2]);
    assert_eq!(executions.len(), 200);
    assert!(
        executions.values().all(|count| *count <= 2),
        "{executions:?}"
    );
    let events = std::fs::read_to_string(log).unwrap();
    let histories = events
        .lines()
        .filter(|line| line.contains("host_lost"))
        .collect::<Vec<_>>();
    assert!(!histories.is_empty(), "{events}");
    assert!(
        histories.iter().all(|line| line.contains(&first.name)),
        "{histories:?}"
    );
}

#[test]
fn inputs_of_a_killed_agent_run_on_another_host() {
    fixture_outside(LIMIT, || {
        loses_a_host(|world, agent| {
            let workers = pids(&world.w1);
            agent.kill();
            eventually("its workers are gone", PROMPTLY, || {
                all_gone(&world.w1, &workers)
            });
        });
    });
}

#[test]
fn inputs_of_a_lost_host_run_on_another_one() {
    fixture_outside(LIMIT, || loses_a_host(|world, _| world.w1.kill()));
}

#[test]
fn a_host_that_is_cut_off_ends_its_work_first() {
    fixture_outside(LIMIT, || {
        let (mut world, _server) = World::with_server();
        let timeout = 2 * TIMEOUT;
        world.set("RETRY_HOST_TIMEOUT", &format!("{}s", timeout.as_secs()));
        world.set("RETRY_MAX_WORKERS", "2");
        let mut first = world.agent(&world.w1);
        // One would go on for longer than its host is given up; the other one ends while its host is cut off, which
        // reports it too late.
        let callers = [("10000", "10001"), ("2500", "2501")].map(|(time, end)| {
            let before = world.w1.ledger.entries().len();
            let caller = world.start(&["takes", time, end]);
            eventually("it runs", SOON, || world.w1.ledger.entries().len() > before);
            caller
        });
        world.w1.cut();
        let cut = Instant::now();
        let second = world.agent(&world.w2);
        eventually("both run elsewhere", SOON, || {
            let running = world.w2.ledger.entries();
            for entry in &running {
                let of_first = world.w1.ledger.entries();
                let before = of_first.iter().find(|one| one.input == entry.input);
                let worker = before.expect("it has run there").pid;
                let runs = entry.input == 10_000 && !world.w1.is_gone(worker);
                assert!(!runs, "it runs on both hosts");
            }
            running.len() == 2
        });
        eprintln!("both run elsewhere after {:?}", cut.elapsed());
        // The cut has its length.
        std::thread::sleep((3 * timeout).saturating_sub(cut.elapsed()));
        world.w1.heal();
        for (caller, expected) in callers.into_iter().zip(["0 10000\n", "0 2500\n"]) {
            assert_eq!(output(caller.wait_with_output().unwrap()), expected);
        }
        assert_eq!(world.w1.ledger.entries().len(), 2);
        assert_eq!(world.w2.ledger.entries().len(), 2);
        // It serves again, and has not been started again.
        assert!(!first.has_ended());
        second.end();
        assert_eq!(world.run(&["slow", "0", "3"]), numbered(0..3));
        assert_eq!(world.w1.ledger.entries().len(), 5);
        let printed = first.end();
        assert!(printed.contains("lost a task of takes"), "{printed}");
    });
}

#[test]
fn a_caller_that_is_cut_off_gets_its_results_later() {
    fixture_outside(LIMIT, || {
        let (mut world, _server) = World::with_server();
        world.set("WORK", "2000");
        world.set("RETRY_DEADLINE", "100s");
        let _agent = world.agent(&world.w1);
        let mut caller = world.start(&["slow", "0", "2"]);
        eventually("they run", SOON, || world.w1.ledger.entries().len() == 2);
        world.cli.cut();
        // They are over when others have run in their places.
        let others = world.start_on(&world.w2, &["slow", "2", "10"]);
        assert_eq!(output(others.wait_with_output().unwrap()), numbered(2..10));
        assert!(caller.try_wait().unwrap().is_none());
        world.cli.heal();
        assert_eq!(output(caller.wait_with_output().unwrap()), numbered(0..2));
        assert_eq!(world.w1.ledger.executions().len(), 10);
        assert_eq!(world.w1.ledger.total(), 10);
    });
}

#[test]
fn a_caller_that_is_cut_off_for_longer_than_its_deadline_times_out() {
    fixture_outside(LIMIT, || {
        let (mut world, _server) = World::with_server();
        world.set("WORK", "60000");
        let _agent = world.agent(&world.w1);
        world.set("RETRY_DEADLINE", "6s");
        let begun = Instant::now();
        let caller = world.start(&["single", "1"]);
        eventually("it runs", SOON, || world.w1.ledger.entries().len() == 1);
        let workers = pids(&world.w1);
        world.cli.cut();
        let printed = output(caller.wait_with_output().unwrap());
        let elapsed = begun.elapsed();
        eprintln!("it timed out after {elapsed:?}");
        assert!(printed.contains("deadline"), "{printed}");
        assert!(elapsed >= Duration::from_secs(6), "{elapsed:?}");
        assert!(elapsed < Duration::from_secs(8) + PROMPTLY, "{elapsed:?}");
        // The host has ended them by itself: their caller is still cut off.
        eventually("they have ended", PROMPTLY, || {
            all_gone(&world.w1, &workers)
        });
        world.cli.heal();
    });
}

#[test]
fn a_server_that_restarts_loses_nothing() {
    fixture_outside(LIMIT, || {
        // In memory, since the server waits for a disk at each of its steps.
        let directory = tempfile::tempdir_in("/dev/shm").unwrap();
        let file = directory.path().join("data");
        let options = ["--db-filename", file.to_str().unwrap()];
        let mut world = World::new();
        let mut server = Server::start_on(&world.srv, &options);
        world.set("RETRY_MAX_WORKERS", "10");
        // Twice as long as the server is away.
        world.set("RETRY_HOST_TIMEOUT", "20s");
        let _agents = [world.agent(&world.w1), world.agent(&world.w2)];
        let hosts = [&world.w1, &world.w2];
        let mut caller = world.start(&["many", "1500", "1620", "20", "10"]);
        let count = |is_meant: fn(u64) -> bool| {
            let executions = executions(hosts);
            let meant = executions.iter().filter(|(input, _)| is_meant(**input));
            meant.map(|(_, count)| *count).sum::<u32>()
        };
        let (is_delayed, is_taking) = (|one| one < 20, |one| (1500..1620).contains(&one));
        let is_cancelled = |one| one >= 2500;
        eventually("20 are in a delay, and 20 run", SOON, || {
            count(is_delayed) == 20 && count(is_taking) >= 20
        });
        cancel(&mut caller);
        let mut lines = BufReader::new(caller.stdout.take().unwrap()).lines();
        let mut next = || lines.next().unwrap().unwrap();
        for _ in 0..10 {
            let line = next();
            assert!(
                line.starts_with("cancelled error: takes was cancelled"),
                "{line}"
            );
        }
        assert_eq!(next(), "all are cancelled");
        let begun_before = count(is_cancelled);
        assert!(count(is_delayed) < 40, "all delays are over");
        assert!(count(is_taking) < 120, "none wait");
        server.kill();
        let _server = Server::start_on(&world.srv, &options);
        for input in 1500..1620 {
            assert_eq!(next(), format!("taking {input}"));
        }
        for _ in 0..20 {
            assert_eq!(next(), "delayed 2");
        }
        assert!(caller.wait().unwrap().success());
        assert_eq!(count(is_cancelled), begun_before);
        let executions = executions(hosts);
        let expected = |input: &u64| if is_delayed(*input) { 2 } else { 1 };
        assert!(
            executions
                .iter()
                .all(|(input, count)| *count == expected(input)),
            "{executions:?}"
        );
        for host in hosts {
            assert!(host.ledger.entries().iter().all(|one| one.attempt <= 2));
        }
    });
}

#[test]
fn agents_wait_without_a_server_and_calls_fail() {
    fixture_outside(LIMIT, || {
        let world = World::new();
        let place = Server::place_on(&world.srv);
        // The host answers that no server is there, or does not answer at all.
        let fails = |reason: &str| {
            let begun = Instant::now();
            let printed = world.run(&["square", "0", "2"]);
            let elapsed = begun.elapsed();
            eprintln!("it fails after {elapsed:?}: {printed}");
            assert!(elapsed < PROMPTLY + PROMPTLY, "{elapsed:?}");
            let expected = format!("the Temporal server at {place}: {reason}");
            assert_eq!(printed.lines().count(), 2, "{printed}");
            assert!(
                printed.lines().all(|line| line.contains(&expected)),
                "{printed}"
            );
        };
        fails("Connection refused");
        world.srv.cut();
        fails("");
        world.srv.heal();

        let mut agent = world.agent(&world.w1);
        let line = agent.next_line();
        let waits = format!("waiting for the Temporal server at {place}: ");
        assert!(line.starts_with(&waits), "{line}");
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("data");
        let options = ["--db-filename", file.to_str().unwrap()];
        let mut server = Server::start_on(&world.srv, &options);
        let answers = format!("the Temporal server at {place} answers\n");
        assert_eq!(agent.next_line(), answers);
        assert_eq!(world.run(&["square", "0", "3"]), numbered([0, 1, 4]));

        // It polls now.
        server.kill();
        let line = agent.next_line();
        assert!(line.starts_with(&waits), "{line}");
        let _server = Server::start_on(&world.srv, &options);
        assert_eq!(agent.next_line(), answers);
        assert_eq!(world.run(&["square", "0", "3"]), numbered([0, 1, 4]));
    });
}

#[test]
fn a_server_without_its_data_ends_the_calls_that_it_had() {
    fixture_outside(LIMIT, || {
        let (mut world, mut server) = World::with_server();
        world.set("RETRY_MAX_WORKERS", "4");
        let _agents = [world.agent(&world.w1), world.agent(&world.w2)];
        let mut caller = world.start(&["many", "60000", "60016", "0", "0"]);
        cancel(&mut caller);
        let hosts = [&world.w1, &world.w2];
        eventually("eight run, and the others wait at the server", SOON, || {
            executions(hosts).len() == 8 && Server::activities_on(&world.srv) == 16
        });
        server.kill();
        let _server = Server::start_on(&world.srv, &[]);
        let printed = output(caller.wait_with_output().unwrap());
        let lines = printed.replace("all are cancelled\n", "");
        let expired = "the engine does not know the call any more";
        assert_eq!(lines.lines().count(), 16, "{lines}");
        assert!(lines.lines().all(|line| line.contains(expired)), "{lines}");
        eventually("nothing of them runs", SOON, || {
            hosts.into_iter().all(|host| all_gone(host, &pids(host)))
        });
        // Each host has taken one more, which waited there.
        assert!(executions(hosts).len() <= 10);
        assert_eq!(world.run(&["square", "0", "3"]), numbered([0, 1, 4]));
    });
}

#[test]
fn a_host_with_another_build_gets_no_calls() {
    fixture_outside(LIMIT, || {
        let (mut world, _server) = World::with_server();
        world.set("RETRY_STARTUP_TIMEOUT", "1s");
        let printed = world.run(&["single", "1"]);
        assert!(printed.contains("no host serves slow@"), "{printed}");
        assert!(
            printed.contains("start one with RETRY_SERVE=all"),
            "{printed}"
        );

        // The same program, as another file.
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("hosts");
        std::fs::copy(PROGRAM, &path).unwrap();
        let mut file = std::fs::OpenOptions::new()
            .append(true)
            .open(&path)
            .unwrap();
        file.write_all(b"\n").unwrap();
        drop(file);
        let address = world.machines.address.clone();
        let program = || {
            let mut command = Command::new(&path);
            command.env("RETRY_ENGINE", &address);
            command
        };
        let other = world.agent_of(program(), &world.w2);
        let mut printed = String::new();
        eventually("the error names the other build", SOON, || {
            printed = world.run(&["single", "1"]);
            assert!(printed.contains("no host serves slow@"), "{printed}");
            printed.contains("(hosts serve slow@") && printed.contains(", another build)")
        });
        let versions: Vec<&str> = printed
            .split("slow@")
            .skip(1)
            .map(|rest| &rest[..8])
            .collect();
        assert!(
            versions.len() == 2 && versions[0] != versions[1],
            "{printed}"
        );

        world.set("RETRY_STARTUP_TIMEOUT", "60s");
        let first = world.agent(&world.w1);
        assert_eq!(world.run(&["slow", "0", "100"]), numbered(0..100));
        assert_eq!(world.w1.ledger.executions().len(), 100);
        assert_eq!(world.w2.ledger.entries(), []);
        // It serves callers of its own build.
        let mut caller = program();
        let caller = world.cli.command(caller.args(["single", "7"])).output();
        assert_eq!(output(caller.unwrap()), "7\n");
        assert_eq!(world.w2.ledger.executions().len(), 1);

        // A host that has drained serves nothing.
        first.end();
        other.end();
        world.set("RETRY_STARTUP_TIMEOUT", "1s");
        let printed = world.run(&["single", "1"]);
        assert!(printed.contains("no host serves slow@"), "{printed}");
    });
}

#[test]
fn an_input_that_crashes_its_workers_ends_alone() {
    fixture_outside(LIMIT, || {
        let (world, _server) = World::with_server();
        let _agents = [world.agent(&world.w1), world.agent(&world.w2)];
        let lines = world.run(&["segfaults_at_13", "0", "64"]);
        assert_eq!(lines.lines().count(), 64);
        for (number, line) in lines.lines().enumerate() {
            match number {
                13 => assert!(
                    line.contains("crashed") && line.contains("SIGSEGV"),
                    "{line}"
                ),
                _ => assert_eq!(line, format!("{number} {number}")),
            }
        }
        let executions = executions([&world.w1, &world.w2]);
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
fn an_input_that_kills_its_agents_ends_alone() {
    fixture_outside(LIMIT, || {
        let (world, _server) = World::with_server();
        let mut caller = world.start(&["kills_at_13", "0", "40"]);
        // There is an agent on each host, however many are lost.
        let hosts = [&world.w1, &world.w2];
        let mut agents = hosts.map(|host| world.agent(host));
        eventually("the map ends", Duration::from_secs(90), || {
            for (agent, host) in agents.iter_mut().zip(hosts) {
                if agent.has_ended() {
                    *agent = world.agent(host);
                }
            }
            caller.try_wait().unwrap().is_some()
        });
        let lines = output(caller.wait_with_output().unwrap());
        assert_eq!(lines.lines().count(), 40);
        assert_only_lost(&lines, 13);
        // Three machines for the task that it was in, and three alone.
        let executions = executions(hosts);
        assert!((3..=6).contains(&executions[&13]), "{executions:?}");
    });
}

#[test]
fn a_queued_call_is_cancelled_at_once() {
    fixture_outside(LIMIT, || {
        let (world, _server) = World::with_server();
        let mut caller = world.start_cancelled("cancelled");
        eventually("the server has it", SOON, || {
            Server::activities_on(&world.srv) == 1
        });
        cancel(&mut caller);
        let begun = Instant::now();
        assert_cancelled(caller);
        assert!(begun.elapsed() < PROMPTLY);
        // A host that comes later does not get it.
        let _agent = world.agent(&world.w1);
        assert_eq!(world.run(&["slow", "4", "5"]), "0 4\n");
        assert_eq!(world.w1.ledger.entries().len(), 1);
    });
}

#[test]
fn a_cancelled_call_ends_on_its_host() {
    fixture_outside(LIMIT, || {
        let (mut world, _server) = World::with_server();
        world.set("WORK", "60000");
        let _agent = world.agent(&world.w1);
        let mut caller = world.start_cancelled("cancelled");
        eventually("it runs", SOON, || world.w1.ledger.entries().len() == 1);
        let worker = world.w1.ledger.entries()[0].pid;
        assert!(!world.w1.is_gone(worker));
        cancel(&mut caller);
        eventually("its worker is gone", PROMPTLY, || world.w1.is_gone(worker));
        assert_cancelled(caller);
        assert_eq!(world.w1.ledger.total(), 1);
    });
}

#[test]
fn a_call_is_cancelled_that_waits_on_its_host() {
    fixture_outside(LIMIT, || {
        let (world, _server) = World::with_server();
        let _agent = world.agent(&world.w1);
        let mut caller = world.start_cancelled("cancelled_in_vain");
        eventually("it waits for its third attempt", SOON, || {
            world.w1.ledger.entries().len() == 2
        });
        cancel(&mut caller);
        assert_cancelled(caller);
        let begun = world.w1.ledger.total();
        // Longer than a delay.
        assert_eq!(world.run(&["takes", "2000", "2001"]), "0 2000\n");
        assert_eq!(world.w1.ledger.total(), begun + 1);
    });
}

#[test]
fn a_call_is_cancelled_that_waits_at_the_server() {
    fixture_outside(LIMIT, || {
        let (world, _server) = World::with_server();
        let first = world.agent(&world.w1);
        let mut caller = world.start_cancelled("cancelled_much_later");
        eventually("it has run", SOON, || world.w1.ledger.entries().len() == 1);
        let ran = Instant::now();
        // It has been handed back when its host has ended.
        first.end();
        let _second = world.agent(&world.w2);
        cancel(&mut caller);
        assert_cancelled(caller);
        let delay = Duration::from_secs(20);
        assert!(ran.elapsed() < delay, "it waited for its delay");
        // It does not begin when its delay is over, which lasts for longer than this.
        let rest = delay.saturating_sub(ran.elapsed()).as_millis() + 1000;
        let (first, end) = (rest.to_string(), (rest + 1).to_string());
        assert_eq!(world.run(&["takes", &first, &end]), format!("0 {rest}\n"));
        assert_eq!(world.w2.ledger.total(), 1);
    });
}

#[test]
fn a_call_is_cancelled_whose_host_is_cut_off() {
    fixture_outside(LIMIT, || {
        let (mut world, _server) = World::with_server();
        world.set("WORK", "60000");
        let _first = world.agent(&world.w1);
        let mut caller = world.start_cancelled("cancelled");
        eventually("it runs", SOON, || world.w1.ledger.entries().len() == 1);
        let worker = world.w1.ledger.entries()[0].pid;
        let second = world.agent(&world.w2);
        world.w1.cut();
        cancel(&mut caller);
        eventually("its worker is gone", TIMEOUT + PROMPTLY, || {
            world.w1.is_gone(worker)
        });
        assert_cancelled(caller);
        world.w1.heal();
        assert_eq!(world.run(&["square", "0", "3"]), numbered([0, 1, 4]));
        assert_eq!(world.w2.ledger.total(), 0);
        // The first host serves again.
        second.end();
        assert_eq!(world.run(&["takes", "0", "1"]), "0 0\n");
        assert_eq!(world.w1.ledger.total(), 2);
    });
}

/// Writes a tree with files of different sizes.
fn grow_tree(root: &Path, files: usize) {
    for number in 0..files {
        let folder = root.join(format!("folder {}", number % 7));
        std::fs::create_dir_all(&folder).unwrap();
        let bytes: Vec<u8> = (0..60_000 + 50 * number)
            .map(|place| (place * number) as u8)
            .collect();
        std::fs::write(folder.join(format!("file {number}")), bytes).unwrap();
    }
}

#[test]
fn hash_tree_agrees_with_sha256sum_although_a_host_is_lost() {
    fixture_outside(LIMIT, || {
        const FILES: usize = 1000;
        let (mut world, _server) = World::with_server();
        world.machines = Machines::new(env!("CARGO_BIN_EXE_hash_tree"), world.machines.address, ());
        let tree = tempfile::tempdir().unwrap();
        let root = tree.path().join("root");
        grow_tree(&root, FILES);
        let log = tree.path().join("events");
        world.set("RETRY_EVENTS", log.to_str().unwrap());
        let agents = [world.agent(&world.w1), world.agent(&world.w2)];
        let caller = world.start(&["--root", root.to_str().unwrap()]);
        let caller = std::thread::spawn(|| caller.wait_with_output().unwrap());
        // The attempts on a host of which the caller has heard.
        let heard = |event: &str, host: &str| {
            let event = format!("\"event\":\"{event}\"");
            let host = format!("\"host\":\"{host}\"");
            let log = std::fs::read_to_string(&log).unwrap_or_default();
            log.lines()
                .filter(|line| line.contains(&event) && line.contains(&host))
                .count()
        };
        eventually("both have worked", SOON, || {
            let started = [&world.w1, &world.w2].map(|host| heard("started", host.name));
            started.iter().all(|count| *count > 0) && started.iter().sum::<usize>() > FILES / 5
        });
        // The first host gets a task and keeps it. The other one works until nothing else is left.
        agents[0].stop_workers();
        let mut last = (0, Instant::now());
        eventually("the other one has nothing to do", SOON, || {
            let heard = heard("started", world.w2.name);
            if heard != last.0 {
                last = (heard, Instant::now());
            }
            last.1.elapsed() > Duration::from_secs(2)
        });
        assert!(!caller.is_finished());
        world.w1.kill();
        let ended = caller.join().unwrap();
        let printed = output(ended);
        // It was in the middle.
        let lost = std::fs::read_to_string(&log).unwrap();
        let lost = lost
            .lines()
            .filter(|line| line.contains("host_lost"))
            .count();
        assert!(lost > 0);
        let sums = "find \"$1\" -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum";
        let mut command = Command::new("sh");
        command.args(["-c", sums, "sh"]).arg(&root);
        let expected = output(command.output().unwrap());
        assert_eq!(expected.lines().count(), FILES);
        assert_eq!(printed, expected);
    });
}
