//! Ctrl-Z at a terminal, and `fg`.

use std::fs::File;
use std::io::{BufRead, BufReader, Lines, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use retry_runtime::events::{EventKind, Log};
use retry_tests::{
    Process, collect_screen, descendants, eventually, fixture_outside, processes_with, terminal,
};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tempfile::TempDir;

const LIMIT: Duration = Duration::from_secs(120);

/// The time within which something must happen that does not depend on a time.
const SOON: Duration = Duration::from_secs(30);

/// The limits of the program's functions.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The time for which the program is suspended: longer than any of its limits.
const SUSPENDED: Duration = Duration::from_millis(5500);

/// The delay before the second attempt of `fails_once`.
const DELAY: Duration = Duration::from_secs(1);

/// Makes functions run on threads of the program.
const INLINE: (&str, &str) = ("RETRY_ENGINE", "inline");

/// The shells of `tests/src/bin/shell.rs`.
mod shell {
    /// An ordinary one. The processes of a program that is killed get a parent in another session, so the
    /// kernel counts their groups as orphaned.
    pub(super) const ORDINARY: &str = "ordinary";

    /// One that these processes get as their parent, as in a container whose first process is a shell.
    pub(super) const ADOPTING: &str = "adopting";

    /// None that could continue the program.
    pub(super) const NONE: &str = "none";
}

/// A program at a terminal, in the foreground of a shell.
struct Job {
    shell: Child,
    /// The lines that the shell prints.
    told: Lines<BufReader<ChildStdout>>,
    program: u32,
    keyboard: File,
    screen: Arc<Mutex<String>>,
    files: TempDir,
}

impl Job {
    fn start(shell: &str, how: &str, variables: &[(&str, &str)]) -> Self {
        let files = tempfile::tempdir().unwrap();
        let (keyboard, terminal) = terminal();
        let mut shell = Command::new(env!("CARGO_BIN_EXE_shell"))
            .args([shell, &terminal, env!("CARGO_BIN_EXE_suspended")])
            .args(["--how", how])
            .env("TERM", "xterm")
            .env("RETRY_STATUS", "none")
            .env_remove("CI")
            .env("FILES", files.path())
            .env("RETRY_EVENTS", files.path().join("events"))
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut told = BufReader::new(shell.stdout.take().unwrap()).lines();
        let program = told.next().unwrap().unwrap().parse().unwrap();
        Self {
            shell,
            told,
            program,
            screen: collect_screen(&keyboard),
            keyboard,
            files,
        }
    }

    fn shows(&self, expected: &str) {
        self.shows_times(expected, 1);
    }

    /// Waits until a text has been written this number of times.
    fn shows_times(&self, expected: &str, times: usize) {
        eventually(&format!("{times} x {expected}"), SOON, || {
            let text = self.text();
            assert!(!text.contains("panicked"), "{text}");
            text.matches(expected).count() >= times
        });
    }

    /// Returns what was written to the terminal so far.
    fn text(&self) -> String {
        self.screen.lock().unwrap().clone()
    }

    fn press(&mut self, keys: &[u8]) {
        self.keyboard.write_all(keys).unwrap();
    }

    /// Returns the processes of the program's session but the shell: the program, its workers, and what they
    /// have started and is still in the session.
    fn family(&self) -> Vec<Process> {
        let shell = self.shell.id();
        let mut family = descendants();
        family.retain(|process| process.session == shell && process.pid != shell);
        // A worker may have ended, and its parent cannot wait for it while it is suspended.
        family.retain(|process| !process.is_zombie());
        family
    }

    fn state(&self, pid: u32) -> Option<char> {
        let family = self.family();
        let found = family.iter().find(|process| process.pid == pid);
        found.map(|process| process.state)
    }

    fn is_suspended(&self) -> bool {
        let family = self.family();
        let program = family.iter().any(|process| process.pid == self.program);
        program && family.iter().all(|process| process.state == 'T')
    }

    /// Presses Ctrl-Z and waits until the program and all its workers are suspended. Returns all of them.
    fn suspend(&mut self) -> Vec<u32> {
        self.press(b"\x1a");
        eventually("all are suspended", SOON, || self.is_suspended());
        self.pids()
    }

    fn pids(&self) -> Vec<u32> {
        let mut pids: Vec<u32> = self.family().iter().map(|process| process.pid).collect();
        pids.sort_unstable();
        pids
    }

    /// Does what `fg` does.
    fn resume(&self) {
        kill_process_group(pid(self.program), Signal::CONT).unwrap();
    }

    /// Lets the functions of a round end.
    fn let_go(&self, round: u32) {
        std::fs::write(self.files.path().join(round.to_string()), "").unwrap();
    }

    /// Waits for the end of the program and of the shell. Checks the program's exit code and signal, as the shell
    /// prints them, and returns its files.
    #[track_caller]
    fn ends_with(mut self, expected: &str) -> TempDir {
        let ended = self.told.next().unwrap().unwrap();
        assert!(self.shell.wait().unwrap().success());
        assert_eq!(ended, expected, "{}", self.text());
        self.files
    }
}

fn pid(number: u32) -> Pid {
    Pid::from_raw(number.try_into().unwrap()).unwrap()
}

/// Reads a time that the program has written.
fn time_in(file: &Path) -> Duration {
    let text = std::fs::read_to_string(file).unwrap();
    Duration::from_nanos(text.parse().unwrap())
}

/// Checks that no reported duration includes the time of the suspension.
fn check_durations(log: &Path) {
    let mut durations = Vec::new();
    for event in Log::open(log).unwrap() {
        let event = event.unwrap();
        match event.kind {
            EventKind::Finished { ran: Some(ran), .. } | EventKind::AttemptFailed { ran, .. } => {
                durations.push((event.function, ran));
            }
            _ => {}
        }
    }
    assert!(durations.len() > 10, "{durations:?}");
    for (function, ran) in durations {
        assert!(ran < TIMEOUT, "{function}: {ran:?}");
    }
}

/// Suspends a program twice whose calls are all executing, at first for longer than any of their limits.
fn keeps_limits(variables: &[(&str, &str)]) {
    // Inline workers are threads of the program and execute one input each.
    let is_inline = variables.contains(&INLINE);
    let (workers, awaiting) = if is_inline { (0, 1) } else { (8, 2) };
    let mut job = Job::start(shell::ORDINARY, "limits", variables);
    for (round, time) in [(1, SUSPENDED), (2, Duration::from_millis(500))] {
        for (what, times) in [
            ("works", 3),
            ("awaits", awaiting),
            ("fails", 1),
            ("has_a_deadline", 1),
            ("gathers", 1),
        ] {
            job.shows_times(&format!("begun {what} {round}"), times);
        }
        let last = if round == 1 {
            ["set_up 1", "fails_once 1"]
        } else {
            ["is_set_up 2"; 2]
        };
        last.iter()
            .for_each(|what| job.shows(&format!("begun {what}")));
        let suspended = job.suspend();
        assert!(suspended.len() > workers, "{suspended:?}");
        std::thread::sleep(time);
        assert!(job.is_suspended());
        assert_eq!(job.pids(), suspended);
        job.resume();
        if round == 1 {
            // No worker was replaced.
            let alive = job.pids();
            assert!(
                suspended.iter().all(|pid| alive.contains(pid)),
                "{suspended:?} {alive:?}"
            );
        }
        job.let_go(round);
        job.shows(&format!("ended {round}"));
    }
    let files = job.ends_with("Some(0) None");
    let time = |name| time_in(&files.path().join(name));
    let delay = time("again") - time("failed");
    assert!(delay >= DELAY + SUSPENDED, "{delay:?}");
    check_durations(&files.path().join("events"));
}

#[test]
fn everything_stands_still_between_ctrl_z_and_fg() {
    fixture_outside(LIMIT, || keeps_limits(&[]));
}

#[test]
fn limits_do_not_pass_over_the_socket_either() {
    fixture_outside(LIMIT, || keeps_limits(&[("RETRY_TRANSPORT", "socket")]));
}

#[test]
fn limits_of_inline_workers_do_not_pass_either() {
    fixture_outside(LIMIT, || keeps_limits(&[INLINE]));
}

#[test]
fn a_call_is_waited_for_without_the_time_of_a_suspension() {
    fixture_outside(LIMIT, || {
        let mut job = Job::start(shell::ORDINARY, "get", &[("RETRY_STATUS", "all")]);
        job.shows("begun waits 1");
        job.suspend();
        std::thread::sleep(SUSPENDED);
        job.resume();
        job.let_go(1);
        job.shows("main got true");
        job.shows("suspended for ");
        job.ends_with("Some(0) None");
    });
}

#[test]
fn control_z_twice_suspends_a_program_once() {
    fixture_outside(LIMIT, || {
        let mut job = Job::start(shell::ORDINARY, "one call", &[]);
        job.shows("begun waits 1");
        job.press(b"\x1a\x1a\x1a");
        eventually("all are suspended", SOON, || job.is_suspended());
        job.resume();
        job.let_go(1);
        job.ends_with("Some(0) None");
    });
}

#[test]
fn the_display_of_progress_makes_room_for_the_shell() {
    fixture_outside(LIMIT, || {
        let (clear, restore) = ("\x1b[J", "\x1b8");
        let mut job = Job::start(shell::ORDINARY, "one call", &[]);
        // A drawing ends with the cursor where it was before.
        job.shows(restore);
        job.suspend();
        eventually("the display is erased", SOON, || {
            let text = job.text();
            text.rfind(clear) > text.rfind(restore)
        });
        let drawn = job.text().matches(restore).count();
        job.resume();
        job.shows_times(restore, drawn + 1);
        job.let_go(1);
        job.ends_with("Some(0) None");
    });
}

#[test]
fn the_grace_of_control_c_does_not_pass_while_a_program_is_suspended() {
    fixture_outside(LIMIT, || {
        let grace = [("RETRY_SHUTDOWN_GRACE", "5s")];
        let mut job = Job::start(shell::ORDINARY, "one call", &grace);
        job.shows("begun waits 1");
        job.press(b"\x03");
        job.shows("Ctrl-C again to kill now");
        job.suspend();
        std::thread::sleep(SUSPENDED);
        job.resume();
        job.let_go(1);
        job.shows("main got true");
        job.ends_with("Some(130) None");
    });
}

#[test]
fn the_second_control_c_leaves_a_complete_log() {
    fixture_outside(LIMIT, || {
        let files = tempfile::tempdir().unwrap();
        let log = files.path().join("run.jsonl");
        let variables = [("RETRY_EVENTS", log.to_str().unwrap())];
        let mut job = Job::start(shell::ORDINARY, "one call", &variables);
        job.shows("begun waits 1");
        job.press(b"\x03");
        job.shows("Ctrl-C again to kill now");
        job.press(b"\x03");
        job.ends_with("Some(130) None");
        let events: Vec<_> = Log::open(&log).unwrap().map(Result::unwrap).collect();
        let count = |is: fn(&EventKind) -> bool| events.iter().filter(|one| is(&one.kind)).count();
        let begun = count(|kind| matches!(kind, EventKind::Started { .. }));
        let ended = count(|kind| matches!(kind, EventKind::Finished { .. }));
        let up = count(|kind| matches!(kind, EventKind::WorkerUp { .. }));
        let down = count(|kind| matches!(kind, EventKind::WorkerDown { .. }));
        assert_eq!((begun, ended), (1, 1), "{events:?}");
        assert_eq!((up, down), (1, 1), "{events:?}");
    });
}

#[test]
fn a_worker_that_a_person_has_stopped_stays_stopped() {
    fixture_outside(LIMIT, || {
        let mut job = Job::start(shell::ORDINARY, "one call", &[]);
        job.shows("begun waits 1");
        let pids = job.pids();
        let worker = *pids.iter().find(|pid| **pid != job.program).unwrap();
        kill_process(pid(worker), Signal::STOP).unwrap();
        eventually("it is stopped", SOON, || job.state(worker) == Some('T'));
        job.suspend();
        job.resume();
        job.let_go(1);
        // The program answers once it has resumed its workers.
        kill_process(pid(job.program), Signal::USR1).unwrap();
        job.shows("Executing");
        assert_eq!(job.state(worker), Some('T'));
        kill_process(pid(worker), Signal::CONT).unwrap();
        job.ends_with("Some(0) None");
    });
}

#[test]
fn workers_that_are_starting_are_suspended_as_well() {
    fixture_outside(LIMIT, || {
        let mut job = Job::start(shell::ORDINARY, "starts", &[]);
        for turn in 1..=30 {
            job.shows_times("begun again", turn);
            let suspended = job.suspend();
            // None is added.
            std::thread::sleep(Duration::from_millis(20));
            assert!(job.is_suspended() && job.pids() == suspended);
            job.resume();
        }
        job.let_go(1);
        job.ends_with("Some(0) None");
    });
}

/// The lines after which a third process is the standby.
const STANDBY: [&str; 2] = ["begun waits 1", "a worker has died"];

#[test]
fn the_standby_is_suspended_as_well() {
    fixture_outside(LIMIT, || {
        let mut job = Job::start(shell::ORDINARY, "standby", &[]);
        STANDBY.iter().for_each(|what| job.shows(what));
        eventually("a standby", SOON, || job.family().len() == 3);
        let suspended = job.suspend();
        assert_eq!(suspended.len(), 3);
        job.resume();
        // The standby as well.
        eventually("all continue", SOON, || {
            job.family().iter().all(|process| process.state != 'T')
        });
        job.let_go(1);
        job.ends_with("Some(0) None");
    });
}

#[test]
fn control_z_is_ignored_without_a_shell_that_could_continue() {
    fixture_outside(LIMIT, || {
        let mut job = Job::start(shell::NONE, "one call", &[]);
        job.shows("begun waits 1");
        job.press(b"\x1a");
        // The terminal echoes the key when it has sent the signal.
        job.shows("^Z");
        kill_process(pid(job.program), Signal::USR1).unwrap();
        job.shows("Executing");
        job.let_go(1);
        job.shows("main got true");
        job.ends_with("Some(0) None");
    });
}

/// Kills a suspended program whose workers execute a call, have started other processes, are in their set-up,
/// or are a standby.
fn leaves_nothing(shell: &str, how: &str, begun: &[&str], processes: usize) {
    let mut job = Job::start(shell, how, &[]);
    let own = format!("FILES={}", job.files.path().display());
    let shell = job.shell.id();
    let others = || -> Vec<u32> {
        let mut all = processes_with(&own);
        all.retain(|pid| *pid != shell);
        all
    };
    begun.iter().for_each(|what| job.shows(what));
    eventually("all have started", SOON, || others().len() >= processes);
    job.suspend();
    kill_process(pid(job.program), Signal::KILL).unwrap();
    // A script that waits starts its worker now.
    job.let_go(2);
    eventually("nothing is left", SOON, || others().is_empty());
    job.ends_with("None Some(9)");
}

#[test]
fn a_suspended_program_that_is_killed_leaves_nothing() {
    fixture_outside(LIMIT, || {
        for shell in [shell::ORDINARY, shell::ADOPTING] {
            // The worker, two processes in its group, and one in a session of its own.
            let begun = ["begun starts_others 1", "begun ignoring"];
            leaves_nothing(shell, "others", &begun, 5);
        }
    });
}

#[test]
fn a_suspended_program_that_is_killed_leaves_no_standby() {
    fixture_outside(LIMIT, || {
        for shell in [shell::ORDINARY, shell::ADOPTING] {
            leaves_nothing(shell, "standby", &STANDBY, 3);
        }
    });
}

#[test]
fn a_suspended_program_that_is_killed_leaves_no_worker_behind_a_script() {
    fixture_outside(LIMIT, || {
        for shell in [shell::ORDINARY, shell::ADOPTING] {
            leaves_nothing(shell, "script", &["begun script"], 2);
            leaves_nothing(shell, "passing script", &["begun waits 1"], 3);
        }
    });
}

#[test]
fn a_suspended_program_that_is_killed_leaves_no_worker_in_its_set_up() {
    fixture_outside(LIMIT, || {
        for shell in [shell::ORDINARY, shell::ADOPTING] {
            leaves_nothing(shell, "set-up", &["begun set_up 1"], 2);
        }
    });
}
