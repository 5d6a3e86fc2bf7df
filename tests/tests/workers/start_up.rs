//! The start of a program and of its workers: the conditions that make a process a worker, the attributes
//! that it inherits from its parent, and the tools under which that works.

use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use retry_tests::{eventually, fixture_outside, open_terminal, terminal};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

const LIMIT: Duration = Duration::from_secs(240);

const BEGINNER: &str = env!("CARGO_BIN_EXE_beginner");

/// The output of the program if its workers serve.
const SERVED: [&str; 3] = ["5", "aborts crashed: SIGABRT (abort)", "6"];

fn lines(output: &Output) -> Vec<String> {
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().map(str::to_owned).collect()
}

/// Runs the program with workers that are started through a script. Returns its output and the number of
/// processes that returned from `init`.
fn wrapped(script: &str) -> (Vec<String>, usize) {
    let directory = TempDir::new().unwrap();
    let wrapper = directory.path().join("wrapper");
    std::fs::write(&wrapper, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&wrapper, PermissionsExt::from_mode(0o755)).unwrap();
    let mains = directory.path().join("mains");
    let output = Command::new(BEGINNER)
        .arg("wrapped")
        .env("WRAPPER", &wrapper)
        .env("PROGRAM", BEGINNER)
        .env("MAINS", &mains)
        .output()
        .unwrap();
    let mains = std::fs::read_to_string(mains).unwrap();
    (lines(&output), mains.lines().count())
}

#[test]
fn a_worker_whose_standard_input_is_lost_says_so() {
    fixture_outside(LIMIT, || {
        for script in [
            "exec \"$PROGRAM\" < /dev/null",
            "exec \"$PROGRAM\" < \"$PROGRAM\"",
            // Not the last command, so that the shell stays and the program is its child.
            "\"$PROGRAM\" < /dev/null; exit $?",
            "head -c 4 > /dev/null; exec \"$PROGRAM\"",
            "setsid --wait \"$PROGRAM\" < /dev/null",
        ] {
            let (lines, mains) = wrapped(script);
            assert_eq!(mains, 1, "{script}: {lines:?}");
            for line in &lines {
                let whole = line.contains("code 71")
                    && line.contains("cannot serve: standard input is not the connection");
                assert!(whole, "{script}: {line}");
            }
            assert_eq!(lines.len(), 4, "{script}: {lines:?}");
        }
    });
}

#[test]
fn a_worker_whose_standard_input_is_closed_runs_nothing() {
    fixture_outside(LIMIT, || {
        for script in [
            "exec \"$PROGRAM\" <&-",
            "exec \"$PROGRAM\" <&- >&- 2>&-",
            // It becomes a daemon before it checks whether it is a worker.
            "(setsid \"$PROGRAM\" < /dev/null > /dev/null 2>&1 &)",
        ] {
            let (lines, mains) = wrapped(script);
            assert_eq!(mains, 1, "{script}: {lines:?}");
            assert!(!lines.contains(&"served".to_owned()), "{script}: {lines:?}");
        }
    });
}

#[test]
fn a_script_may_stand_between_a_program_and_its_workers() {
    fixture_outside(LIMIT, || {
        for script in [
            "exec \"$PROGRAM\" \"$@\"",
            "\"$PROGRAM\" \"$@\"; exit $?",
            "exec env -i \"$PROGRAM\"",
            "exec 3>&1; exec nice -n 1 \"$PROGRAM\"",
        ] {
            assert_eq!(
                wrapped(script),
                (vec!["served".to_owned(); 4], 1),
                "{script}"
            );
        }
    });
}

#[test]
fn workers_may_have_a_pid_namespace_of_their_own() {
    fixture_outside(LIMIT, || {
        let unshare = "unshare --user --map-root-user --pid --fork";
        let permitted = format!("{unshare} true");
        let permitted = Command::new("sh").args(["-c", &permitted]).status();
        if !permitted.unwrap().success() {
            return;
        }
        for script in [
            format!("exec {unshare} \"$PROGRAM\""),
            format!("exec {unshare} --mount-proc \"$PROGRAM\""),
        ] {
            assert_eq!(
                wrapped(&script),
                (vec!["served".to_owned(); 4], 1),
                "{script}"
            );
        }
    });
}

#[test]
fn a_worker_that_lacks_descriptors_says_so_and_runs_nothing() {
    fixture_outside(LIMIT, || {
        for most in 3..12 {
            let (lines, mains) = wrapped(&format!("ulimit -n {most}; exec \"$PROGRAM\""));
            assert_eq!(mains, 1, "{most}: {lines:?}");
            for line in &lines {
                let known = line == "served" || line.contains("could not start");
                assert!(known, "{most}: {line}");
            }
        }
    });
}

#[test]
fn variables_of_a_worker_make_no_worker() {
    fixture_outside(LIMIT, || {
        let own = std::process::id().to_string();
        for (worker, key) in [("7", "x"), ("", ""), ("nonsense", "0"), (&own, "no key")] {
            let mut command = Command::new(BEGINNER);
            command.env("RETRY_WORKER", worker);
            if worker != "nonsense" {
                command.env("RETRY_WORKER_KEY", key);
            }
            assert_eq!(lines(&command.output().unwrap()), SERVED, "{worker} {key}");
        }
    });
}

#[test]
fn a_program_that_a_function_starts_is_no_worker() {
    fixture_outside(LIMIT, || {
        let output = |script: &str| {
            let output = Command::new(BEGINNER).args(["runs", script]).output();
            lines(&output.unwrap())
        };
        let expected = format!("{:?}", SERVED.join("\n"));
        for script in [
            format!("exec {BEGINNER} echo"),
            format!("{BEGINNER} echo < /dev/null; true"),
            // Its parent is gone by the time it checks whether it is a worker.
            format!("({BEGINNER} echo &) | cat"),
            format!("(setsid {BEGINNER} echo &) | cat"),
        ] {
            assert_eq!(output(&script), [expected.as_str()], "{script}");
        }
    });
}

#[test]
fn a_function_may_run_init_again() {
    fixture_outside(LIMIT, || {
        let output = Command::new(BEGINNER).arg("twice").output().unwrap();
        assert_eq!(lines(&output), ["5"]);
    });
}

/// Runs the program in new namespaces that a script has prepared, if the machine allows that.
fn in_a_world_of_its_own(script: &str) -> Option<Output> {
    let namespace = ["--user", "--map-root-user", "--mount"];
    let run = |script: &str| {
        let mut command = Command::new("unshare");
        command.args(namespace).args(["sh", "-c", script, BEGINNER]);
        command.output().unwrap()
    };
    if !run(script).status.success() {
        eprintln!("this machine does not allow a namespace: not tested");
        return None;
    }
    Some(run(&format!("{script} && exec \"$0\" echo")))
}

#[test]
fn workers_start_without_devices() {
    fixture_outside(LIMIT, || {
        if let Some(output) = in_a_world_of_its_own("mount -t tmpfs none /dev") {
            assert_eq!(lines(&output), SERVED, "{output:?}");
        }
    });
}

#[test]
fn workers_start_without_proc() {
    fixture_outside(LIMIT, || {
        if let Some(output) = in_a_world_of_its_own("mount -t tmpfs none /proc") {
            assert_eq!(lines(&output), SERVED, "{output:?}");
        }
    });
}

#[test]
fn a_worker_inherits_no_descriptor_but_keeps_its_own() {
    fixture_outside(LIMIT, || {
        let inherited = tempfile::NamedTempFile::new().unwrap();
        let early = tempfile::NamedTempFile::new().unwrap();
        let output = Command::new("sh")
            .args([
                "-c",
                "exec 7< \"$1\"; exec \"$0\" descriptors \"$1\"",
                BEGINNER,
            ])
            .arg(inherited.path())
            .env("EARLY", early.path())
            .output()
            .unwrap();
        let lines = lines(&output);
        assert_eq!(lines.len(), 4, "{lines:?}");
        let name = |path: &Path| path.to_str().unwrap().to_owned();
        for open in [&lines[0], &lines[2]] {
            assert!(!open.contains(&name(inherited.path())), "{open}");
            assert_eq!(open.matches(&name(early.path())).count(), 1, "{open}");
            // The worker's streams, its connections and the event descriptors of its threads.
            assert!(open.split(", ").count() < 16, "{open}");
        }
        assert_eq!(lines[3], "Err(ConnectionRefused)");
    });
}

#[test]
fn workers_have_the_attributes_of_the_process() {
    fixture_outside(LIMIT, || {
        let output = Command::new("env")
            .args(["--block-signal=TERM,USR1", BEGINNER, "attributes"])
            .output()
            .unwrap();
        let lines = lines(&output);
        let [process, attributes, workers] = &lines[..] else {
            // The line of the thread may come first.
            panic!("{lines:?}");
        };
        let (process, attributes) = if process.starts_with('(') {
            (attributes, process)
        } else {
            (process, attributes)
        };
        let (cpus, nice) = process.split_once(' ').unwrap();
        // A lower nice value requires a privilege.
        let privileged = rustix::process::geteuid().is_root();
        let none = "0".repeat(16);
        let expected = format!("({cpus}, {nice}, {none:?})");
        assert!(!privileged || *attributes == expected, "{attributes}");
        assert!(
            attributes.starts_with(&format!("({cpus}, ")),
            "{attributes}"
        );
        assert!(attributes.ends_with(&format!("{none:?})")), "{attributes}");
        assert!(
            cpus == "1" || workers != "1",
            "{cpus} CPUs, {workers} worker"
        );
    });
}

/// Starts a program that sleeps in three calls one after the other, and ignores some signals.
fn sleeper(ignored: &str) -> Child {
    let interactive = env!("CARGO_BIN_EXE_interactive");
    Command::new("env")
        .arg(format!("--ignore-signal={ignored}"))
        .args([interactive, "--milliseconds=700", "--linger=0"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Sends signals once the program sleeps. Returns its exit code and the number of times that it has slept.
fn interrupt(mut program: Child, signals: &[Signal]) -> (Option<i32>, usize) {
    let mut stdout = program.stdout.take().unwrap();
    let mut text = vec![0; 1024];
    let read = stdout.read(&mut text).unwrap();
    text.truncate(read);
    for signal in signals {
        kill_process(Pid::from_child(&program), *signal).unwrap();
    }
    stdout.read_to_end(&mut text).unwrap();
    let text = String::from_utf8(text).unwrap();
    let status = program.wait().unwrap();
    (status.code(), text.matches("slept for").count())
}

#[test]
fn signals_that_were_ignored_at_the_start_stay_ignored() {
    fixture_outside(LIMIT, || {
        let (hangup, interrupted) = (Signal::HUP, Signal::INT);
        assert_eq!(interrupt(sleeper("HUP"), &[hangup]), (Some(0), 3));
        let both = [interrupted, hangup, interrupted];
        assert_eq!(interrupt(sleeper("HUP,INT"), &both), (Some(0), 3));
        // The other signals are handled as usual.
        let (code, slept) = interrupt(sleeper("HUP,INT"), &[hangup, Signal::TERM]);
        assert_eq!(code, Some(143));
        assert!(slept < 3);
        // Workers also end if they were told to ignore the signal.
        assert_eq!(interrupt(sleeper("TERM"), &[Signal::TERM]), (Some(0), 3));
    });
}

#[test]
fn a_terminal_does_not_stop_a_worker() {
    fixture_outside(LIMIT, || {
        let (screen, path) = terminal();
        let mut process = Command::new("setsid")
            .args(["--ctty", BEGINNER, "terminal"])
            .stdin(open_terminal(&path))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdout = process.stdout.take().unwrap();
        let mut ended = None;
        eventually("the program ends", Duration::from_secs(60), || {
            ended = process.try_wait().unwrap();
            ended.is_some()
        });
        let mut text = String::new();
        stdout.read_to_string(&mut text).unwrap();
        // ENXIO: there is no such terminal.
        assert_eq!(text, "\"Err(Some(6)) false\"\nend\n");
        drop(screen);
    });
}

#[test]
fn a_program_may_be_run_by_the_dynamic_loader() {
    fixture_outside(LIMIT, || {
        let loader = Path::new("/lib64/ld-linux-x86-64.so.2");
        if !loader.exists() {
            eprintln!("there is no dynamic loader where it is expected: not tested");
            return;
        }
        let (directory, program) = BEGINNER.rsplit_once('/').unwrap();
        for arguments in [
            &[BEGINNER, "echo"][..],
            &[
                "--library-path",
                "/lib",
                "--argv0",
                "other",
                BEGINNER,
                "echo",
            ],
            &[&format!("./{program}"), "echo"],
        ] {
            let mut command = Command::new(loader);
            command.args(arguments).current_dir(directory);
            let output = command.output().unwrap();
            assert_eq!(lines(&output), SERVED, "{arguments:?}: {output:?}");
        }
    });
}

#[test]
fn a_program_may_be_run_by_valgrind() {
    fixture_outside(LIMIT, || {
        if Command::new("valgrind").arg("--version").output().is_err() {
            eprintln!("there is no valgrind: not tested");
            return;
        }
        let output = Command::new("valgrind")
            .args(["--quiet", "--error-exitcode=9", BEGINNER, "echo"])
            .output()
            .unwrap();
        assert_eq!(lines(&output), SERVED, "{output:?}");
        assert_eq!(output.status.code(), Some(0), "{output:?}");
    });
}

#[test]
fn a_first_call_without_resources_fails_and_the_next_works() {
    fixture_outside(LIMIT, || {
        let output = Command::new(BEGINNER).arg("scarce").output().unwrap();
        let lines = lines(&output);
        let (last, failed) = lines.split_last().unwrap();
        assert_eq!(failed.len(), 24, "{output:?}");
        assert_eq!(output.stderr, b"0 descriptors are left behind\n");
        assert!(failed[0].contains("there is no thread, descriptor or memory left"));
        for line in failed {
            let named = line.contains("there is no thread, descriptor or memory left")
                || line.contains("could not start: the worker process cannot be started");
            assert!(named, "{line}");
        }
        assert_eq!(last, "1");
    });
}
