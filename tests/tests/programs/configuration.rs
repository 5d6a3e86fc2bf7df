//! The settings of programs: their list, and invalid variables.

use std::process::{Command, Output, Stdio};
use std::time::Duration;

use retry_runtime::{CallError, Rejected, function};
use retry_tests::fixture_outside;

const LIMIT: Duration = Duration::from_secs(120);

/// The source of the program `configured`.
const SOURCE: &str = include_str!("../../src/bin/configured.rs");

/// Returns a program with `#[local_entrypoint]`, started with these variables.
fn configured(variables: &[(&str, &str)]) -> Output {
    run(env!("CARGO_BIN_EXE_configured"), variables)
}

fn run(program: &str, variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("RETRY_") {
            command.env_remove(name);
        }
    }
    command.envs(variables.iter().copied());
    command.stdin(Stdio::null()).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Returns where an attribute of the program is.
fn place(attribute: &str) -> String {
    let mut lines = SOURCE.lines();
    let line = lines.position(|line| line.trim() == attribute).unwrap() + 1;
    // The path is relative to the directory in which the compiler ran.
    let file = env!("CARGO_MANIFEST_DIR").rsplit('/').next().unwrap();
    let file = match file!().starts_with(file) {
        true => format!("{file}/src/bin/configured.rs"),
        false => "src/bin/configured.rs".to_owned(),
    };
    format!("{file}:{line}")
}

/// Returns the columns of one line of a list, below a heading.
fn line(list: &str, heading: &str, setting: &str) -> [String; 2] {
    let mut lines = list.lines();
    lines
        .find(|line| *line == heading)
        .unwrap_or_else(|| panic!("no {heading} in {list}"));
    let mut lines = lines.take_while(|line| line.starts_with("  "));
    let line = lines
        .find(|line| line.split_whitespace().next() == Some(setting))
        .unwrap_or_else(|| panic!("no {setting} below {heading} in {list}"));
    let columns = line.split("  ").map(str::trim);
    let columns: Vec<_> = columns.filter(|column| !column.is_empty()).collect();
    let [_, value, origin] = columns[..] else {
        panic!("not three columns: {line}")
    };
    [value.to_owned(), origin.to_owned()]
}

#[test]
fn a_program_lists_its_settings_and_does_not_run() {
    fixture_outside(LIMIT, || {
        let output = configured(&[
            ("RETRY_CONFIG", "print"),
            ("RETRY_TIMEOUT", "1500ms"),
            ("RETRY_MAX_MESSAGE", "2MiB"),
            ("RETRY_TIMEOUTS", "3s"),
        ]);
        assert_eq!(output.status.code(), Some(0));
        let complaints = text(&output.stderr);
        let expected = "warning: RETRY_TIMEOUTS is unknown; did you mean RETRY_TIMEOUT?\n";
        assert_eq!(complaints, expected);
        let list = text(&output.stdout);
        assert!(list.starts_with("default runtime\n"), "{list}");
        let (function, service) = (place("#[function("), place("#[service(max_workers = 1)]"));
        let method = place("#[method(deadline = \"2m\")]");
        let limited = format!("configured::limited ({function})");
        let counter = format!("configured::Counter ({service})");
        let read = format!("configured::Counter::read ({method})");
        let plain = format!("configured::plain ({})", place("#[function]"));
        let attribute = format!("#[function] at {function}");
        for (heading, setting, value, origin) in [
            (
                "default runtime",
                "max_message",
                "2MiB",
                "RETRY_MAX_MESSAGE",
            ),
            ("default runtime", "max_buffered", "64MiB", "default"),
            ("default runtime", "shutdown_grace", "10s", "default"),
            (
                &limited,
                "retries",
                "4, after 200ms to 1600ms, with jitter",
                &attribute,
            ),
            (&limited, "timeout", "1500ms", "RETRY_TIMEOUT"),
            (&limited, "memory", "64MiB", &attribute),
            (&limited, "deadline", "none", "default"),
            (&plain, "timeout", "1500ms", "RETRY_TIMEOUT"),
            (&plain, "memory", "unlimited", "default"),
            (
                &counter,
                "max_workers",
                "1",
                &format!("#[service] at {service}"),
            ),
            (&read, "deadline", "2m", &format!("#[method] at {method}")),
            (&read, "timeout", "1500ms", "RETRY_TIMEOUT"),
        ] {
            let line = line(&list, heading, setting);
            assert_eq!(line, [value, origin], "{heading} {setting}");
        }
        // Options of workers do not belong to a method, nor those of calls to a service.
        let (of_counter, of_read) = list.split_once(&read).unwrap();
        assert!(
            !of_read
                .split("\n\n")
                .next()
                .unwrap()
                .contains("max_workers")
        );
        let of_counter = of_counter.split_once(&counter).unwrap().1;
        assert!(!of_counter.contains("\n  timeout "), "{of_counter}");
    });
}

#[test]
fn init_lists_the_settings_too() {
    fixture_outside(LIMIT, || {
        let program = env!("CARGO_BIN_EXE_tokio_main");
        let output = run(program, &[("RETRY_CONFIG", "print")]);
        assert_eq!(
            (output.status.code(), text(&output.stderr)),
            (Some(0), String::new())
        );
        let list = text(&output.stdout);
        assert!(list.contains("\n\ntokio_main::doubled ("), "{list}");
        assert!(!list.contains("levels"), "{list}");
    });
}

#[test]
fn invalid_variables_are_all_reported_once() {
    fixture_outside(LIMIT, || {
        let expected = "error: RETRY_TIMEOUT=\"30\" needs a unit: write 30s\n\
                        error: RETRY_MAX_WORKERS=\"0\" must be at least 1\n\
                        error: RETRY_CONFIG=\"list\" must be print, which lists all settings\n";
        for program in [
            env!("CARGO_BIN_EXE_configured"),
            env!("CARGO_BIN_EXE_tokio_main"),
        ] {
            let output = run(
                program,
                &[
                    ("RETRY_CONFIG", "list"),
                    ("RETRY_MAX_WORKERS", "0"),
                    ("RETRY_TIMEOUT", "30"),
                ],
            );
            assert_eq!(text(&output.stderr), expected);
            assert_eq!(output.status.code(), Some(2));
            assert_eq!(text(&output.stdout), "");
        }
        let output = configured(&[("RETRY_MAX_WORKERS", "1")]);
        assert_eq!(text(&output.stderr), "");
        assert_eq!(text(&output.stdout), "1\n2\n3\n2\n");
    });
}

/// Asks the inner test for a call.
const ASKED: &str = "CONFIGURATION_ASKED";

#[function]
fn seven() -> u64 {
    7
}

#[retry_runtime::test]
fn inner_call() {
    if std::env::var_os(ASKED).is_some() {
        let result = seven.remote().wait();
        let Err(CallError::Rejected(Rejected::Configuration(problem), _)) = result else {
            panic!("{result:?}")
        };
        println!("rejected: {problem}");
    }
}

#[test]
fn a_test_with_an_invalid_variable_gets_it_with_each_call() {
    fixture_outside(LIMIT, || {
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "configuration::inner_call", "--nocapture"])
            .envs([(ASKED, "1"), ("RETRY_TIMEOUT", "30"), ("RETRY_SPIN", "2")])
            .output()
            .unwrap();
        let said = text(&output.stdout);
        let problems = "rejected: RETRY_TIMEOUT=\"30\" needs a unit: write 30s; RETRY_SPIN=\"2\" must \
                        be 0 or 1\n";
        assert!(said.contains(problems), "{said}");
        assert!(output.status.success(), "{}", text(&output.stderr));
    });
}
