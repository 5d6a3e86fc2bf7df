//! Spans of calls, and spans and events of workers, as the program's subscriber gets them.

use std::fmt::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use retry_tests::{example, fixture_outside};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(120);

/// Returns the program that does one thing under a subscriber that records everything.
fn recording(action: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_recording"));
    command.arg(action).stdin(Stdio::null());
    command.env_remove("RUST_LOG");
    command
}

fn output(mut command: Command) -> (String, String) {
    let output = command.output().unwrap();
    let err = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{:?}: {err}", output.status);
    (String::from_utf8(output.stdout).unwrap(), err)
}

/// The records that a subscriber got, in order.
struct Recorded(Vec<Value>);

impl Recorded {
    /// Runs a program, and checks that each span closes once, after everything that is recorded in it.
    fn of(command: Command) -> Self {
        let (out, _) = output(command);
        let lines: Vec<Value> = out
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let mut open = Vec::new();
        for (number, line) in lines.iter().enumerate() {
            let is_open = |span: &Value| match span.as_u64() {
                None => true,
                Some(span) => open.contains(&span) || lines[span as usize]["name"] == "worker",
            };
            assert!(is_open(&line["parent"]) && is_open(&line["span"]), "{line}");
            match line["kind"].as_str().unwrap() {
                // The worker is still there.
                "open" if line["name"] == "worker" => {}
                "open" => open.push(number as u64),
                "close" => open.retain(|span| *span != line["span"].as_u64().unwrap()),
                _ => {}
            }
        }
        assert!(open.is_empty(), "these spans stay open: {open:?}");
        Self(lines)
    }

    fn children(&self, parent: Option<usize>) -> impl Iterator<Item = (usize, &Value)> {
        let is_child = move |(_, line): &(usize, &Value)| {
            let named = matches!(line["kind"].as_str(), Some("open" | "event"));
            named && line["parent"].as_u64() == parent.map(|parent| parent as u64)
        };
        self.0.iter().enumerate().filter(is_child)
    }

    /// Returns the later fields of a span.
    fn set(&self, span: usize) -> String {
        let mut text = String::new();
        for line in &self.0 {
            if line["kind"] == "set" && line["span"].as_u64() == Some(span as u64) {
                text.push_str(" +");
                text.push_str(&fields(line));
            }
        }
        text
    }

    /// Returns spans and events as an indented list, without process ids.
    fn tree(&self) -> String {
        let mut text = String::new();
        self.write(None, 0, &mut text);
        text
    }

    fn write(&self, parent: Option<usize>, depth: usize, text: &mut String) {
        for (number, line) in self.children(parent) {
            let indent = "  ".repeat(depth);
            if line["kind"] == "event" {
                let (level, target) = (line["level"].as_str().unwrap(), &line["target"]);
                let target = target.as_str().unwrap();
                writeln!(text, "{indent}{level} {target}{}", fields(line)).unwrap();
            } else {
                let name = line["name"].as_str().unwrap();
                let set = self.set(number);
                // Which attempts are handed to another worker before they begin depends on the time.
                if set.contains("recalled") {
                    continue;
                }
                writeln!(text, "{indent}[{name}]{}{set}", fields(line)).unwrap();
                self.write(Some(number), depth + 1, text);
            }
        }
    }

    fn events(&self) -> impl Iterator<Item = &Value> {
        self.0.iter().filter(|line| line["kind"] == "event")
    }
}

fn fields(line: &Value) -> String {
    let fields = line["fields"].as_object().unwrap().iter();
    let fields = fields.filter(|(name, _)| !matches!(name.as_str(), "pid" | "worker"));
    fields
        .map(|(name, value)| format!(" {name}={value}"))
        .collect::<String>()
        .replace('"', "")
}

/// Returns the span of `work` and its events.
fn step(number: u64) -> String {
    format!(
        "      [step] number={number} + done=true
        INFO work::begin flag=true half={{f64:0.5}} message=begins negative={{i64:-1}} number={number}
        DEBUG recording error={{error:[no memory]}} list=[1, 2] message=has details name={{str:n}}
"
    )
}

fn map_tree() -> String {
    let [zero, one, two] = [0, 1, 2].map(step);
    format!(
        "[caller]
  [call] function={{str:recording::work}} index=0 + outcome={{str:succeeded}}
    [attempt] attempt=1 + outcome={{str:succeeded}}
{zero}      WARN recording message=ends
  [call] function={{str:recording::work}} index=1 + outcome={{str:succeeded}}
    [attempt] attempt=1 + outcome={{str:failed}} + error={{str:not yet}}
{one}    [attempt] attempt=2 + outcome={{str:succeeded}}
{one}      WARN recording message=ends
  [call] function={{str:recording::work}} index=2 + outcome={{str:panicked}} + error={{str:never}}
    [attempt] attempt=1 + outcome={{str:panicked}} + error={{str:never}}
{two}    [attempt] attempt=2 + outcome={{str:panicked}} + error={{str:never}}
{two}  INFO recording message=done results=[true, true, false]
"
    )
}

#[test]
fn a_map_with_a_retry_and_a_panic_is_a_tree_of_spans() {
    fixture_outside(LIMIT, || {
        for transport in ["rings", "socket"] {
            let mut command = recording("map");
            command.env("RETRY_TRANSPORT", transport);
            let recorded = Recorded::of(command);
            assert_eq!(recorded.tree(), map_tree());
            for line in &recorded.0 {
                // Records of workers have their own times, the program's have none.
                let of_worker = match line["kind"].as_str().unwrap() {
                    "event" => line["fields"]["results"].is_null(),
                    _ => continue,
                };
                let delay = line["delay"].as_u64();
                assert_eq!(delay.is_some(), of_worker, "{line}");
                assert!(delay.is_none_or(|micros| micros < 60_000_000), "{line}");
            }
            let attempts = recorded.0.iter().filter(|line| line["name"] == "attempt");
            let workers: Vec<_> = attempts
                .map(|line| {
                    (
                        line["fields"]["worker"].as_str().unwrap(),
                        &line["fields"]["pid"],
                    )
                })
                .collect();
            // A retry after a panic runs in another worker.
            let [(first, pid), .., (last, other)] = workers[..] else {
                panic!("{workers:?}");
            };
            assert_eq!((first, last), ("w1", "w2"));
            assert!(pid.as_u64() > Some(0) && pid != other);
        }
    });
}

#[test]
fn inline_attempts_record_under_the_same_spans() {
    fixture_outside(LIMIT, || {
        let mut command = recording("map");
        command.env("RETRY_ENGINE", "inline");
        assert_eq!(Recorded::of(command).tree(), map_tree());
    });
}

#[test]
fn rust_log_filters_inside_of_workers() {
    fixture_outside(LIMIT, || {
        let mut command = recording("map");
        // The recorder of the program does not know the variable.
        command.env(
            "RUST_LOG",
            "recording=warn,work=info,[step{number=1}]=debug",
        );
        let tree = Recorded::of(command).tree();
        let count = |text: &str| tree.matches(text).count();
        // Two inputs have two attempts.
        assert_eq!(count("INFO work::begin"), 5, "{tree}");
        // A level for a span with a certain field.
        let details = "      [step] number=1 + done=true
        INFO work::begin flag=true half={f64:0.5} message=begins negative={i64:-1} number=1
        DEBUG recording";
        assert_eq!((count(details), count("DEBUG")), (2, 2), "{tree}");

        let mut command = recording("filtered");
        command.env("RUST_LOG", "warn,[step{number=1}]=debug");
        let tree = Recorded::of(command).tree();
        assert!(!tree.contains("[call]"), "{tree}");
        assert_eq!(tree.matches("DEBUG recording").count(), 2, "{tree}");

        // The program's own level holds as well.
        let mut command = recording("map");
        command.env("RUST_LOG", "trace").env("LEVEL", "warn");
        let tree = Recorded::of(command).tree();
        let warnings = "WARN recording message=ends\n".repeat(2);
        assert_eq!(tree, warnings);
    });
}

#[test]
fn workers_record_as_much_as_the_program() {
    fixture_outside(LIMIT, || {
        let (out, _) = output(recording("level"));
        // The same worker at first records nothing: the program had no subscriber yet.
        assert_eq!(out, "off\ndebug\n");
        let mut command = recording("level");
        command.env("LEVEL", "warn");
        assert_eq!(output(command).0, "off\nwarn\n");
        let tree = Recorded::of(recording("late")).tree();
        assert_eq!(
            tree,
            "[call] function={str:recording::inner} + outcome={str:succeeded}
  [attempt] attempt=1 + outcome={str:succeeded}
    INFO recording message=inside
"
        );
    });
}

#[test]
fn a_crash_loses_no_event_before_it() {
    fixture_outside(LIMIT, || {
        let recorded = Recorded::of(recording("crash"));
        let attempt = |number| {
            format!(
                "    [attempt] attempt={number} + outcome={{str:crashed}}
      [dying] number=1
        ERROR recording message=goes number=1
"
            )
        };
        let expected = format!(
            "[caller]
  [call] function={{str:recording::die}} + outcome={{str:crashed}} + error={{str:SIGABRT (abort); an input is \
             given up after 3 crashes, whatever its `retries`}}
{}{}{}",
            attempt(1),
            attempt(2),
            attempt(3)
        );
        assert_eq!(recorded.tree(), expected);
    });
}

#[test]
fn a_nested_call_is_below_the_span_that_makes_it() {
    fixture_outside(LIMIT, || {
        for engine in ["processes", "inline"] {
            let mut command = recording("nested");
            if engine == "inline" {
                command.env("RETRY_ENGINE", engine);
            }
            let expected = "[caller]
  [call] function={str:recording::outer} + outcome={str:succeeded}
    [attempt] attempt=1 + outcome={str:succeeded}
      [outside]
        [call] function={str:recording::inner} + outcome={str:succeeded}
          [attempt] attempt=1 + outcome={str:succeeded}
            INFO recording message=inside
";
            assert_eq!(Recorded::of(command).tree(), expected, "{engine}");
        }
    });
}

#[test]
fn events_of_set_up_and_of_threads_arrive() {
    fixture_outside(LIMIT, || {
        let mut recorded = Recorded::of(recording("setup"));
        let tree = recorded.tree();
        let expected = "[call] function={str:recording::loaded} + outcome={str:succeeded}
  [attempt] attempt=1 + outcome={str:succeeded}
    INFO recording message=on a thread
[worker] function={str:recording::loaded}
  INFO recording message=loads
";
        assert_eq!(tree, expected);
        recorded.0.retain(|line| line["name"] == "worker");
        assert_eq!(recorded.0[0]["fields"]["worker"], "w1");
    });
}

#[test]
fn calls_at_once_in_one_worker_have_events_of_their_own() {
    fixture_outside(LIMIT, || {
        let recorded = Recorded::of(recording("concurrent"));
        assert_eq!(recorded.events().count(), 8);
        for event in recorded.events() {
            let attempt = &recorded.0[event["parent"].as_u64().unwrap() as usize];
            let call = &recorded.0[attempt["parent"].as_u64().unwrap() as usize];
            assert_eq!(event["fields"]["number"], call["fields"]["index"]);
        }
    });
}

#[test]
fn quick_calls_have_their_events_before_they_end() {
    fixture_outside(LIMIT, || {
        let recorded = Recorded::of(recording("many"));
        assert_eq!(recorded.events().count(), 500);
        let mut per_attempt = std::collections::HashMap::new();
        for event in recorded.events() {
            *per_attempt.entry(event["parent"].as_u64()).or_insert(0) += 1;
        }
        assert!(per_attempt.values().all(|events| *events == 1));
        assert_eq!(per_attempt.len(), 500);
    });
}

#[test]
fn a_subscriber_of_one_thread_gets_what_its_calls_record() {
    fixture_outside(LIMIT, || {
        for action in ["scoped", "runtime", "spawned"] {
            let recorded = Recorded::of(recording(action));
            let inside = recorded
                .events()
                .filter(|event| event["fields"]["message"] == "inside");
            let expected = if action == "runtime" { 4 } else { 1 };
            assert_eq!(inside.count(), expected, "{action}");
            let first = recorded.events().next().unwrap();
            let parent = &recorded.0[first["parent"].as_u64().unwrap() as usize];
            assert_eq!(parent["name"], "attempt");
        }
    });
}

#[test]
fn a_worker_may_have_a_subscriber_of_its_own() {
    fixture_outside(LIMIT, || {
        let mut command = recording("own");
        command.env("OWN_LOGGER", "1");
        let (out, err) = output(command);
        assert!(!out.contains("inside"), "{out}");
        assert!(err.contains("INFO recording: inside"), "{err}");
    });
}

#[test]
fn a_subscriber_that_blocks_on_the_caller_loses_nothing() {
    fixture_outside(LIMIT, || {
        let (out, _) = output(recording("locked"));
        let lines = out.lines().collect::<Vec<_>>();
        assert!(lines.contains(&"finished"));
        let chatter = lines.iter().filter(|line| line.contains("chatter line="));
        assert_eq!(chatter.count(), 4000);
    });
}

#[test]
fn a_subscriber_that_panics_harms_no_call() {
    fixture_outside(LIMIT, || {
        let recorded = Recorded::of(recording("panicking"));
        let calls = recorded.0.iter().filter(|line| line["name"] == "call");
        assert_eq!(calls.count(), 4);
        assert!(recorded.events().count() >= 2);
    });
}

/// The examples may have to be built first.
const BUILD: Duration = Duration::from_secs(600);

#[test]
fn the_example_of_logs_shows_the_spans_around_each_line() {
    fixture_outside(BUILD, || {
        let mut command = example("logging");
        command.env_remove("RUST_LOG");
        let (out, err) = output(command);
        assert_eq!(out, "640\n801\n1024\n");
        let line = |text: &str| {
            let mut lines = err.lines().filter(|line| line.ends_with(text));
            let line = lines
                .next()
                .unwrap_or_else(|| panic!("no {text:?} in {err}"));
            assert_eq!(lines.next(), None);
            // Without the time and the process id.
            let (time, line) = line.split_once("Z ").unwrap();
            assert_eq!(time.len(), "2027-03-01T08:30:00.250000".len());
            let (before, pid) = line.split_once("worker=w").unwrap_or((line, ""));
            format!(
                "{before}{}",
                pid.split_once('}').map_or("", |(_, rest)| rest)
            )
        };
        let call = "album{name=\"holidays\"}:call{function=\"logging::resize\" index=1}";
        assert_eq!(
            line("the file is locked").trim(),
            format!(
                "WARN {call}:attempt{{attempt=1 :decode{{width=801}}: logging: the file is locked"
            )
        );
        assert_eq!(
            line("resized height=600").trim(),
            format!(
                "INFO {call}:attempt{{attempt=2 :decode{{width=801}}: logging: resized height=600"
            )
        );
        assert!(!err.contains("reading the header"));
        let mut command = example("logging");
        command.env("RUST_LOG", "debug");
        assert!(output(command).1.contains("DEBUG album{"));
    });
}

#[test]
fn the_example_of_telemetry_exports_one_trace() {
    fixture_outside(BUILD, || {
        let mut command = example("telemetry");
        command.env_remove("RUST_LOG");
        let (out, _) = output(command);
        let value = |span: &str, name: &str| {
            let line = span.lines().map(str::trim).find_map(|line| {
                let (key, value) = line.split_once(':')?;
                (key.trim() == name).then(|| value.trim().to_owned())
            });
            line.unwrap_or_else(|| panic!("no {name} in {span}"))
        };
        // The first name is that of the tracer.
        let spans: Vec<_> = out.split("Span #").skip(1).collect();
        let name = |span: &str| value(span.split_once("shop").unwrap().1, "Name");
        let path = |span: &str| {
            let mut names = vec![name(span)];
            let mut parent = value(span, "ParentSpanId");
            while let Some(above) = spans.iter().find(|one| value(one, "SpanId") == parent) {
                names.insert(0, name(above));
                parent = value(above, "ParentSpanId");
            }
            assert!(parent.starts_with("None"), "{parent}");
            names.join("/")
        };
        let mut paths: Vec<_> = spans.iter().map(|span| path(span)).collect();
        paths.sort();
        paths.dedup();
        let adding = "order/call/attempt/adding";
        let expected = [
            "order".to_owned(),
            "order/call".to_owned(),
            "order/call/attempt".to_owned(),
            adding.to_owned(),
            format!("{adding}/call"),
            format!("{adding}/call/attempt"),
            format!("{adding}/call/attempt/query"),
        ];
        assert_eq!(paths, expected);
        assert_eq!(spans.len(), 10);
        let traces: std::collections::HashSet<_> =
            spans.iter().map(|span| value(span, "TraceId")).collect();
        assert_eq!(traces.len(), 1);
    });
}
