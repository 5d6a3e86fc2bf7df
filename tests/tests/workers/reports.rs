//! Reports of failures printed by programs: one line, or a report that states each cause once.

use std::process::Command;
use std::time::Duration;

use retry_tests::fixture_outside;

const LIMIT: Duration = Duration::from_secs(120);

fn reporting(how: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_reporting"));
    command.arg(how).env("RUST_BACKTRACE", "0");
    command
}

/// Returns the output of the program on both streams.
fn printed(mut command: Command) -> String {
    let output = command.output().unwrap();
    let text = [output.stderr, output.stdout].concat();
    String::from_utf8(text).unwrap()
}

#[test]
fn a_panic_is_printed_once() {
    fixture_outside(LIMIT, || {
        for (how, text) in [
            ("literal", "a literal text"),
            ("lines", "the second line"),
            ("unwrap", "InvalidDigit"),
            ("assertion", "lengths differ"),
            ("caught", "caught and forgotten"),
            ("caught before another", "the one that counts"),
            ("another thread", "on another thread"),
            ("again", "every time"),
            ("later", "after the await"),
            ("unready", "in the set-up"),
        ] {
            for backtrace in ["0", "1"] {
                for line in [false, true] {
                    let mut command = reporting(how);
                    command.env("RUST_BACKTRACE", backtrace);
                    if line {
                        command.arg("--line");
                    }
                    let all = printed(command);
                    assert_eq!(all.matches(text).count(), 1, "{how}: {all}");
                }
            }
        }
        let all = printed(reporting("caught, then abort"));
        assert!(all.contains("crashed after 3 attempts"), "{all}");
        assert!(all.contains("the reason of the abort"), "{all}");
    });
}

#[test]
fn the_line_of_an_error_is_one_line() {
    fixture_outside(LIMIT, || {
        for (how, ends) in [
            ("lines", "the last line (tests/src/bin/reporting.rs:"),
            ("long", " ends (tests/src/bin/reporting.rs:"),
            ("fails", "of text"),
            ("unready", "in the set-up (tests/src/bin/reporting.rs:"),
            ("nested", "calls are nested deeper than 10 levels"),
            ("passed on", "the file cannot be read"),
        ] {
            let mut command = reporting(how);
            // This also holds where the reports of nested calls contain backtraces.
            command.arg("--line").env("RUST_BACKTRACE", "1");
            let all = printed(command);
            let line = all.trim_end();
            assert_eq!(line.lines().count(), 1, "{how}: {all}");
            assert!(line.chars().count() <= 200, "{how}: {all}");
            // The line ends with the innermost cause, or with the text.
            assert!(line.contains(ends), "{how}: {all}");
        }
    });
}

#[test]
fn a_report_of_nested_calls_has_a_few_lines_for_each() {
    fixture_outside(LIMIT, || {
        let all = printed(reporting("nested"));
        println!("{all}");
        assert!(all.lines().count() <= 60, "{all}");
        // Eleven calls were nested; the twelfth was refused.
        assert_eq!(all.matches("function  ").count(), 12, "{all}");
        let deepest = all.matches("nested deeper than 10 levels").count();
        assert_eq!(deepest, 1, "{all}");
        assert!(all.lines().all(|line| line.chars().count() <= 200), "{all}");
        assert!(!all.contains("on an `Err` value"), "{all}");
    });
}

#[test]
fn a_chain_of_errors_has_each_message_once() {
    fixture_outside(LIMIT, || {
        for how in ["chain", "passed on"] {
            let all = printed(reporting(how));
            println!("{all}");
            for text in ["the file cannot be read", "No such file or directory"] {
                assert_eq!(all.matches(text).count(), 1, "{how}: {all}");
            }
        }
    });
}

#[test]
fn a_backtrace_is_about_the_program() {
    fixture_outside(LIMIT, || {
        for how in ["literal", "unwrap", "again", "later", "passed on"] {
            let mut command = reporting(how);
            command.env("RUST_BACKTRACE", "1");
            let all = printed(command);
            for foreign in [
                "std::rt",
                "catch_unwind",
                "retry_runtime::child",
                "panicking::",
                "__rust_begin",
                "__libc",
                "::__run",
                "reporting::main",
                "_start",
            ] {
                assert!(!all.contains(foreign), "{how}: {foreign} in {all}");
            }
            assert!(all.contains("   0: reporting::"), "{how}: {all}");
        }
    });
}
