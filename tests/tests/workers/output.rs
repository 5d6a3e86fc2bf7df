//! Output of functions: it is attributed to the right call, and it arrives before the call's result.

use std::io::Read;
use std::process::{Command, Stdio};
use std::time::Duration;

use retry_tests::fixture_outside;

const LIMIT: Duration = Duration::from_secs(300);

/// The functions that execute one call at a time, by the prefix of their lines.
const SERIAL: [&str; 4] = ["blocking", "single", "once", "Printer"];

const TRANSPORTS: [&str; 2] = ["rings", "socket"];

fn printing(transport: &str, arguments: [&str; 4]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_printing"));
    command.args(arguments);
    if transport == "socket" {
        command.env("RETRY_TRANSPORT", "socket");
    }
    command
}

/// Returns the program's output on both streams, which are read continuously.
fn run(command: &mut Command) -> (String, String) {
    let output = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let (stdout, stderr) = (text(output.stdout), text(output.stderr));
    assert!(output.status.success(), "{stdout}\n{stderr}");
    (stdout, stderr)
}

/// Returns the lines with this prefix, sorted.
fn lines<'a>(text: &'a str, beginning: &str) -> Vec<&'a str> {
    let mut lines: Vec<&str> = text
        .lines()
        .filter(|line| line.starts_with(beginning))
        .collect();
    lines.sort_unstable();
    lines
}

fn expected(count: u64, line: impl Fn(u64) -> String) -> Vec<String> {
    let mut lines: Vec<String> = (0..count).map(line).collect();
    lines.sort_unstable();
    lines
}

#[test]
fn unfinished_lines_belong_to_their_inputs() {
    fixture_outside(LIMIT, || {
        for transport in TRANSPORTS {
            for kind in SERIAL {
                for (how, count) in [("rust", 60), ("c", 60), ("stderr", 60), ("command", 12)] {
                    let (stdout, stderr) = run(&mut printing(
                        transport,
                        ["map", kind, how, &count.to_string()],
                    ));
                    let text = if how == "stderr" { &stderr } else { &stdout };
                    assert_eq!(
                        lines(text, &format!("{kind}[")),
                        expected(count, |index| format!("{kind}[{index}]: half of {index}")),
                        "{transport} {how}: {text}"
                    );
                }
            }
        }
    });
}

#[test]
fn every_line_of_a_chunk_of_inputs_has_its_index() {
    fixture_outside(LIMIT, || {
        for transport in TRANSPORTS {
            for kind in SERIAL {
                let count = 40;
                let (stdout, stderr) = run(&mut printing(
                    transport,
                    ["map", kind, "lines", &count.to_string()],
                ));
                let mut all: Vec<String> = ["first", "half", "second"]
                    .iter()
                    .flat_map(|word| expected(count, |i| format!("{kind}[{i}]: {word} of {i}")))
                    .collect();
                all.sort_unstable();
                assert_eq!(
                    lines(&stdout, &format!("{kind}[")),
                    all,
                    "{transport}: {stdout}"
                );
                assert_eq!(
                    lines(&stderr, kind),
                    expected(count, |i| format!("{kind}[{i}]: complaint of {i}")),
                    "{transport}: {stderr}"
                );
            }
        }
    });
}

#[test]
fn a_quick_input_among_many_that_prints_is_named() {
    fixture_outside(LIMIT, || {
        for transport in TRANSPORTS {
            for kind in ["blocking", "Printer"] {
                let (stdout, _) = run(&mut printing(transport, ["seldom", kind, "rust", "3000"]));
                let mut named: Vec<String> = [500, 1497, 2494]
                    .map(|index| format!("{kind}[{index}]: half of {index}"))
                    .into();
                named.sort_unstable();
                assert_eq!(lines(&stdout, &format!("{kind}[")), named, "{stdout}");
            }
        }
    });
}

#[test]
fn concurrent_calls_never_give_a_line_a_wrong_index() {
    fixture_outside(LIMIT, || {
        for transport in TRANSPORTS {
            for (kind, how) in [("several", "lines"), ("batch", "lines")] {
                let count = 200;
                let (stdout, _) = run(&mut printing(
                    transport,
                    ["map", kind, how, &count.to_string()],
                ));
                let mut found = 0;
                for line in lines(&stdout, kind) {
                    let (name, text) = line.split_once(": ").unwrap();
                    if let Some(index) = name.strip_prefix(kind).and_then(|it| it.strip_prefix('['))
                    {
                        let index = index.strip_suffix(']').unwrap();
                        assert!(text.ends_with(&format!(" of {index}")), "{line}");
                    }
                    found += text.matches("half of").count();
                }
                assert_eq!(found, count, "{stdout}");
            }
        }
    });
}

/// Asserts that each result comes after all lines of its call.
#[track_caller]
fn assert_in_order(text: &str, count: u64, lines: usize) {
    let mut printed = 0;
    let mut results = 0;
    for line in text.lines() {
        if line == format!("result {results}") {
            assert_eq!(printed, lines, "lines before result {results}");
            (printed, results) = (0, results + 1);
        } else if line.contains(": line of") {
            let of_this = format!(": line of {results} ");
            assert!(line.contains(&of_this), "before result {results}: {line}");
            printed += 1;
        }
    }
    assert_eq!(results, count);
}

#[test]
fn no_result_overtakes_its_output_while_the_stream_is_read() {
    fixture_outside(LIMIT, || {
        for transport in TRANSPORTS {
            for kind in ["blocking", "single", "several", "batch", "once", "Printer"] {
                for how in ["many", "many on stderr"] {
                    let (stdout, stderr) = run(&mut printing(transport, ["calls", kind, how, "8"]));
                    let text = if how == "many" { stdout } else { stderr };
                    let length = "line of 0 \n".len() + 80;
                    assert_in_order(&text, 8, 50_000 / length + 1);
                }
            }
            let (stdout, _) = run(&mut printing(
                transport,
                ["calls", "blocking", "flood", "2"],
            ));
            assert_in_order(&stdout, 2, 40_000);
        }
    });
}

#[test]
fn a_slow_reader_gets_all_lines_before_the_result() {
    fixture_outside(LIMIT, || {
        let mut process = printing("rings", ["calls", "blocking", "many", "8"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdout = process.stdout.take().unwrap();
        let mut text = Vec::new();
        let mut buffer = [0; 8192];
        loop {
            let read = stdout.read(&mut buffer).unwrap();
            if read == 0 {
                break;
            }
            text.extend_from_slice(&buffer[..read]);
            std::thread::sleep(Duration::from_millis(5));
        }
        assert!(process.wait().unwrap().success());
        let length = "line of 0 \n".len() + 80;
        assert_in_order(&String::from_utf8(text).unwrap(), 8, 50_000 / length + 1);
    });
}

#[test]
fn output_of_a_dying_worker_has_its_index_and_comes_in_time() {
    fixture_outside(LIMIT, || {
        for transport in TRANSPORTS {
            for (how, end) in [("dies", "SIGABRT"), ("exits", "exit")] {
                let (stdout, _) = run(&mut printing(transport, ["map", "mortal", how, "3"]));
                for index in 0..3 {
                    let line = format!("mortal[{index}]: last of {index}\n");
                    assert!(stdout.contains(&line), "{end}: {stdout}");
                }
                let (stdout, _) = run(&mut printing(transport, ["calls", "mortal", how, "3"]));
                let mut last = 0;
                for number in 0..3 {
                    let line = format!("mortal: last of {number}\nerror ");
                    let place = stdout.find(&line).unwrap_or_else(|| panic!("{stdout}"));
                    assert!(place >= last);
                    last = place;
                }
            }
        }
    });
}

#[test]
fn output_of_c_code_before_a_fork_appears_once() {
    fixture_outside(LIMIT, || {
        for kind in SERIAL {
            let (stdout, _) = run(&mut printing("rings", ["map", kind, "fork", "5"]));
            assert_eq!(
                lines(&stdout, &format!("{kind}[")),
                expected(5, |index| format!("{kind}[{index}]: half of {index}")),
                "{stdout}"
            );
        }
    });
}

#[test]
fn output_of_a_set_up_belongs_to_no_input() {
    fixture_outside(LIMIT, || {
        let (stdout, _) = run(&mut printing("rings", ["map", "Printer", "rust", "20"]));
        assert!(
            !stdout.contains("]: set up") && !stdout.contains("]: half of it"),
            "{stdout}"
        );
        assert!(stdout.contains("Printer: half of it\n"), "{stdout}");
    });
}

#[test]
fn output_of_the_inline_engine_is_that_of_the_program() {
    fixture_outside(LIMIT, || {
        for kind in ["blocking", "single", "Printer"] {
            let mut command = printing("rings", ["calls", kind, "many", "8"]);
            command.env("RETRY_ENGINE", "inline");
            let (stdout, _) = run(&mut command);
            let marked = stdout.replace("line of", "x: line of");
            let length = "line of 0 \n".len() + 80;
            assert_in_order(&marked, 8, 50_000 / length + 1);
        }
    });
}
