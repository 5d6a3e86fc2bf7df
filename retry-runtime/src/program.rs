//! What `#[local_entrypoint]` makes of a `main`: a program that ends in order, by itself or by a
//! signal, and shows meanwhile how far it is (`progress.rs`). Nothing else in this library writes to
//! the terminal of its own accord, or handles signals.

use std::sync::atomic::{AtomicI32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::config::{self, Config};
use crate::engine::{Engine, Host};
use crate::progress;
use crate::runtime::Shutdown;

/// The exit codes of a program that was ended by a signal: 128 and the signal's number.
const BY_SIGNAL: i32 = 128;

/// The signal that asked this program to end, once there was one.
static ASKED: AtomicI32 = AtomicI32::new(0);

/// Called after the worker check and before the command line is looked at.
///
/// # Panics
///
/// If the operating system has no thread left for the signals.
pub fn begin() {
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    for warning in config::warnings(names) {
        eprintln!("warning: {warning}");
    }
    // Without a runtime the signals do what they do by default, and the workers end with us.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let Ok(runtime) = runtime else { return };
    // From here on they are seen, also before the thread has begun to look for them.
    let signals = {
        let _context = runtime.enter();
        Signals::new()
    };
    thread::Builder::new()
        .name("retry-signals".to_owned())
        .spawn(move || runtime.block_on(handle(signals)))
        .expect("a thread for the signals");
    progress::begin(Config::from_environment().progress);
}

/// Says something about the end of the program.
fn say(text: &str) {
    let _room = progress::make_room();
    eprintln!("{text}");
}

/// Called when `main` has returned: waits for calls that it has spawned, for a while.
pub fn finish() {
    // The thread that handles signals ends the program, with the exit code for that.
    while ASKED.load(Ordering::Acquire) != 0 {
        thread::park();
    }
    if let Some(engine) = Engine::global_if_started() {
        let grace = engine.config().shutdown_grace;
        let (running, queued) = engine.pending();
        match running + queued {
            0 => {}
            1 => say(&format!(
                "waiting for 1 spawned call, at most {grace:?}; Ctrl-C to abandon it"
            )),
            calls => say(&format!(
                "waiting for {calls} spawned calls, at most {grace:?}; Ctrl-C to abandon them"
            )),
        }
        let begun = Instant::now();
        let shutdown = Shutdown::begin(&Host::Here(std::sync::Arc::clone(engine)), grace);
        let abandoned = shutdown.wait_for(SILENT).unwrap_or_else(|shutdown| {
            if running + queued == 0 {
                say_what_is_left(engine, grace.saturating_sub(begun.elapsed()));
            }
            shutdown.wait()
        });
        for abandoned in abandoned {
            say(&format!("abandoned {abandoned}"));
        }
        say_what_was_killed(engine);
    }
    progress::end();
}

/// For this long the end of the workers is waited for without a word.
const SILENT: Duration = Duration::from_millis(250);

/// The most workers that are named one by one.
const NAMED: usize = 3;

/// Says which workers have not ended yet.
fn say_what_is_left(engine: &Engine, grace: Duration) {
    let left = engine.processes();
    if !left.is_empty() {
        say(&format!(
            "waiting for {} to end, at most {grace:.1?}; Ctrl-C to kill now",
            list(&left)
        ));
    }
}

/// Says which workers had to be killed.
fn say_what_was_killed(engine: &Engine) {
    let killed = engine.killed_at_shutdown();
    if !killed.is_empty() {
        say(&format!(
            "killed {}, which did not end in time",
            list(&killed)
        ));
    }
}

/// Returns a list as a text, the first ones by name.
fn list(names: &[String]) -> String {
    let (named, others) = names.split_at(names.len().min(NAMED));
    let named = named.join(", ");
    match others.len() {
        0 => named,
        1 => format!("{named} and 1 other"),
        others => format!("{named} and {others} others"),
    }
}

/// Ends the program because of a signal.
fn exit(signal: i32) -> ! {
    progress::end();
    std::process::exit(BY_SIGNAL + signal)
}

async fn handle(mut signals: Signals) {
    let first = signals.next().await;
    ASKED.store(first, Ordering::Release);
    let Some(engine) = Engine::global_if_started() else {
        exit(first);
    };
    let grace = engine.config().shutdown_grace;
    let (running, queued) = engine.pending();
    if running + queued > 0 {
        say(&format!(
            "cancelling: {running} running ({grace:?} to end), {queued} not started; Ctrl-C \
             again to kill now"
        ));
    }
    engine.shut_down(grace, false, true);
    let drained = async {
        let drained = || std::future::poll_fn(|context| engine.poll_drained(context.waker()));
        if tokio::time::timeout(SILENT, drained()).await.is_err() {
            if running + queued == 0 {
                say_what_is_left(engine, grace.saturating_sub(SILENT));
            }
            drained().await;
        }
        say_what_was_killed(engine);
        // What the end of the calls makes `main` print is to be out.
        tokio::time::sleep(Duration::from_millis(50)).await;
        first
    };
    let code = first_of(drained, signals.next()).await;
    // The workers that are left end with this process.
    exit(code);
}

/// The output of whichever future is ready first.
async fn first_of<T>(one: impl Future<Output = T>, other: impl Future<Output = T>) -> T {
    let (mut one, mut other) = (std::pin::pin!(one), std::pin::pin!(other));
    std::future::poll_fn(|context| match one.as_mut().poll(context) {
        std::task::Poll::Pending => other.as_mut().poll(context),
        ready => ready,
    })
    .await
}

/// The signals that ask a program to end.
struct Signals(Vec<(i32, Signal)>);

impl Signals {
    fn new() -> Self {
        let kinds = [
            SignalKind::interrupt(),
            SignalKind::terminate(),
            SignalKind::hangup(),
        ];
        let handled = kinds
            .into_iter()
            .filter_map(|kind| Some((kind.as_raw_value(), signal(kind).ok()?)));
        Self(handled.collect())
    }

    /// The number of the next one.
    async fn next(&mut self) -> i32 {
        std::future::poll_fn(|context| {
            for (number, signal) in &mut self.0 {
                if signal.poll_recv(context).is_ready() {
                    return std::task::Poll::Ready(*number);
                }
            }
            std::task::Poll::Pending
        })
        .await
    }
}
