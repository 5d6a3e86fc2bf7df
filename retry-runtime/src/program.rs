//! What `#[local_entrypoint]` makes of a `main`: a program that ends in order, by itself or by a
//! signal, and shows meanwhile how far it is (`progress.rs`). Nothing else in this library writes to
//! the terminal of its own accord, or handles signals.

use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use rustix::process::Signal as Interrupt;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::config::{self, Config};
use crate::engine::{Engine, Host};
use crate::progress;
use crate::runtime::Shutdown;
use crate::sys;

/// The exit codes of a program that was ended by a signal: 128 and the signal's number.
const BY_SIGNAL: i32 = 128;

/// The signal that asked this program to end, once there was one.
static ASKED: AtomicI32 = AtomicI32::new(0);

/// Called after the worker check and before the command line is looked at.
pub fn begin() {
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    for warning in config::warnings(names) {
        eprintln!("warning: {warning}");
    }
    let (seen, is_seen) = channel();
    // Without the thread or its runtime the signals do what they do by default, and the workers end with
    // this process.
    let thread = thread::Builder::new().name("retry-signals".to_owned());
    let _ = thread.spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        if let Ok(runtime) = runtime {
            runtime.block_on(async {
                let signals = Signals::new();
                let _ = seen.send(());
                handle(signals).await;
            });
        }
    });
    // From here on signals are seen.
    let _ = is_seen.recv();
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
        let shutdown = Shutdown::begin(&Host::Here(std::sync::Arc::clone(engine)), grace);
        for abandoned in shutdown.wait() {
            say(&format!("abandoned {abandoned}"));
        }
    }
    progress::end();
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
    engine.shut_down(grace, false);
    let drained = async {
        std::future::poll_fn(|context| engine.poll_drained(context.waker())).await;
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

/// The signals that ask a program to end. Those that were ignored when it was started, by `nohup` or by
/// a shell that starts a job in the background, stay ignored.
struct Signals(Vec<(i32, Signal)>);

impl Signals {
    fn new() -> Self {
        let kinds = [Interrupt::INT, Interrupt::TERM, Interrupt::HUP];
        let handled = kinds
            .into_iter()
            .filter(|kind| !sys::is_ignored(*kind))
            .map(|kind| SignalKind::from_raw(kind.as_raw()))
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
