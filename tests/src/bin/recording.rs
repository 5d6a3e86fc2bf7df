//! A program with a subscriber that notes everything it is told, and prints it as lines of JSON at the end.
//! The argument selects what the program does.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use retry_runtime::{Retries, Runtime, function};
use serde_json::{Value, json};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber, debug, error, info, info_span, trace, warn};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

/// Notes what it is told.
#[derive(Clone, Default)]
struct Recorder(Arc<Mutex<Vec<Value>>>);

/// The number of a span, which is the line that opened it.
struct Number(usize);

#[derive(Default)]
struct Fields(BTreeMap<String, Value>);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0
            .insert(field.name().into(), json!(format!("{value:?}")));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().into(), json!({ "str": value }));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0.insert(field.name().into(), json!(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.0.insert(field.name().into(), json!({ "i64": value }));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.0.insert(field.name().into(), json!(value));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.0.insert(field.name().into(), json!({ "f64": value }));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        let causes = std::iter::successors(Some(value), |&error| error.source());
        let texts: Vec<_> = causes.map(ToString::to_string).collect();
        self.0
            .insert(field.name().into(), json!({ "error": texts }));
    }
}

impl Recorder {
    fn note(&self, mut line: Value) -> usize {
        let recorded = retry_runtime::logging::recorded_at();
        let delay = recorded.map(|at| SystemTime::now().duration_since(at).unwrap_or_default());
        line["delay"] = json!(delay.map(|delay| delay.as_micros() as u64));
        let mut lines = self.0.lock().unwrap();
        lines.push(line);
        lines.len() - 1
    }

    fn print(&self) {
        for line in &*self.0.lock().unwrap() {
            println!("{line}");
        }
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Recorder {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let span = context.span(id).unwrap();
        let parent = span.parent();
        let parent = parent.map(|parent| parent.extensions().get::<Number>().unwrap().0);
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        let metadata = attributes.metadata();
        let number = self.note(json!({
            "kind": "open",
            "name": metadata.name(),
            "target": metadata.target(),
            "level": metadata.level().as_str(),
            "line": metadata.line(),
            "parent": parent,
            "fields": fields.0,
        }));
        span.extensions_mut().insert(Number(number));
    }

    fn on_record(&self, id: &Id, record: &Record<'_>, context: Context<'_, S>) {
        let span = context.span(id).unwrap();
        let number = span.extensions().get::<Number>().unwrap().0;
        let mut fields = Fields::default();
        record.record(&mut fields);
        self.note(json!({ "kind": "set", "span": number, "fields": fields.0 }));
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let parent = context.event_span(event);
        let parent = parent.map(|parent| parent.extensions().get::<Number>().unwrap().0);
        let mut fields = Fields::default();
        event.record(&mut fields);
        let metadata = event.metadata();
        self.note(json!({
            "kind": "event",
            "target": metadata.target(),
            "level": metadata.level().as_str(),
            "parent": parent,
            "fields": fields.0,
        }));
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        let span = context.span(&id).unwrap();
        let number = span.extensions().get::<Number>().unwrap().0;
        self.note(json!({ "kind": "close", "span": number }));
    }
}

#[derive(Debug)]
struct Cause;

impl std::fmt::Display for Cause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("no memory")
    }
}

impl std::error::Error for Cause {}

/// Fails the first time for 1, and panics for 2.
#[function(max_workers = 1, retries = Retries::fixed(1, Duration::ZERO))]
fn work(number: u64) -> Result<u64, String> {
    static HAS_FAILED: AtomicBool = AtomicBool::new(false);
    // On a thread of the program, there is no current call.
    let is_first = match retry_runtime::current() {
        Some(call) => call.attempt() == 1,
        None => number == 1 && !HAS_FAILED.swap(true, Ordering::Relaxed),
    };
    let step = info_span!(target: "steps", "step", number, done = tracing::field::Empty);
    let entered = step.enter();
    info!(target: "work::begin", number, negative = -1, half = 0.5, flag = true, "begins");
    let error: &(dyn std::error::Error + 'static) = &std::io::Error::other(Cause);
    debug!(error, name = "n", list = ?[1, 2], "has details");
    step.record("done", true);
    match number {
        1 if is_first => return Err("not yet".to_owned()),
        2 => panic!("never"),
        _ => {}
    }
    drop(entered);
    warn!("ends");
    trace!("unseen");
    Ok(number)
}

/// Writes to its log, and dies.
#[function]
fn die(number: u64) -> u64 {
    let _span = info_span!("dying", number).entered();
    error!(number, "goes");
    std::process::abort();
}

#[function]
fn outer(number: u64) -> u64 {
    let _span = info_span!("outside").entered();
    inner.remote(number).wait().unwrap()
}

#[function(max_workers = 1)]
fn inner(number: u64) -> u64 {
    info!("inside");
    number + 1
}

/// Returns the most verbose level that is recorded in the worker.
#[function(max_workers = 1)]
fn worker_level() -> String {
    tracing::level_filters::LevelFilter::current().to_string()
}

fn load() -> u64 {
    info!("loads");
    7
}

#[function(setup = load)]
fn loaded(state: &u64) -> u64 {
    std::thread::spawn(|| info!("on a thread")).join().unwrap();
    *state
}

#[function(concurrency = 4)]
async fn wait(number: u64) -> u64 {
    tokio::time::sleep(Duration::from_millis(5)).await;
    info!(number, "waited");
    number
}

/// Logs a lot.
#[function]
fn chatter(lines: u64) -> u64 {
    (0..lines).for_each(|line| info!(line, "chatter"));
    lines
}

#[retry_runtime::on_start]
fn logger() {
    // A subscriber of the worker's own.
    if std::env::var_os("OWN_LOGGER").is_some() && std::env::var_os("RETRY_WORKER").is_some() {
        tracing_subscriber::fmt()
            .with_writer(std::io::stderr)
            .with_ansi(false)
            .without_time()
            .init();
    }
}

/// Returns the names of the threads of this process.
fn threads() -> Vec<String> {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    let names = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok());
    names.map(|name| name.trim().to_owned()).collect()
}

fn main() {
    retry_runtime::init();
    let recorder = Recorder::default();
    let action = std::env::args().nth(1).unwrap_or_default();
    let level = match std::env::var("LEVEL").as_deref() {
        Ok(text) => text.parse().unwrap(),
        Err(_) => tracing::level_filters::LevelFilter::DEBUG,
    };
    let subscriber = tracing_subscriber::registry()
        .with(recorder.clone())
        .with(level);
    match action.as_str() {
        "map" => {
            subscriber.init();
            let _caller = info_span!("caller").entered();
            let results: Vec<_> = work.map(0..3).into_iter().map(|one| one.is_ok()).collect();
            info!(?results, "done");
        }
        // The filter of the program is that of the workers.
        "filtered" => {
            tracing_subscriber::registry()
                .with(recorder.clone())
                .with(tracing_subscriber::EnvFilter::from_default_env())
                .init();
            assert_eq!(work.map(0..3).into_iter().count(), 3);
        }
        "crash" => {
            subscriber.init();
            let _caller = info_span!("caller").entered();
            assert!(die.remote(1).wait().is_err());
        }
        "nested" => {
            subscriber.init();
            let _caller = info_span!("caller").entered();
            assert_eq!(outer.remote(1).wait().unwrap(), 2);
        }
        "setup" => {
            subscriber.init();
            assert_eq!(loaded.remote().wait().unwrap(), 7);
        }
        "concurrent" => {
            subscriber.init();
            assert_eq!(wait.map(0..8).into_iter().count(), 8);
        }
        "level" => {
            println!("{}", worker_level.remote().wait().unwrap());
            subscriber.init();
            println!("{}", worker_level.remote().wait().unwrap());
            return;
        }
        // The worker starts when there is no subscriber yet.
        "late" => {
            inner.remote(1).wait().unwrap();
            subscriber.init();
            inner.remote(2).wait().unwrap();
        }
        // The subscriber is that of one thread for a while.
        "scoped" => {
            let _default = subscriber.set_default();
            inner.remote(1).wait().unwrap();
        }
        "own" => {
            subscriber.init();
            inner.remote(1).wait().unwrap();
        }
        // The caller's span and runtime end before the call.
        "spawned" => {
            subscriber.init();
            let span = info_span!("caller");
            let call = span.in_scope(|| inner.spawn(1));
            drop(span);
            call.wait().unwrap();
        }
        "runtime" => {
            subscriber.init();
            let runtime = Runtime::builder().build().unwrap();
            for result in inner.on(&runtime).map(0..4) {
                result.unwrap();
            }
            runtime.shutdown(Duration::from_secs(30)).wait();
            drop(runtime);
            // The thread of the runtime's subscriber ends as well.
            let until = Instant::now() + Duration::from_secs(30);
            while threads().iter().any(|name| name == "retry-tracing") {
                assert!(Instant::now() < until, "{:?}", threads());
                std::thread::yield_now();
            }
        }
        // The program's own loop holds the lock that its subscriber needs.
        "locked" => {
            tracing_subscriber::fmt().with_ansi(false).init();
            let mut stdout = std::io::stdout().lock();
            for result in chatter.map((0..40).map(|_| 100)) {
                writeln!(stdout, "result {}", result.unwrap()).unwrap();
            }
            writeln!(stdout, "finished").unwrap();
        }
        // The subscriber panics now and then.
        "panicking" => {
            static EVENTS: AtomicU32 = AtomicU32::new(0);
            struct Panics;
            impl<S: Subscriber> Layer<S> for Panics {
                fn on_event(&self, _: &Event<'_>, _: Context<'_, S>) {
                    let number = EVENTS.fetch_add(1, Ordering::Relaxed);
                    assert!(number % 2 == 1, "a bad subscriber");
                }
            }
            std::panic::set_hook(Box::new(|_| {}));
            subscriber.with(Panics).init();
            for result in inner.map(0..4) {
                result.unwrap();
            }
        }
        "many" => {
            subscriber.init();
            let inputs = 500;
            let sum: u64 = inner.map(0..inputs).into_iter().map(Result::unwrap).sum();
            assert_eq!(sum, inputs * (inputs + 1) / 2);
        }
        other => panic!("{other} is unknown"),
    }
    recorder.print();
}
