//! Faults of section E: output of workers. The numbers are those of the table in `docs/faults.md`.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use retry_runtime::{EventKind, Events, events, function};
use retry_tests::{
    Conditions, close_descriptor, descendants, eventually, fixture, fixture_outside, fixture_under,
    open_terminal, terminal,
};
use rustix::fs::{Mode, OFlags, mkfifoat};

use crate::serving::serves;

const LIMIT: Duration = Duration::from_secs(120);

fn faulty(mode: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_faulty"));
    command.arg(mode);
    command
}

/// Runs the command with this setting of `RETRY_OUTPUT`, and returns its standard output.
fn printed(command: &mut Command, output: &str) -> Vec<u8> {
    let output = command.env("RETRY_OUTPUT", output).output().unwrap();
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{complaints}");
    output.stdout
}

// E1
#[test]
fn a_gibibyte_of_output_passes_through_in_little_memory() {
    fixture_outside(LIMIT, || {
        // In lines, and without any line ending.
        for (mebibytes, line) in [(1024, Some("4096")), (128, None)] {
            let mut command = faulty("flood");
            command.arg(mebibytes.to_string()).args(line);
            let begun = Instant::now();
            let mut process = command
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            let mut stdout = process.stdout.take().unwrap();
            let mut buffer = vec![0; 1 << 20];
            let mut total = 0;
            loop {
                match stdout.read(&mut buffer).unwrap() {
                    0 => break,
                    read => total += read,
                }
            }
            let output = process.wait_with_output().unwrap();
            let report = String::from_utf8(output.stderr).unwrap();
            eprintln!("{total} bytes in {:?}: {report}", begun.elapsed());
            assert!(total > mebibytes << 20, "{total}");
            assert!(begun.elapsed() < Duration::from_secs(100));
            // `Some(1024) MiB, 5344 kB, 5380 kB`: the peak resident memory before, and the overall peak.
            let numbers: Vec<usize> = report
                .split(|letter: char| !letter.is_ascii_digit())
                .filter_map(|number| number.parse().ok())
                .collect();
            assert_eq!(numbers[0], mebibytes, "{report}");
            assert!(numbers[2] - numbers[1] < 16 * 1024, "{report}");
        }
    });
}

// E3
#[test]
fn odd_bytes_are_passed_on_and_a_prefix_never_splits_a_line() {
    fixture_outside(LIMIT, || {
        let odd = b"over\rwritten\n\0nul\0\n\n\xff\xfe\xc3(\n\x1b[31mred\x1b[0m\nlast";
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), odd).unwrap();
        let raw = printed(faulty("bytes").arg(file.path()), "raw");
        assert_eq!(raw, odd);
        // The end of the call terminates its last line.
        let with_end = [&odd[..], b"\n"].concat();
        let prefixed = printed(faulty("bytes").arg(file.path()), "prefixed");
        for line in with_end.split_inclusive(|byte| *byte == b'\n') {
            let expected = [b"prints: ", line].concat();
            let found = prefixed
                .windows(expected.len())
                .filter(|window| *window == expected);
            assert_eq!(found.count(), 1, "{line:?} in {prefixed:?}");
        }
    });
}

#[test]
fn half_a_line_comes_before_the_result_and_ends_behind_a_prefix() {
    fixture_outside(LIMIT, || {
        let rounds = |half: &str| {
            let rounds = (0..100).map(|round| format!("{half}{round}\n"));
            rounds.collect::<String>()
        };
        let raw = String::from_utf8(printed(&mut faulty("halves"), "raw")).unwrap();
        assert_eq!(raw, rounds("half") + "last");
        let prefixed = String::from_utf8(printed(&mut faulty("halves"), "prefixed")).unwrap();
        assert_eq!(prefixed, rounds("prints: half\n") + "prints: last\n");
    });
}

/// Standard error is unbuffered: this line is written in seven pieces.
#[function(max_workers = 1)]
fn complains(value: u64) -> u64 {
    eprintln!("of {value} it is {value} that {value} is");
    value
}

/// Prints a line in two halves, the second one when the file appears.
#[function(max_workers = 1, concurrency = 2)]
async fn prints_in_halves(go_on: Option<PathBuf>) {
    let Some(go_on) = go_on else { return };
    eprint!("one half, ");
    while !go_on.exists() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    eprintln!("the other half");
}

/// Returns the lines that a function printed, up to the end of this many of its calls.
fn lines_of(events: &mut Events, name: &str, calls: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut finished = 0;
    while finished < calls {
        let event = events.next_timeout(LIMIT).expect("the end of a call");
        match event.kind {
            EventKind::Output { line, .. } if event.function == name => lines.push(line),
            EventKind::Finished { .. } if event.function == name => finished += 1,
            _ => {}
        }
    }
    lines
}

#[retry_runtime::test]
fn a_line_that_another_call_is_still_printing_is_not_cut() {
    fixture_under(&Conditions::ALL, LIMIT, serves, || {
        let mut events = events();
        let calls = 3_000;
        assert!(
            complains
                .map(0..calls as u64)
                .into_iter()
                .all(|result| result.is_ok())
        );
        let lines = lines_of(&mut events, complains.name(), calls);
        assert_eq!(lines.len(), calls);
        for (value, line) in lines.iter().enumerate() {
            assert_eq!(*line, format!("of {value} it is {value} that {value} is"));
        }

        let directory = tempfile::tempdir().unwrap();
        let go_on = directory.path().join("go on");
        let first = prints_in_halves.spawn(Some(go_on.clone()));
        for _ in 0..20 {
            prints_in_halves.remote(None).wait().unwrap();
        }
        std::fs::write(&go_on, "").unwrap();
        first.wait().unwrap();
        let lines = lines_of(&mut events, prints_in_halves.name(), 21);
        assert_eq!(lines, ["one half, the other half"]);
    });
}

// E4
#[test]
fn lines_of_sixteen_workers_do_not_mix() {
    fixture_outside(LIMIT, || {
        // Lines longer than 64 KiB are passed on in pieces.
        let length = 60_000;
        let text = printed(faulty("letters").arg(length.to_string()), "raw");
        let lines: Vec<&[u8]> = text
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
            .collect();
        assert_eq!(lines.len(), 16 * 20);
        for line in lines {
            assert_eq!(line.len(), length);
            assert!(line.iter().all(|byte| *byte == line[0]));
        }
    });
}

/// Prints bytes that look like a message of the protocol: a header that announces much data, or none.
#[function(max_workers = 1)]
fn prints_messages(round: u8) -> u8 {
    for stream in 0..2 {
        for kind in 0..16 {
            let mut header = vec![0, 0, 0, 1, kind, 0, 0, 0, round];
            header.resize(40, round);
            header.push(b'\n');
            match stream {
                0 => std::io::stdout().write_all(&header).unwrap(),
                _ => std::io::stderr().write_all(&header).unwrap(),
            }
        }
    }
    round
}

// E5
#[retry_runtime::test]
fn output_cannot_be_taken_for_a_message() {
    fixture(LIMIT, serves, || {
        for round in 0..20 {
            assert_eq!(prints_messages.remote(round).wait().unwrap(), round);
        }
    });
}

/// Closes its streams, which must have no effect on the pool.
#[function(single_use_workers)]
fn closes_its_streams(value: u64) -> u64 {
    for stream in 0..3 {
        close_descriptor(stream);
    }
    // The descriptor of standard output now refers to an unrelated file.
    let file = std::fs::File::open("/dev/null").unwrap();
    let _ = std::io::stdout().write_all(b"lost\n");
    drop(file);
    value
}

// E6
#[retry_runtime::test]
fn a_worker_that_closes_its_streams_still_answers() {
    fixture(LIMIT, serves, || {
        for value in 0..5 {
            assert_eq!(closes_its_streams.remote(value).wait().unwrap(), value);
        }
    });
}

#[function(single_use_workers)]
fn prints_into(file: PathBuf) -> u64 {
    let file = std::fs::File::create(file).unwrap();
    rustix::stdio::dup2_stdout(&file).unwrap();
    println!("into the file");
    3
}

// E8
#[retry_runtime::test]
fn a_worker_may_put_a_file_in_the_place_of_its_output() {
    fixture(LIMIT, serves, || {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert_eq!(prints_into.remote(file.path().into()).wait().unwrap(), 3);
        let text = std::fs::read_to_string(file.path()).unwrap();
        assert_eq!(text, "into the file\n");
    });
}

#[function(at_most_once)]
fn starts_a_session() {
    Command::new("setsid")
        .args(["sleep", "600"])
        .status()
        .unwrap();
}

// E11
#[retry_runtime::test]
fn a_session_that_a_function_starts_ends_with_its_worker() {
    fixture(LIMIT, serves, || {
        let asleep = || {
            let descendants = descendants();
            let mut alive = descendants.iter().filter(|process| !process.is_zombie());
            alive.any(|process| process.name == "sleep")
        };
        let call = starts_a_session.spawn();
        eventually("it has started", Duration::from_secs(20), asleep);
        call.cancel();
        assert!(call.wait().is_err());
        eventually("it is gone", Duration::from_secs(20), || !asleep());
    });
}

// E12
#[test]
fn a_reader_that_goes_away_does_no_harm() {
    fixture_outside(LIMIT, || {
        let mut process = faulty("letters")
            .arg("10000")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut stdout = BufReader::new(process.stdout.take().unwrap());
        stdout.read_line(&mut line).unwrap();
        assert!(line.starts_with("prints_letters"), "{line}");
        drop(stdout);
        let output = process.wait_with_output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
        assert!(output.status.success());
    });
}

/// Returns possible standard outputs of a program: the reader's end, and the program's end.
fn streams() -> Vec<(&'static str, File, OwnedFd)> {
    let file = |end: OwnedFd| File::from(end);
    let (pipe, theirs) = std::io::pipe().unwrap();
    let mut all = vec![("a pipe", file(pipe.into()), theirs.into())];

    // Set `O_NONBLOCK`, as another holder of the descriptor may have done.
    let (pipe, theirs) = std::io::pipe().unwrap();
    rustix::io::ioctl_fionbio(&theirs, true).unwrap();
    all.push((
        "a pipe that does not block",
        file(pipe.into()),
        theirs.into(),
    ));

    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("fifo");
    mkfifoat(rustix::fs::CWD, &path, Mode::RUSR | Mode::WUSR).unwrap();
    let no_wait = i32::try_from(OFlags::NONBLOCK.bits()).unwrap();
    let mut options = File::options();
    let named = options.read(true).custom_flags(no_wait).open(&path);
    let named = named.unwrap();
    let theirs = File::options().write(true).open(&path).unwrap();
    rustix::io::ioctl_fionbio(&named, false).unwrap();
    all.push(("a named pipe", named, theirs.into()));

    let (socket, theirs) = UnixStream::pair().unwrap();
    all.push(("a socket", file(socket.into()), theirs.into()));

    let (screen, path) = terminal();
    let theirs = open_terminal(&path);
    all.push(("a terminal", screen, theirs.into()));
    all
}

/// Returns the next line without its line ending.
fn line(reader: &mut impl BufRead) -> String {
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    line.trim_end().to_owned()
}

/// Asserts that this is the complete output of both calls of `prints_numbered`, each in its own order.
#[track_caller]
fn assert_numbered(text: &[u8], lines: usize) {
    let text = std::str::from_utf8(text).unwrap();
    let (mut a, mut b) = (0, 0);
    for line in text.lines() {
        let Some(rest) = line.strip_prefix("prints_numbered: ") else {
            assert_eq!(line, "sleeps: sleeping");
            continue;
        };
        let parts: Vec<&str> = rest.split(' ').collect();
        let [letter, number, filling] = parts[..] else {
            panic!("{line}");
        };
        let count = if letter == "a" { &mut a } else { &mut b };
        assert_eq!(number, count.to_string(), "{line}");
        let length = if *count % 10 == 0 { 9000 } else { 70 };
        assert_eq!(filling, letter.repeat(length));
        *count += 1;
    }
    assert_eq!((a, b), (lines, lines));
}

/// Reads until all writers have closed the stream; a terminal reports that as an error.
fn read_all(stream: &mut impl Read) -> Vec<u8> {
    let mut text = Vec::new();
    let _ = stream.read_to_end(&mut text);
    text
}

#[test]
fn an_unread_stream_holds_up_no_result_and_loses_nothing() {
    fixture_outside(LIMIT, || {
        for (kind, mut ours, theirs) in streams() {
            let mut process = faulty("full")
                .arg("250")
                .stdin(Stdio::piped())
                .stdout(theirs)
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            let mut report = BufReader::new(process.stderr.take().unwrap());
            assert_eq!(line(&mut report), "printed", "{kind}");
            assert_eq!(line(&mut report), "Some(5)", "{kind}");
            let stopped = line(&mut report);
            assert!(stopped.contains("timed out"), "{kind}: {stopped}");
            let reading = std::thread::spawn(move || read_all(&mut ours));
            // All pending output is written before the program has ended.
            drop(process.stdin.take());
            assert_numbered(&reading.join().unwrap(), 250);
            assert!(process.wait().unwrap().success(), "{kind}");
        }
    });
}

#[test]
fn only_the_worker_that_prints_too_much_waits_for_the_reader() {
    fixture_outside(LIMIT, || {
        let mut process = faulty("overfull")
            .arg("64")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdout = process.stdout.take().unwrap();
        let mut report = BufReader::new(process.stderr.take().unwrap());
        assert_eq!(line(&mut report), "450");
        let reading = std::thread::spawn(move || read_all(&mut stdout).len());
        // `Some(64) MiB, 5344 kB, 5380 kB`: the peak resident memory before, and the overall peak.
        let end = line(&mut report);
        let numbers: Vec<usize> = end
            .split(|letter: char| !letter.is_ascii_digit())
            .filter_map(|number| number.parse().ok())
            .collect();
        assert_eq!(numbers[0], 64, "{end}");
        assert!(numbers[2] - numbers[1] < 8 * 1024, "{end}");
        let total = reading.join().unwrap();
        assert!(total > 64 << 20, "{total}");
        assert!(process.wait().unwrap().success());
    });
}

#[test]
fn the_end_of_a_program_waits_briefly_for_an_unread_stream() {
    fixture_outside(LIMIT, || {
        let begun = Instant::now();
        let mut process = faulty("full")
            .arg("250")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // The stream is held open, but not read.
        let stdout = process.stdout.take().unwrap();
        assert!(process.wait().unwrap().success());
        drop(stdout);
        let took = begun.elapsed();
        assert!(took < Duration::from_secs(30), "{took:?}");
    });
}
