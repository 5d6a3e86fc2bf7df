//! Calls that run on other machines: agents are processes here, and the server is a real one. Faults of machines and
//! of their network are in `namespaces.rs`.

use std::io::Write;
use std::net::TcpListener;
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use retry_temporal_tests::{Proxy, Server, free_port};
use retry_tests::machines::{
    Agent, Machines, assert_attaches, assert_went_elsewhere, is_gone, numbered, output,
    processes_in, signal_process,
};
use retry_tests::{eventually, fixture_outside};
use rustix::process::Signal;

const LIMIT: Duration = Duration::from_secs(120);

const SOON: Duration = Duration::from_secs(30);

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
fn a_server_that_says_nothing_is_one_clear_error() {
    fixture_outside(LIMIT, || {
        // It accepts connections, and nothing else.
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let world = machines_at(format!("temporal://127.0.0.1:{port}/default"));
        let begun = Instant::now();
        let printed = world.run(&["single", "1"]);
        // The server has eight seconds for its first word. A machine with other work may take long to start a program.
        assert!(begun.elapsed() < Duration::from_secs(20));
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
        assert!(!world.ledger.executions().contains_key(&2));
    });
}

#[test]
fn the_delay_of_a_call_counts_once_for_its_deadline() {
    fixture_outside(LIMIT, || {
        let server = Server::start();
        let world = machines(&server);
        // The call is left to the server, which no machine asks for it.
        let id = world.run(&["spawned_limited_for_later", "1"]);
        let described = server.describe(id.trim_end());
        let seconds = |name: &str| {
            let (_, rest) = described.split_once(&format!("\"{name}\": \"")).unwrap();
            let (seconds, _) = rest.split_once('s').unwrap();
            seconds.parse::<f64>().unwrap()
        };
        let (delay, limit) = (seconds("startDelay"), seconds("scheduleToCloseTimeout"));
        // Its deadline of a second, another one for the last word of its machine, and the time that one may be silent.
        assert!(delay > 1.0 && delay <= 2.0, "{described}");
        assert!(limit > 3.0 && limit <= 4.0, "{described}");
        let printed = world.run(&["attached_limited", id.trim_end()]);
        assert!(printed.contains("within the deadline of 1s"), "{printed}");
    });
}

#[test]
fn a_call_that_the_server_keeps_no_longer_has_timed_out() {
    fixture_outside(LIMIT, || {
        let server = Server::start();
        let mut world = machines(&server);
        // Otherwise it keeps calls without a deadline for thirty days.
        world.set("TEMPORAL_TEST_LIMIT", "1");
        let printed = world.run(&["single", "1"]);
        assert!(printed.contains("within the deadline of 1s"), "{printed}");
        let id = world.run(&["spawned", "1", "2"]);
        let printed = world.run(&["attached", id.lines().next().unwrap()]);
        assert!(printed.contains("within the deadline of 1s"), "{printed}");
        // The retry would be made after that.
        let _agent = world.agent();
        let printed = world.run(&["later", "0", "1"]);
        assert!(printed.contains("within the deadline of 1s"), "{printed}");
    });
}

#[test]
fn a_machine_without_room_serves_its_functions_all_the_same() {
    fixture_outside(LIMIT, || {
        let server = Server::start();
        let mut world = machines(&server);
        // The calls take longer than that together, and a busy computer still finds the machine in that time.
        world.set("RETRY_STARTUP_TIMEOUT", "5s");
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
fn a_machine_among_many_of_other_builds_is_found() {
    fixture_outside(LIMIT, || {
        let server = Server::start();
        let mut world = machines(&server);
        world.set("RETRY_STARTUP_TIMEOUT", "5s");
        world.set("RETRY_MAX_WORKERS", "1");
        world.set("WORK", "6000");
        // Few functions, so that all polls arrive in time.
        let served = "slow,progresses,once";
        // They poll all partitions of the functions' queues, so that the root partition hears of no others.
        let others: Vec<Agent> = (0..8)
            .map(|number| {
                let mut program = world.program();
                let version = format!("other {number}");
                program.envs([("RETRY_SERVE", served), ("RETRY_VERSION", &version)]);
                Agent::start(program)
            })
            .collect();
        let mut program = world.program();
        program.env("RETRY_SERVE", served);
        let _agent = Agent::start(program);
        // One call of each function waits for longer than it would for a machine.
        let calls = ["slow", "progresses", "once"].map(|name| world.start(&[name, "0", "2"]));
        for call in calls {
            assert_eq!(output(call.wait_with_output().unwrap()), numbered(0..2));
        }
        drop(others);
    });
}

#[test]
fn a_namespace_that_is_not_there_is_one_clear_error() {
    fixture_outside(LIMIT, || {
        let server = Server::start();
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
    assert!(ended < Duration::from_secs(15), "{ended:?}");
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

#[test]
fn an_agent_that_drains_waits_for_the_ends_of_its_polls() {
    Proxy::prepare();
    fixture_outside(LIMIT, || {
        let (server, proxy) = server_behind_proxy();
        let world = machines(&server);
        let agent = agent_behind(&proxy, &world, "slow");
        let polls = || proxy.passed("PollActivityTaskQueue").len();
        // The first ones are for tasks and for being found, and only the one for tasks ends soon.
        eventually("it polls", SOON, || polls() >= 2);
        let before = polls();
        eventually("it polls again", SOON, || polls() > before);
        let begun = Instant::now();
        agent.end();
        // The server ends a poll without a task after 5 s, which it would not if the agent had given it up.
        assert!(begun.elapsed() >= Duration::from_secs(3));
    });
}

/// Lets machines come and go while calls are made: none of them may take a task along.
fn drains_often(server: &Server) {
    let mut world = machines(server);
    world.set("WORK", "20");
    // The time that a task would take that is taken along.
    world.set("RETRY_HOST_TIMEOUT", "120s");
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
    assert!(begun.elapsed() < Duration::from_secs(110));
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
fn results_that_do_not_fit_together_come_in_smaller_tasks() {
    fixture_outside(LIMIT, || {
        let server = Server::start();
        let mut world = machines(&server);
        // No machine is lost here, however busy the computer is.
        world.set("RETRY_HOST_TIMEOUT", "20s");
        let _agent = world.agent();
        assert_eq!(world.run(&["large", "0", "40"]), "whole\n");
    });
}

#[test]
fn the_configuration_of_a_service_counts_for_its_inputs() {
    fixture_outside(LIMIT, || {
        let server = Server::start();
        let world = machines(&server);
        let _agent = world.agent();
        assert_eq!(world.run(&["padded", "1000000", "750000"]), "1750000\n");
        // The server would refuse this.
        let printed = world.run(&["padded", "1000000", "1100000"]);
        assert!(
            printed.contains("argument `more` makes the input larger than 7812"),
            "{printed}"
        );
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

#[test]
fn workers_of_a_stopped_agent_end_before_their_calls_begin_elsewhere() {
    fixture_outside(LIMIT, || {
        let server = Server::start();
        let mut world = machines(&server);
        // Workers end a twentieth of it before their calls begin elsewhere.
        world.set("RETRY_HOST_TIMEOUT", "4s");
        world.set("WORK", "5500");
        let first = world.agent();
        let caller = world.start(&["progresses", "0", "2"]);
        eventually("both run", SOON, || processes_in(&world.ledger).len() == 2);
        let workers = processes_in(&world.ledger);
        first.signal(Signal::STOP);
        let second = world.agent();
        assert_eq!(output(caller.wait_with_output().unwrap()), numbered(0..2));
        assert_went_elsewhere(&world.ledger, &workers);

        second.end();
        first.signal(Signal::CONT);
        assert_eq!(
            world.run(&["square", "0", "3"]),
            numbered([0, 1, 4]),
            "it serves again"
        );
        let printed = first.end();
        assert!(printed.contains("lost a task of progresses"), "{printed}");
        assert!(!printed.contains("crash"), "{printed}");
    });
}

/// Starts a server, and a proxy in front of it.
fn server_behind_proxy() -> (Server, Proxy) {
    let server = Server::start();
    let proxy = Proxy::start(&server);
    (server, proxy)
}

/// Starts an agent that reaches the server through a proxy.
fn agent_behind(proxy: &Proxy, world: &Machines<()>, serves: &str) -> Agent {
    let mut program = world.program();
    program.envs([("RETRY_ENGINE", &*proxy.address()), ("RETRY_SERVE", serves)]);
    Agent::start(program)
}

/// Starts a caller that reaches the server through a proxy.
fn start_behind(proxy: &Proxy, world: &Machines<()>, arguments: &[&str]) -> Child {
    let mut command = world.call(arguments);
    command.env("RETRY_ENGINE", proxy.address());
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
    command.stderr(Stdio::piped()).spawn().unwrap()
}

/// Lets calls of `waits` end.
fn open_gate(world: &Machines<()>) {
    std::fs::write(world.ledger.path().with_extension("gate"), "").unwrap();
}

#[test]
fn a_call_outlasts_a_server_that_denies_access_for_a_moment() {
    Proxy::prepare();
    fixture_outside(LIMIT, || {
        let (server, proxy) = server_behind_proxy();
        let mut world = machines(&server);
        world.set("RETRY_HOST_TIMEOUT", "30s");
        let agent = agent_behind(&proxy, &world, "all");
        let caller = world.start(&["waits", "1"]);
        eventually("it runs", SOON, || world.ledger.entries().len() == 1);
        proxy.deny("");
        let beat = "RecordActivityTaskHeartbeat";
        eventually("signs of life are denied", SOON, || {
            proxy.answered(beat).len() >= 3
        });
        proxy.allow();
        let before = proxy.passed(beat).len();
        eventually("it is heard of again", SOON, || {
            proxy.passed(beat).len() > before
        });
        open_gate(&world);
        assert_eq!(output(caller.wait_with_output().unwrap()), "1\n");
        assert_eq!(world.ledger.entries().len(), 1);
        let printed = agent.end();
        assert!(
            printed.contains("waiting for the Temporal server"),
            "{printed}"
        );
        assert!(printed.contains(": not now"), "{printed}");
        assert!(!printed.contains("lost"), "{printed}");
    });
}

#[test]
fn a_call_goes_elsewhere_if_its_server_denies_access_for_too_long() {
    Proxy::prepare();
    fixture_outside(LIMIT, || {
        let (server, proxy) = server_behind_proxy();
        let mut world = machines(&server);
        world.set("RETRY_HOST_TIMEOUT", "4s");
        world.set("WORK", "8000");
        let mut first = agent_behind(&proxy, &world, "all");
        let caller = world.start(&["progresses", "0", "1"]);
        eventually("it runs", SOON, || !world.ledger.entries().is_empty());
        let workers = processes_in(&world.ledger);
        proxy.deny("");
        let _second = world.agent();
        assert_eq!(output(caller.wait_with_output().unwrap()), numbered(0..1));
        assert_went_elsewhere(&world.ledger, &workers);
        assert!(!first.has_ended());
        proxy.allow();
        let printed = first.end();
        assert!(printed.contains("lost a task of progresses"), "{printed}");
    });
}

/// Asserts that polls which the proxy answers itself follow each other less and less often.
fn assert_become_rare(proxy: &Proxy, poll: &str) {
    // One of the two polls of an agent, for tasks and for being found, is answered six times then.
    eventually("polls are answered", SOON, || {
        proxy.answered(poll).len() >= 12
    });
    let times = proxy.answered(poll);
    let passed = times[11] - times[0];
    // At least half of 50, 100, 200, 400 and 800 ms.
    assert!(passed >= Duration::from_millis(775), "{poll}: {passed:?}");
}

#[test]
fn polls_that_are_denied_become_rare_and_recover() {
    Proxy::prepare();
    fixture_outside(LIMIT, || {
        let (server, proxy) = server_behind_proxy();
        let world = machines(&server);
        proxy.deny("PollActivityTaskQueue");
        let agent = agent_behind(&proxy, &world, "slow");
        assert_become_rare(&proxy, "PollActivityTaskQueue");
        proxy.allow();
        assert_eq!(world.run(&["single", "7"]), "7\n");
        let printed = agent.end();
        let lines: Vec<&str> = printed.lines().collect();
        assert!(lines[0].ends_with(": not now"), "{printed}");
        assert!(lines[1].ends_with(" answers"), "{printed}");
        assert!(lines[2].starts_with("draining"), "{printed}");
    });
}

#[test]
fn polls_that_are_answered_at_once_become_rare() {
    Proxy::prepare();
    fixture_outside(LIMIT, || {
        let (server, proxy) = server_behind_proxy();
        let world = machines(&server);
        proxy.answer("PollActivity");
        let agent = agent_behind(&proxy, &world, "slow");
        let caller = start_behind(&proxy, &world, &["single", "7"]);
        for poll in ["PollActivityTaskQueue", "PollActivityExecution"] {
            assert_become_rare(&proxy, poll);
        }
        proxy.allow();
        assert_eq!(output(caller.wait_with_output().unwrap()), "7\n");
        agent.end();
    });
}

#[test]
fn a_caller_outlasts_a_server_that_denies_it_results_for_a_moment() {
    Proxy::prepare();
    fixture_outside(LIMIT, || {
        let (server, proxy) = server_behind_proxy();
        let world = machines(&server);
        let _agent = world.agent();
        proxy.deny("PollActivityExecution");
        let caller = start_behind(&proxy, &world, &["single", "7"]);
        eventually("the result is denied", SOON, || {
            proxy.answered("PollActivityExecution").len() >= 3
        });
        proxy.allow();
        assert_eq!(output(caller.wait_with_output().unwrap()), "7\n");
    });
}

#[test]
fn a_call_is_cancelled_although_that_is_denied_for_a_moment() {
    Proxy::prepare();
    fixture_outside(LIMIT, || {
        let (server, proxy) = server_behind_proxy();
        let world = machines(&server);
        let _agent = world.agent();
        // It does not end by itself.
        let mut caller = start_behind(&proxy, &world, &["cancelled_waits", "7"]);
        eventually("it runs", SOON, || world.ledger.entries().len() == 1);
        proxy.deny("RequestCancelActivityExecution");
        caller.stdin.take().unwrap().write_all(b"\n").unwrap();
        eventually("the request is denied", SOON, || {
            proxy.answered("RequestCancelActivityExecution").len() >= 3
        });
        proxy.allow();
        let printed = output(caller.wait_with_output().unwrap());
        assert!(
            printed.contains("was cancelled: by its caller"),
            "{printed}"
        );
        eventually("its worker has ended", SOON, || {
            processes_in(&world.ledger).into_iter().all(is_gone)
        });
    });
}

#[test]
fn a_machine_that_drains_is_found_until_its_calls_have_ended() {
    Proxy::prepare();
    fixture_outside(LIMIT, || {
        let (server, proxy) = server_behind_proxy();
        let mut world = machines(&server);
        world.set("RETRY_SHUTDOWN_GRACE", "60s");
        let mut agent = world.agent();
        let first = world.start(&["waits", "1"]);
        eventually("it runs", SOON, || world.ledger.entries().len() == 1);
        agent.signal(Signal::TERM);
        assert!(agent.next_line().starts_with("draining"));
        world.set("RETRY_STARTUP_TIMEOUT", "1s");
        let mut second = start_behind(&proxy, &world, &["waits", "2"]);
        // Twice a second, so that the time is over within which a machine must be found.
        eventually("it is looked for", SOON, || {
            proxy.passed("DescribeTaskQueue").len() >= 6
        });
        assert!(second.try_wait().unwrap().is_none());
        open_gate(&world);
        assert_eq!(output(first.wait_with_output().unwrap()), "1\n");
        eventually("the machine ends", SOON, || agent.has_ended());
        let printed = output(second.wait_with_output().unwrap());
        assert!(printed.contains("no host serves waits@"), "{printed}");
        assert_eq!(world.ledger.entries().len(), 1);
    });
}

/// Returns machines that take a caller as gone that is silent for 6 s.
fn hasty_machines(server: &Server) -> Machines<()> {
    let mut world = machines(server);
    world.set("TEMPORAL_TEST_HASTE", "12");
    world
}

#[test]
fn calls_of_a_killed_caller_end_unless_they_were_spawned() {
    fixture_outside(LIMIT, || {
        let server = Server::start();
        let mut world = hasty_machines(&server);
        world.set("WORK", "13000");
        world.set("RETRY_MAX_WORKERS", "2");
        let _agent = world.agent();
        let mut command = world.call(&["leaves", "0", "6"]);
        let mut caller = command.stdin(Stdio::piped()).spawn().unwrap();
        eventually("the spawned call runs", SOON, || {
            !world.ledger.entries().is_empty()
        });
        caller.stdin.take().unwrap().write_all(b"\n").unwrap();
        eventually("another one runs", SOON, || {
            processes_in(&world.ledger).len() == 2
        });
        let spawned = processes_in(&world.ledger)[0];
        caller.kill().unwrap();
        caller.wait().unwrap();
        eventually("the others end", Duration::from_secs(10), || {
            let workers = processes_in(&world.ledger).into_iter();
            workers.filter(|worker| *worker != spawned).all(is_gone)
        });
        let executions = world.ledger.executions();
        assert!(!is_gone(spawned) && executions.keys().all(|input| *input < 1_000_000));
        let begun = |input| world.ledger.entries().iter().any(|one| one.input == input);
        eventually("the spawned call is done", SOON, || begun(1_000_100));
        // A call that came later begins, after those that have waited at the server were taken from there.
        let mut other = world.start(&["progresses", "200", "201"]);
        eventually("it begins", SOON, || begun(200));
        other.kill().unwrap();
        other.wait().unwrap();
        let mut further = world.ledger.executions();
        further.retain(|input, _| !executions.contains_key(input));
        assert_eq!(further.into_keys().collect::<Vec<_>>(), [200, 1_000_100]);
    });
}

#[test]
fn a_later_program_gets_the_results_of_spawned_calls() {
    fixture_outside(LIMIT, || {
        let server = Server::start();
        let mut world = machines(&server);
        // The calls go on when the programs that have made them have ended.
        world.set("WORK", "1500");
        let _agent = world.agent();
        assert_attaches(&world);
    });
}

#[test]
fn a_caller_that_is_stopped_for_a_while_gets_its_results() {
    fixture_outside(LIMIT, || {
        let server = Server::start();
        let mut world = hasty_machines(&server);
        world.set("WORK", "10000");
        let _agent = world.agent();
        let caller = world.start(&["slow", "0", "2"]);
        eventually("both run", SOON, || world.ledger.entries().len() == 2);
        signal_process(caller.id(), Signal::STOP);
        thread::sleep(Duration::from_secs(2));
        signal_process(caller.id(), Signal::CONT);
        assert_eq!(output(caller.wait_with_output().unwrap()), numbered(0..2));
        assert_eq!(world.ledger.entries().len(), 2);
    });
}

#[test]
fn a_caller_that_comes_back_too_late_gets_a_clear_error() {
    fixture_outside(LIMIT, || {
        let server = Server::start();
        let mut world = hasty_machines(&server);
        world.set("WORK", "60000");
        let mut agent = world.agent();
        let caller = world.start(&["slow", "0", "2"]);
        eventually("both run", SOON, || world.ledger.entries().len() == 2);
        signal_process(caller.id(), Signal::STOP);
        eventually("both have ended", SOON, || {
            processes_in(&world.ledger).into_iter().all(is_gone)
        });
        signal_process(caller.id(), Signal::CONT);
        let printed = output(caller.wait_with_output().unwrap());
        let lines = printed.lines();
        let expired = lines.filter(|line| line.contains("had not heard of this program"));
        assert_eq!(expired.count(), 2, "{printed}");
        assert_eq!(world.ledger.entries().len(), 2);
        assert_eq!(agent.next_line(), "ended a task whose caller is gone\n");
        assert_eq!(world.run(&["square", "0", "3"]), numbered([0, 1, 4]));
    });
}
