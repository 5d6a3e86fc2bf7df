//! The stream of events: its content for each call, its order, and its completeness.

use std::collections::BTreeMap;
use std::panic::{self, AssertUnwindSafe};
use std::time::{Duration, Instant};

use retry_runtime::{
    AttemptOutcome, CallId, CallOutcome, CrashLimit, Event, EventKind, Events, ExitCause, Options,
    Retries, Stream, events, function,
};
use retry_tests::{fixture, kill_child};
use rustix::process::{Signal, getpid, kill_process};

const LIMIT: Duration = Duration::from_secs(120);

const KILLED: ExitCause = ExitCause::Signal {
    signal: 9,
    core_dumped: false,
};

#[function(
    max_workers = 1,
    retries = Retries::fixed(1, Duration::ZERO),
    crash_limit = CrashLimit::unlimited()
)]
fn acts(how: &str) -> Result<u32, String> {
    let attempt = retry_runtime::current().unwrap().attempt();
    match how {
        "fails once" if attempt == 1 => Err("not yet".to_owned()),
        "fails" => Err("never".to_owned()),
        "panics once" if attempt == 1 => panic!("not yet"),
        "dies once" if attempt == 1 => die(),
        "dies" => die(),
        "hangs once" if attempt == 1 => loop {
            std::thread::sleep(LIMIT);
        },
        "prints" => {
            println!("out");
            eprintln!("err");
            Ok(attempt)
        }
        _ => Ok(attempt),
    }
}

fn die() -> ! {
    loop {
        kill_process(getpid(), Signal::KILL).expect("it is our own process");
    }
}

#[function(max_workers = 2)]
fn echo(value: u64) -> u64 {
    value
}

fn serves() -> bool {
    acts.remote("").wait().is_ok()
}

/// An event without the parts that differ from run to run.
#[derive(Clone, Debug, PartialEq)]
enum Seen {
    Queued,
    Started(u32),
    Slow(u32),
    Failed(u32, AttemptOutcome),
    Retrying(Duration),
    Finished(bool),
    Starting,
    Up,
    Down(ExitCause),
    Output(Stream, String),
}

use Seen::*;

fn describe(event: &Event) -> (&'static str, Option<CallId>, Option<u32>, Seen) {
    let attempt = || event.attempt.expect("the number of the attempt");
    let seen = match event.kind.clone() {
        EventKind::Queued => Queued,
        EventKind::Started { .. } => Started(attempt()),
        EventKind::Slow { .. } => Slow(attempt()),
        EventKind::AttemptFailed { outcome, .. } => Failed(attempt(), outcome),
        EventKind::Retrying { delay, .. } => Retrying(delay),
        EventKind::Finished { outcome, .. } => Finished(outcome == CallOutcome::Succeeded),
        EventKind::WorkerStarting => Starting,
        EventKind::WorkerUp { .. } => Up,
        EventKind::WorkerDown { cause, .. } => Down(cause),
        EventKind::Output { stream, line, .. } => Output(stream, line),
        other => panic!("an event that this test does not know: {other:?}"),
    };
    (event.function, event.call, event.worker_pid, seen)
}

/// Returns the events of one function up to the end of a call.
fn until_finished(events: &mut Events, of: &str) -> Vec<Seen> {
    let mut seen = Vec::new();
    loop {
        let event = events.next_timeout(LIMIT).expect("the call's end");
        let (function, _, _, event) = describe(&event);
        // A worker is started on another thread, so its place in the order may vary.
        if function != of || event == Starting {
            continue;
        }
        let last = matches!(event, Finished(_));
        seen.push(event);
        if last {
            return seen;
        }
    }
}

/// Returns the events of a call of `acts` from its beginning to its end, when its worker is up.
fn told(how: &str) -> Vec<Seen> {
    let mut stream = events();
    let _ = acts.remote(how).wait();
    until_finished(&mut stream, acts.name())
}

#[retry_runtime::test]
fn a_call_that_succeeds_is_queued_started_and_finished() {
    fixture(LIMIT, serves, || {
        assert_eq!(told(""), [Queued, Started(1), Finished(true)]);
    });
}

/// Returns whether an event is neither a panic's own message nor of the worker that replaces the one that panicked,
/// which may end at any time after that.
fn is_of_a_call(event: &Seen) -> bool {
    !matches!(event, Output(..) | Up | Down(_))
}

#[retry_runtime::test]
fn a_retry_tells_how_the_attempt_failed_and_what_it_waits_for() {
    fixture(LIMIT, serves, || {
        for (how, outcome, succeeded) in [
            ("fails once", AttemptOutcome::Failed, true),
            ("panics once", AttemptOutcome::Panicked, true),
            ("fails", AttemptOutcome::Failed, false),
        ] {
            let mut expected = vec![
                Queued,
                Started(1),
                Failed(1, outcome.clone()),
                Retrying(Duration::ZERO),
                Started(2),
            ];
            if !succeeded {
                expected.push(Failed(2, outcome));
            }
            expected.push(Finished(succeeded));
            let mut seen = told(how);
            seen.retain(is_of_a_call);
            assert_eq!(seen, expected);
        }
        let delay = Duration::from_millis(30);
        let mut stream = events();
        let patient = acts.with_options(Options::new().retries(Retries::fixed(1, delay)));
        assert_eq!(patient.remote("fails once").wait().unwrap(), 2);
        let mut seen = until_finished(&mut stream, acts.name());
        seen.retain(is_of_a_call);
        assert_eq!(seen[2], Failed(1, AttemptOutcome::Failed));
        assert_eq!(seen[3], Retrying(delay));
    });
}

#[retry_runtime::test]
fn a_crash_tells_its_cause_between_the_two_workers() {
    fixture(LIMIT, serves, || {
        let crashed = |attempt| Failed(attempt, AttemptOutcome::Crashed(KILLED));
        let again = Retrying(Duration::ZERO);
        let expected = [
            Queued,
            Started(1),
            Down(KILLED),
            crashed(1),
            again.clone(),
            Up,
            Started(2),
            Finished(true),
        ];
        assert_eq!(told("dies once"), expected);
        let expected = [
            Queued,
            Started(1),
            Down(KILLED),
            crashed(1),
            again.clone(),
            Up,
            Started(2),
            Down(KILLED),
            crashed(2),
            again,
            Up,
            Started(3),
            Down(KILLED),
            crashed(3),
            Finished(false),
        ];
        assert_eq!(told("dies"), expected);
    });
}

#[retry_runtime::test]
fn a_timeout_that_is_retried_is_a_retry_and_no_crash() {
    fixture(LIMIT, serves, || {
        let mut stream = events();
        let hurried = acts.with_options(Options::new().timeout(Duration::from_millis(100)));
        assert_eq!(hurried.remote("hangs once").wait().unwrap(), 2);
        let mut seen = until_finished(&mut stream, acts.name());
        // A loaded machine may look too late for the first attempt, and hold up the second one.
        let slow: Vec<_> = seen
            .extract_if(.., |event| matches!(event, Slow(_)))
            .collect();
        assert!(
            [vec![], vec![Slow(1)], vec![Slow(2)], vec![Slow(1), Slow(2)]].contains(&slow),
            "{slow:?}"
        );
        // The next worker does not wait until the killed one has exited: the killed one goes down at some
        // time after the retry, possibly after the end of the call.
        let down = seen.iter().position(|event| *event == Down(KILLED));
        match down {
            Some(position) => {
                assert!(position > 3, "{seen:?}");
                seen.remove(position);
            }
            None => loop {
                let event = describe(&stream.next_timeout(LIMIT).expect("an event"));
                if event.0 == acts.name() && event.3 != Starting {
                    assert_eq!(event.3, Down(KILLED));
                    break;
                }
            },
        }
        let outcome = AttemptOutcome::TimedOut(Duration::from_millis(100));
        let expected = [
            Queued,
            Started(1),
            Failed(1, outcome),
            Retrying(Duration::ZERO),
            Up,
            Started(2),
            Finished(true),
        ];
        assert_eq!(seen, expected);
    });
}

#[retry_runtime::test]
fn events_are_not_waited_for_on_the_thread_of_a_runtime() {
    fixture(LIMIT, serves, || {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        runtime.unwrap().block_on(async {
            let mut events = events();
            let waited = panic::catch_unwind(AssertUnwindSafe(|| events.next_timeout(LIMIT)));
            let message = *waited.unwrap_err().downcast::<String>().unwrap();
            assert!(
                message.starts_with("`.next_timeout(timeout)` would block a thread"),
                "{message}"
            );
            let waited = panic::catch_unwind(AssertUnwindSafe(|| events.next()));
            let message = *waited.unwrap_err().downcast::<String>().unwrap();
            assert!(message.contains("write `events.recv().await`"), "{message}");
            // This does not block.
            let _ = events.next_timeout(Duration::ZERO);
        });
    });
}

#[retry_runtime::test]
fn the_death_of_an_idle_worker_and_its_replacement_have_events() {
    fixture(LIMIT, serves, || {
        let mut stream = events();
        assert_eq!(acts.remote("").wait().unwrap(), 1);
        let mut own = || loop {
            let event = describe(&stream.next_timeout(LIMIT).expect("an event"));
            if event.0 == acts.name() && event.3 != Starting {
                return (event.2, event.3);
            }
        };
        assert_eq!(own(), (None, Queued));
        let (first, _) = own();
        assert_eq!(own(), (first, Finished(true)));
        assert!(kill_child(first.expect("a worker")));
        assert_eq!(own(), (first, Down(KILLED)));
        assert_eq!(acts.remote("").wait().unwrap(), 1);
        assert_eq!(own(), (None, Queued));
        let (second, up) = own();
        assert_eq!(up, Up);
        assert_ne!(first, second);
        assert_eq!(own(), (second, Started(1)));
        assert_eq!(own(), (second, Finished(true)));
    });
}

#[retry_runtime::test]
fn output_of_a_worker_comes_before_the_end_of_its_call() {
    fixture(LIMIT, serves, || {
        let seen = told("prints");
        let mut lines: Vec<_> = seen[2..seen.len() - 1].to_vec();
        // The two streams are two pipes: their relative order is unspecified.
        lines.sort_by_key(|line| format!("{line:?}"));
        let expected = [
            Output(Stream::Stderr, "err".to_owned()),
            Output(Stream::Stdout, "out".to_owned()),
        ];
        assert_eq!(lines, expected);
        assert_eq!(seen[..2], [Queued, Started(1)]);
        assert_eq!(seen.last(), Some(&Finished(true)));
    });
}

/// Checks the invariants of the events of any call. A call that was sent to a worker and recalled is sent
/// again under the same number.
fn assert_well_formed(call: CallId, seen: &[Seen]) {
    let (Some(Queued), Some(Finished(_))) = (seen.first(), seen.last()) else {
        panic!("{call}: {seen:?}");
    };
    let (mut attempt, mut handed_out) = (1, false);
    for event in &seen[1..seen.len() - 1] {
        match event {
            Started(number) => {
                assert_eq!(*number, attempt, "{call}: {seen:?}");
                handed_out = true;
            }
            Failed(number, _) => {
                assert!(handed_out && *number == attempt, "{call}: {seen:?}");
                attempt += 1;
                handed_out = false;
            }
            Retrying(_) => assert!(!handed_out && attempt > 1, "{call}: {seen:?}"),
            _ => panic!("{call}: {seen:?}"),
        }
    }
}

#[retry_runtime::test]
fn no_event_is_lost_below_the_backlog_and_calls_are_in_order() {
    fixture(LIMIT, serves, || {
        let mut stream = events();
        let inputs = (0..700).map(|input| match input % 70 {
            3 | 40 => "fails once".to_owned(),
            20 => "panics once".to_owned(),
            11 | 60 => "dies once".to_owned(),
            _ => String::new(),
        });
        assert!(acts.map(inputs).into_iter().all(|result| result.is_ok()));
        assert!(echo.map(0..15_000).into_iter().all(|result| result.is_ok()));
        // No event has been read so far.
        let mut calls: BTreeMap<(&str, CallId), Vec<Seen>> = BTreeMap::new();
        while let Some(event) = stream.try_next() {
            let (function, call, _, event) = describe(&event);
            if let Some(call) = call {
                calls.entry((function, call)).or_default().push(event);
            }
        }
        let of = |name: &str| {
            let calls = calls.iter().filter(|((function, _), _)| *function == name);
            calls.collect::<Vec<_>>()
        };
        assert_eq!(of(acts.name()).len(), 700);
        assert_eq!(of(echo.name()).len(), 15_000);
        for ((_, call), seen) in of(acts.name()).into_iter().chain(of(echo.name())) {
            assert_well_formed(*call, seen);
        }
    });
}

#[retry_runtime::test]
fn a_subscriber_that_does_not_read_slows_nothing_down() {
    let round = || {
        let begun = Instant::now();
        assert!(echo.map(0..30_000).into_iter().all(|result| result.is_ok()));
        begun.elapsed()
    };
    fixture(LIMIT, serves, || {
        let mut reader = events();
        let reading = std::thread::spawn(move || {
            let mut finished = 0;
            while finished < 90_000 {
                let event = reader.next_timeout(LIMIT).expect("the end of a call");
                let (function, _, _, event) = describe(&event);
                finished += u32::from(function == echo.name() && matches!(event, Finished(_)));
            }
        });
        let read = (0..3).map(|_| round()).min().unwrap();
        reading.join().unwrap();
        // Three times as many events as the backlog holds, counted from the first round on.
        let unread = events();
        let ignored = (0..3).map(|_| round()).min().unwrap();
        drop(unread);
        eprintln!("30 000 calls: {read:?} with a reader, {ignored:?} with one that does not read");
        assert!(
            ignored < read * 2 + Duration::from_secs(1),
            "{ignored:?}, {read:?}"
        );
    });
}
