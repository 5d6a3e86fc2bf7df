//! Calls that run on other machines: agents are processes here, and the engine is a relay in the test.

use std::io::Write;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use retry_tests::machines::{
    Agent, Machines, assert_attaches, assert_only_lost, assert_went_elsewhere, is_gone, numbered,
    output, processes_in, signal_process,
};
use retry_tests::relay::Relay;
use retry_tests::{descendants, eventually, fixture_outside};
use rustix::process::Signal;

const LIMIT: Duration = Duration::from_secs(120);

const SOON: Duration = Duration::from_secs(20);

/// Returns machines with a relay of their own.
fn machines() -> Machines<Relay> {
    let relay = Relay::start();
    Machines::new(env!("CARGO_BIN_EXE_hosts"), relay.address(), relay)
}

#[test]
fn calls_run_in_the_pools_of_agents() {
    fixture_outside(LIMIT, || {
        let world = machines();
        let agents = [world.agent(), world.agent()];
        assert_eq!(
            world.run(&["square", "0", "3000"]),
            numbered((0..3000).map(|number| number * number))
        );
        assert_eq!(world.run(&["nests", "0", "4"]), numbered([0, 1, 5, 14]));
        assert_eq!(world.run(&["single", "7"]), "7\n");
        for agent in agents {
            let printed = agent.end();
            assert!(printed.starts_with("draining: "), "{printed}");
        }
    });
}

#[test]
fn errors_arrive_with_the_attempts_of_their_machine() {
    fixture_outside(LIMIT, || {
        let world = machines();
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
        let world = machines();
        let _agents = [world.agent(), world.agent()];
        assert_eq!(world.run(&["later", "0", "8"]), numbered([2; 8]));
        assert_eq!(world.ledger.executions().values().sum::<u32>(), 16);
        // Each input came once more after it was handed back.
        assert!(
            world.engine.deliveries() > 8,
            "{}",
            world.engine.deliveries()
        );
    });
}

#[test]
fn a_crash_below_an_agent_costs_one_attempt() {
    fixture_outside(LIMIT, || {
        let world = machines();
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
        assert_eq!(executions[&13], 3);
        assert!(
            executions
                .iter()
                .all(|(number, count)| *number == 13 || *count == 1)
        );
    });
}

#[test]
fn inputs_of_a_killed_agent_run_elsewhere() {
    fixture_outside(LIMIT, || {
        let mut world = machines();
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
fn an_input_that_kills_its_machines_ends_alone() {
    fixture_outside(LIMIT, || {
        let world = machines();
        let caller = world.start(&["kills_at_13", "0", "40"]);
        // There is always a machine, however many are lost.
        let mut agents: Vec<Agent> = Vec::new();
        let waiting = std::thread::spawn(move || caller.wait_with_output().unwrap());
        while !waiting.is_finished() {
            agents.retain_mut(|agent| !agent.has_ended());
            if agents.is_empty() {
                agents.push(world.agent());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let lines = output(waiting.join().unwrap());
        assert_only_lost(&lines, 13);
        // Three machines for the task that it was in, and three alone.
        let executions = world.ledger.executions();
        assert!((3..=6).contains(&executions[&13]), "{executions:?}");
    });
}

#[test]
fn an_at_most_once_input_of_a_lost_machine_does_not_run_again() {
    fixture_outside(LIMIT, || {
        let mut world = machines();
        world.set("WORK", "60000");
        let mut first = world.agent();
        let caller = world.start(&["once", "0", "2"]);
        eventually("both run", SOON, || world.ledger.entries().len() == 2);
        first.kill();
        let name = first.name.clone();
        let _second = world.agent();
        let lines = output(caller.wait_with_output().unwrap());
        let lost = format!(
            "each machine that had the call was lost before it answered: {name} [its machine was lost]"
        );
        assert_eq!(lines.lines().count(), 2);
        assert!(lines.lines().all(|line| line.ends_with(&lost)), "{lines}");
        assert_eq!(world.ledger.entries().len(), 2);
    });
}

#[test]
fn a_machine_that_is_cut_off_ends_its_work_first() {
    fixture_outside(LIMIT, || {
        let mut world = machines();
        world.set("WORK", "4000");
        // It has no effect on a task that is lost.
        world.set("RETRY_GRACE", "60s");
        let first = world.agent();
        let caller = world.start(&["slow", "0", "1"]);
        eventually("it runs", SOON, || world.ledger.entries().len() == 1);
        let worker = world.ledger.entries()[0].pid;
        world.engine.cut_off(&first.name);
        let second = world.agent();
        eventually("it runs elsewhere", SOON, || {
            let runs = world.ledger.entries().len() == 2;
            assert!(!runs || is_gone(worker), "it runs on both machines");
            runs
        });
        world.engine.heal(&first.name);
        assert_eq!(output(caller.wait_with_output().unwrap()), "0 0\n");
        drop(second);
        assert_eq!(
            world.run(&["square", "0", "3"]),
            numbered([0, 1, 4]),
            "it serves again"
        );
        let printed = first.end();
        assert!(
            printed.contains("lost a task of slow: the engine"),
            "{printed}"
        );
    });
}

#[test]
fn an_agent_that_drains_hands_its_work_on() {
    fixture_outside(LIMIT, || {
        let mut world = machines();
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
        assert_eq!(output(caller.wait_with_output().unwrap()), numbered(0..12));
        assert!(
            begun.elapsed() < Duration::from_secs(30),
            "{:?}",
            begun.elapsed()
        );
    });
}

#[test]
fn a_cancelled_call_ends_on_its_machine() {
    fixture_outside(LIMIT, || {
        let mut world = machines();
        world.set("WORK", "60000");
        let _agent = world.agent();
        let mut command = world.call(&["cancelled", "3"]);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut caller = command.spawn().unwrap();
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
fn deadlines_count_from_the_call_whatever_becomes_of_it() {
    fixture_outside(LIMIT, || {
        let mut world = machines();
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
        let mut world = machines();
        world.set("RETRY_STARTUP_TIMEOUT", "1s");
        let printed = world.run(&["single", "1"]);
        assert!(printed.contains("no host serves slow@"), "{printed}");
        assert!(
            printed.contains("start one with RETRY_SERVE=all"),
            "{printed}"
        );

        let mut other = world.program();
        other
            .env("RETRY_SERVE", "slow,square")
            .env("RETRY_VERSION", "2");
        let _other = Agent::start(other);
        let printed = world.run(&["single", "1"]);
        assert!(printed.contains("(hosts serve slow@"), "{printed}");
        assert!(printed.contains(", another build)"), "{printed}");
        world.set("RETRY_VERSION", "2");
        assert_eq!(world.run(&["single", "1"]), "1\n");
    });
}

#[test]
fn an_engine_that_cannot_be_used_is_one_clear_error() {
    fixture_outside(LIMIT, || {
        let world = machines();
        let with = |address: &str| {
            let mut command = world.call(&["square", "0", "2"]);
            output(command.env("RETRY_ENGINE", address).output().unwrap())
        };
        let printed = with("temporal://queue.example:7233");
        assert!(
            printed.contains("no engine `temporal` is linked: add the crate that has it"),
            "{printed}"
        );
        let printed = with("relay://nowhere");
        assert!(printed.contains("must have an absolute path"), "{printed}");
        let printed = with("relay:///nowhere/relay");
        assert!(printed.contains("no relay at /nowhere/relay"), "{printed}");

        let serve = |serve: &str, address: Option<String>| {
            let mut command = world.program();
            command.env("RETRY_SERVE", serve).env_remove("RETRY_ENGINE");
            let ended = command
                .envs(address.map(|one| ("RETRY_ENGINE", one)))
                .output()
                .unwrap();
            assert_eq!(ended.status.code(), Some(2));
            String::from_utf8(ended.stderr).unwrap()
        };
        assert!(serve("all", None).starts_with("error: RETRY_SERVE needs an engine"));
        let unknown = serve("squares", Some(world.engine.address()));
        assert!(
            unknown.contains("no function `squares` is in this program"),
            "{unknown}"
        );
    });
}

#[test]
fn results_that_do_not_fit_together_come_in_smaller_tasks() {
    fixture_outside(LIMIT, || {
        let mut world = machines();
        // The relay takes its time for large messages, and its agents show no sign of life meanwhile.
        world.set("RETRY_HOST_TIMEOUT", "60s");
        let _agent = world.agent();
        assert_eq!(world.run(&["large", "0", "40"]), "whole\n");
    });
}

#[test]
fn tasks_become_smaller_near_the_end_of_a_map() {
    fixture_outside(LIMIT, || {
        let mut world = machines();
        world.set("WORK", "2");
        let _agent = world.agent();
        assert_eq!(world.run(&["slow", "0", "5000"]), numbered(0..5000));
        let tasks: Vec<(u64, u64)> = world
            .engine
            .labels()
            .iter()
            .map(|label| range(label))
            .collect();
        for (start, end) in &tasks {
            // Four workers make no more than this within a tenth of a second.
            let most = ((5000 - start) / 2).max(200);
            assert!(end - start <= most, "{tasks:?}");
        }
        // Without answers of small tasks that make later ones small again.
        assert!(tasks.len() < 60, "{tasks:?}");
    });
}

/// Returns the inputs of a task by its label: `name[3]` or `name[3..5]`.
fn range(label: &str) -> (u64, u64) {
    let (_, inputs) = label.split_once('[').unwrap();
    let inputs = inputs.trim_end_matches(']');
    let (start, end) = inputs.split_once("..").unwrap_or((inputs, ""));
    let start = start.parse().unwrap();
    (start, end.parse().unwrap_or(start + 1))
}

#[test]
fn an_engine_without_its_data_ends_the_calls_that_it_had() {
    fixture_outside(LIMIT, || {
        let mut world = machines();
        world.set("WORK", "60000");
        let _agent = world.agent();
        let caller = world.start(&["slow", "0", "3"]);
        eventually("all run", SOON, || world.ledger.entries().len() == 3);
        let workers: Vec<u32> = world.ledger.entries().iter().map(|one| one.pid).collect();
        world.engine.lose_data();
        let lines = output(caller.wait_with_output().unwrap());
        let expired = "the engine does not know the call any more";
        assert_eq!(
            lines.lines().filter(|line| line.contains(expired)).count(),
            3,
            "{lines}"
        );
        eventually("the agent ends the calls", SOON, || {
            workers.iter().all(|pid| is_gone(*pid))
        });
        assert_eq!(world.run(&["square", "0", "3"]), numbered([0, 1, 4]));
    });
}

#[test]
fn failures_on_other_machines_are_told_with_the_machine() {
    fixture_outside(LIMIT, || {
        let world = machines();
        let _agent = world.agent();
        let ended = world.call(&["fails", "3", "5"]).output().unwrap();
        let errors = String::from_utf8(ended.stderr).unwrap();
        for expected in [
            "fails[0] attempt 1 of 4: attempt 1 on 3; running it again   worker pid ",
            "fails[1]  attempt 4 on 4, after 4 attempts",
            "fails: 1 of 2 calls ok, 1 failed",
        ] {
            assert!(errors.contains(expected), "{errors}");
        }
    });
}

#[test]
fn an_event_log_has_the_calls_of_other_machines() {
    fixture_outside(LIMIT, || {
        let mut world = machines();
        let path = world.ledger.path().with_file_name("events");
        let _agent = world.agent();
        world.set("RETRY_EVENTS", path.to_str().unwrap());
        assert_eq!(world.run(&["fails", "0", "2"]), numbered([1, 2]));
        let log = std::fs::read_to_string(&path).unwrap();
        let events: Vec<serde_json::Value> = log
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let of = |index: u64| {
            // A line may be about several inputs.
            let is_meant = |event: &&serde_json::Value| {
                let first = event["index"].as_u64();
                let count = event["count"].as_u64().unwrap_or(1);
                first.is_some_and(|first| (first..first + count).contains(&index))
            };
            let names = events
                .iter()
                .filter(is_meant)
                .map(|event| event["event"].as_str());
            names.map(Option::unwrap).collect::<Vec<_>>()
        };
        assert_eq!(of(0), ["queued", "finished"]);
        assert_eq!(of(1), ["queued", "attempt_failed", "retrying", "finished"]);
    });
}

#[test]
fn a_runtime_of_its_own_goes_through_an_engine() {
    fixture_outside(LIMIT, || {
        let mut world = machines();
        world.set("WORK", "60000");
        let _agent = world.agent();
        let mut caller = world.call(&["separate"]);
        caller
            .env("ADDRESS", world.engine.address())
            .env_remove("RETRY_ENGINE");
        let printed = output(caller.output().unwrap());
        let lines: Vec<&str> = printed.lines().collect();
        assert_eq!(lines[..3], ["49", "Some(\"hosts::square\")", "1"]);
        assert!(
            lines[3].contains("cancelled: the runtime was shut down"),
            "{printed}"
        );
        assert!(lines[4].contains("the runtime is shut down"), "{printed}");
    });
}

#[test]
fn calls_wait_for_machines_that_are_busy() {
    fixture_outside(LIMIT, || {
        let mut world = machines();
        world.set("RETRY_STARTUP_TIMEOUT", "1s");
        world.set("RETRY_MAX_WORKERS", "1");
        world.set("WORK", "3500");
        let _agent = world.agent();
        assert_eq!(world.run(&["slow", "0", "2"]), numbered([0, 1]));
    });
}

#[test]
fn the_deadline_of_an_input_holds_after_its_machine_was_lost() {
    fixture_outside(LIMIT, || {
        let mut world = machines();
        world.set("WORK", "60000");
        let first = world.agent();
        let caller = world.start(&["limited", "0", "1"]);
        eventually("it runs", SOON, || world.ledger.entries().len() == 1);
        drop(first);
        let _second = world.agent();
        let printed = output(caller.wait_with_output().unwrap());
        assert!(printed.contains("deadline"), "{printed}");
    });
}

#[test]
fn an_agent_that_drains_begins_no_further_inputs() {
    fixture_outside(LIMIT, || {
        let mut world = machines();
        world.set("WORK", "400");
        world.set("RETRY_HOST_TIMEOUT", "60s");
        world.set("RETRY_MAX_WORKERS", "2");
        let first = world.agent();
        let caller = world.start(&["slow", "0", "60"]);
        eventually("tasks of several inputs run", SOON, || {
            world.ledger.entries().len() > 6
        });
        let begun = world.ledger.entries().len();
        // No other machine serves, so that all further inputs are begun by the first one.
        first.end();
        let further = world.ledger.entries().len() - begun;
        // Each worker may have one input ahead.
        assert!(further <= 4, "{further} inputs have begun during the drain");
        let _second = world.agent();
        assert_eq!(output(caller.wait_with_output().unwrap()), numbered(0..60));
    });
}

/// Returns machines whose calls work for longer than it takes to give up a machine.
fn patient_machines() -> Machines<Relay> {
    let mut world = machines();
    // Workers end a twentieth of it before their calls begin elsewhere.
    world.set("RETRY_HOST_TIMEOUT", "4s");
    world.set("WORK", "5500");
    world
}

/// Returns the processes that some processes have started.
fn children_of(parents: &[u32]) -> Vec<u32> {
    let all = descendants();
    let children = all.iter().filter(|one| parents.contains(&one.parent));
    children.map(|one| one.pid).collect()
}

#[test]
fn workers_of_a_stopped_agent_end_before_their_calls_begin_elsewhere() {
    fixture_outside(LIMIT, || {
        let mut world = patient_machines();
        world.set("LEAVES_GROUP", "1");
        let first = world.agent();
        let caller = world.start(&["progresses", "0", "2"]);
        eventually("both run", SOON, || processes_in(&world.ledger).len() == 2);
        let workers = processes_in(&world.ledger);
        let mut theirs = Vec::new();
        eventually("they have processes", SOON, || {
            theirs = children_of(&workers);
            theirs.len() == 2
        });
        first.signal(Signal::STOP);
        let second = world.agent();
        assert_eq!(output(caller.wait_with_output().unwrap()), numbered(0..2));
        assert_went_elsewhere(&world.ledger, &workers);
        assert!(workers.iter().chain(&theirs).all(|pid| is_gone(*pid)));

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

#[test]
fn calls_of_a_stopped_machine_end_when_it_continues() {
    fixture_outside(LIMIT, || {
        let world = patient_machines();
        let first = world.agent();
        let caller = world.start(&["progresses", "0", "2"]);
        eventually("both run", SOON, || processes_in(&world.ledger).len() == 2);
        let workers = processes_in(&world.ledger);
        first.signal(Signal::STOP);
        for worker in &workers {
            signal_process(*worker, Signal::STOP);
        }
        let second = world.agent();
        eventually("it runs elsewhere", SOON, || {
            processes_in(&world.ledger).len() == 4
        });
        let of_first = || {
            let entries = world.ledger.entries();
            let of_first = entries.iter().filter(|one| workers.contains(&one.pid));
            of_first.count()
        };
        let before = of_first();
        // They do not need their agent.
        for worker in &workers {
            signal_process(*worker, Signal::CONT);
        }
        eventually("the workers are gone", SOON, || {
            workers.iter().all(|worker| is_gone(*worker))
        });
        // A whole call would have some hundred entries.
        let further = of_first() - before;
        assert!(further < 50, "{further} entries after it continued");
        first.signal(Signal::CONT);
        assert_eq!(output(caller.wait_with_output().unwrap()), numbered(0..2));
        second.end();
        assert_eq!(
            world.run(&["square", "0", "3"]),
            numbered([0, 1, 4]),
            "it serves again"
        );
        let printed = first.end();
        assert!(!printed.contains("crash"), "{printed}");
    });
}

/// Starts a caller that spawns a call, which is there when this returns, and maps six inputs.
fn start_leaving(world: &Machines<Relay>) -> Child {
    let mut command = world.call(&["leaves", "0", "6"]);
    let mut caller = command.stdin(Stdio::piped()).spawn().unwrap();
    eventually("the spawned call runs", SOON, || {
        !world.ledger.entries().is_empty()
    });
    caller.stdin.take().unwrap().write_all(b"\n").unwrap();
    caller
}

#[test]
fn calls_of_a_killed_caller_end_unless_they_were_spawned() {
    fixture_outside(LIMIT, || {
        let mut world = machines();
        world.set("WORK", "3000");
        world.set("RETRY_MAX_WORKERS", "2");
        let _agent = world.agent();
        let mut caller = start_leaving(&world);
        eventually("calls run and wait", SOON, || {
            let (tasks, held) = world.engine.tasks();
            processes_in(&world.ledger).len() == 2 && tasks > held
        });
        let spawned = processes_in(&world.ledger)[0];
        caller.kill().unwrap();
        caller.wait().unwrap();
        // One that waits at the agent may begin in the place of one that has ended, before it ends as well.
        eventually("the others end", SOON, || {
            let are_few = world.engine.tasks() == (1, 1);
            let workers = processes_in(&world.ledger).into_iter();
            are_few && workers.filter(|worker| *worker != spawned).all(is_gone)
        });
        let begun = world.ledger.executions();
        assert!(!is_gone(spawned) && begun.keys().all(|input| *input < 1_000_000));
        eventually("the spawned call ends", SOON, || {
            world.engine.tasks() == (0, 0)
        });
        let mut further = world.ledger.executions();
        further.retain(|input, _| !begun.contains_key(input));
        assert_eq!(further.into_keys().collect::<Vec<_>>(), [1_000_100]);
        assert_eq!(world.run(&["square", "0", "3"]), numbered([0, 1, 4]));
    });
}

#[test]
fn a_later_program_gets_the_results_of_spawned_calls() {
    fixture_outside(LIMIT, || {
        let mut world = machines();
        // The calls go on when the programs that have made them have ended.
        world.set("WORK", "1500");
        let _agent = world.agent();
        assert_attaches(&world);
        eventually("no task is left", SOON, || world.engine.tasks() == (0, 0));
        world.engine.lose_data();
        let local = Machines::new(env!("CARGO_BIN_EXE_hosts"), "inline".to_owned(), ());
        let refused = local.run(&["attached", "1M8KXTGN4XCCR/17"]);
        assert!(refused.contains("RETRY_ENGINE"), "{refused}");
    });
}

#[test]
fn retries_of_a_killed_caller_are_not_made() {
    fixture_outside(LIMIT, || {
        let world = machines();
        let _agent = world.agent();
        let mut caller = world.start(&["later", "0", "2"]);
        // Handed back, with a delay until the next attempt.
        eventually("both wait", SOON, || {
            world.ledger.entries().len() == 2 && world.engine.tasks() == (2, 0)
        });
        caller.kill().unwrap();
        caller.wait().unwrap();
        eventually("they end", Duration::from_secs(1), || {
            world.engine.tasks() == (0, 0)
        });
        assert_eq!(world.ledger.entries().len(), 2);
    });
}
