//! Under a test harness that captures output: output of workers is attributed to the test that made the call.
//!
//! The other tests run those whose names begin with `inner_`, in processes of their own. Without the variable
//! below the inner tests do nothing.

use std::process::Command;
use std::time::Duration;

use retry_runtime::{function, service};
use retry_tests::fixture_outside;

/// Set in the processes of the inner tests.
const ASKED: &str = "CAPTURED_ASKED";

fn is_asked() -> bool {
    std::env::var_os(ASKED).is_some()
}

const LIMIT: Duration = Duration::from_secs(120);

#[function(max_workers = 2)]
fn prints(whose: String, number: u64) -> u64 {
    println!("{whose} prints {number}");
    eprint!("{whose} complains {number}");
    number
}

#[function(max_workers = 1)]
fn panics(whose: String) {
    let caught = std::panic::catch_unwind(|| panic!("the panic of {whose}"));
    assert!(caught.is_err());
}

#[function(max_workers = 2, concurrency = 4)]
async fn awaits(whose: String) {
    println!("{whose} awaits");
    tokio::task::yield_now().await;
}

#[function(max_workers = 1, at_most_once)]
fn dies(whose: String) {
    println!("{whose} dies");
    std::process::abort();
}

#[function(max_workers = 2)]
fn outer(whose: String) {
    prints
        .remote(format!("nested by {whose}"), 7)
        .wait()
        .unwrap();
}

struct Printer;

#[service(max_workers = 1)]
impl Printer {
    #[setup]
    fn new() -> Self {
        println!("the printer is set up");
        Self
    }

    #[method]
    fn print(&self, whose: String) {
        println!("{whose} prints by the printer");
    }
}

/// One test at a time: otherwise the output of a worker that executes several calls cannot be attributed to a
/// test.
const ONE: &str = "--test-threads=1";

fn calls(whose: &str) {
    let inputs = (0..3).map(|number| (whose.to_owned(), number));
    assert!(prints.map(inputs).into_iter().all(|result| result.is_ok()));
    let whose = whose.to_owned();
    prints.remote(whose.clone(), 3).wait().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| prints.remote(whose.clone(), 4).wait().unwrap());
    });
    if std::env::args().any(|argument| argument == ONE) {
        awaits.remote(whose.clone()).wait().unwrap();
    }
    outer.remote(whose.clone()).wait().unwrap();
    Printer::with().print.remote(whose.clone()).wait().unwrap();
    panics.remote(whose.clone()).wait().unwrap();
    assert!(dies.remote(whose).wait().is_err());
}

/// Other tests can also make calls, once one of the tests above has run.
#[test]
fn inner_plain() {
    if is_asked() {
        if std::env::args().any(|argument| argument == ONE) {
            prints.remote("the plain one".to_owned(), 6).wait().unwrap();
        }
        panic!("it fails");
    }
}

#[retry_runtime::test]
fn inner_good() {
    if is_asked() {
        calls("the good one");
    }
}

#[retry_runtime::test]
fn inner_bad() {
    if is_asked() {
        calls("the bad one");
        panic!("it fails");
    }
}

#[retry_runtime::test]
async fn inner_worse() {
    if is_asked() {
        // These calls block the only thread of the test's runtime, where nothing else runs.
        tokio::task::unconstrained(async { calls("the worse one") }).await;
        let whose = "the worse one".to_owned();
        prints.remote(whose, 5).await.unwrap();
        panic!("it fails");
    }
}

/// Runs the inner tests and returns the output of the harness.
fn run(arguments: &[&str]) -> String {
    let output = Command::new(std::env::current_exe().unwrap())
        .arg("captured::inner_")
        .args(arguments)
        .env("RUST_BACKTRACE", "0")
        .env(ASKED, "")
        .output()
        .unwrap();
    assert!(!output.status.success());
    // All output is captured by the harness.
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    String::from_utf8(output.stdout).unwrap()
}

/// Returns the output that the harness shows for a failed test.
fn shown<'a>(text: &'a str, test: &str) -> &'a str {
    let beginning = format!("---- {test} stdout ----\n");
    let (_, rest) = text
        .split_once(&beginning)
        .unwrap_or_else(|| panic!("{text}"));
    let end = rest.find("\n---- ").or_else(|| rest.find("\nfailures:"));
    &rest[..end.unwrap()]
}

#[track_caller]
fn assert_shows(shown: &str, whose: &str) {
    for number in 0..5 {
        let index = if number < 3 {
            format!("[{number}]")
        } else {
            String::new()
        };
        for what in ["prints", "complains"] {
            let line = format!("prints{index}: {whose} {what} {number}\n");
            assert_eq!(shown.matches(&line).count(), 1, "{line}: {shown}");
        }
    }
    for line in [
        format!("prints: nested by {whose} prints 7\n"),
        format!("Printer: {whose} prints by the printer\n"),
        format!("panics: the panic of {whose}\n"),
        format!("dies: {whose} dies\n"),
    ] {
        assert!(shown.contains(&line), "{line}: {shown}");
    }
}

#[test]
fn output_of_workers_is_shown_with_the_failed_test_only() {
    fixture_outside(LIMIT, || {
        for threads in ["--test-threads=3", ONE] {
            let text = run(&[threads]);
            let bad = shown(&text, "captured::inner_bad");
            assert_shows(bad, "the bad one");
            assert!(
                !bad.contains("the worse one") && !bad.contains("the good one"),
                "{text}"
            );
            let worse = shown(&text, "captured::inner_worse");
            assert_shows(worse, "the worse one");
            assert!(worse.contains("prints: the worse one prints 5\n"), "{text}");
            assert!(
                !worse.contains("the bad one") && !worse.contains("the good one"),
                "{text}"
            );
            if threads == ONE {
                let plain = shown(&text, "captured::inner_plain");
                assert!(plain.contains("prints: the plain one prints 6\n"), "{text}");
                assert!(bad.contains("awaits: the bad one awaits\n"), "{text}");
                assert!(worse.contains("awaits: the worse one awaits\n"), "{text}");
            }
            // The output of the passing test is not shown at all.
            assert!(!text.contains("the good one"), "{text}");
        }
    });
}

#[test]
fn with_nocapture_output_of_workers_goes_to_the_streams() {
    fixture_outside(LIMIT, || {
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["captured::inner_good", "--nocapture"])
            .env(ASKED, "")
            .output()
            .unwrap();
        assert!(output.status.success());
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(
            text.contains("prints[2]: the good one prints 2\n"),
            "{text}"
        );
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(
            text.contains("prints[2]: the good one complains 2\n"),
            "{text}"
        );
    });
}

#[test]
fn a_panic_in_a_worker_carries_the_name_of_the_function() {
    fixture_outside(LIMIT, || {
        let text = run(&[ONE]);
        let name = panics.name();
        let all = text.matches("panics: thread '").count();
        let named = text.matches(&format!("panics: thread '{name}' ")).count();
        // Both failed tests show their output.
        assert_eq!((all, named), (2, 2), "{text}");
    });
}
