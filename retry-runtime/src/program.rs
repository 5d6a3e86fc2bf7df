//! Implements `#[local_entrypoint]`: a program that ends in order, by itself or by a signal, and meanwhile
//! shows the progress of its calls (`progress.rs`). No other code in this library writes to the terminal of
//! its own accord, or handles signals.

#[cfg(feature = "cli")]
pub(crate) mod command_line;
pub(crate) mod progress;

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::caller::host::{self, Host};
use crate::caller::runtime::Shutdown;
use crate::config::{self, Config};
use crate::engine::{Engine, ProgramHooks};
use crate::sys::PerProcess;
use crate::sys::signals::{self, Signals};
use crate::terminal;

/// Base of the exit codes of a program that a signal has ended: 128 plus the signal's number.
const BY_SIGNAL: i32 = 128;

/// Interval of the checks, after a signal, whether the calls have ended.
const LOOK: Duration = Duration::from_millis(5);

/// The first signal that asked this program to end.
static ASKED: PerProcess<AtomicI32> = PerProcess::new();

/// Starts the program. Called after the worker check and before the command line is parsed.
pub fn begin() {
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    for warning in config::warnings(names) {
        eprintln!("warning: {warning}");
    }
    // From here on signals are recorded, even before the thread starts to read them. Without a pipe or a
    // thread they keep their default action, and the workers end with this process.
    if let Ok(signals) = Signals::open()
        && watch(signals).is_ok()
    {
        signals::catch_ending();
    }
    // A forked child inherits the handlers, but has neither the thread nor a pipe of its own.
    let starts = || {
        if !Signals::are_open()
            && let Ok(signals) = Signals::open()
        {
            let _ = watch(signals);
        }
    };
    Engine::set_program_hooks(ProgramHooks {
        on_start: starts,
        say,
    });
    progress::begin(Config::from_environment().progress);
}

/// Starts the thread that handles signals.
fn watch(signals: Signals) -> std::io::Result<()> {
    thread::Builder::new()
        .name("retry-signals".to_owned())
        .spawn(move || handle(&signals))?;
    Ok(())
}

/// Prints a message about the end of the program.
fn say(text: &str) {
    let _room = terminal::make_room();
    eprintln!("{text}");
}

/// Ends the program in order. Called when `main` has returned: waits for spawned calls, up to the shutdown
/// grace.
pub fn finish() {
    // The thread that handles signals ends the program, with the exit code for the signal.
    while ASKED
        .get()
        .is_some_and(|asked| asked.load(Ordering::Acquire) != 0)
    {
        thread::park();
    }
    terminal::begin_wait();
    if let Some(engine) = host::global_if_started() {
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
        let shutdown = Shutdown::begin(&Host::Here(Arc::clone(engine)), grace);
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
    terminal::end();
}

/// Time to wait for workers to end before a message about it is printed.
const SILENT: Duration = Duration::from_millis(250);

/// Maximum number of workers that are listed by name.
const NAMED: usize = 3;

/// Prints which workers have not ended yet.
fn say_what_is_left(engine: &Engine, grace: Duration) {
    let left = engine.processes();
    if !left.is_empty() {
        say(&format!(
            "waiting for {} to end, at most {grace:.1?}; Ctrl-C to kill now",
            list(&left)
        ));
    }
}

/// Prints which workers had to be killed.
fn say_what_was_killed(engine: &Engine) {
    let killed = engine.killed_at_shutdown();
    if !killed.is_empty() {
        say(&format!(
            "killed {}, which did not end in time",
            list(&killed)
        ));
    }
}

/// Formats a list of names, of which only the first few are spelled out.
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
    terminal::end();
    std::process::exit(BY_SIGNAL + signal)
}

fn handle(signals: &Signals) {
    let Some(first) = signals.next(None) else {
        return;
    };
    ASKED
        .get_or_init(AtomicI32::default)
        .store(first, Ordering::Release);
    let Some(engine) = host::global_if_started() else {
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
    let mut silent = (running + queued == 0).then(|| Instant::now() + SILENT);
    while !engine.is_drained() {
        if let Some(second) = signals.next(Some(LOOK)) {
            // The remaining workers end with this process.
            exit(second);
        }
        if silent.take_if(|until| *until <= Instant::now()).is_some() {
            say_what_is_left(engine, grace.saturating_sub(SILENT));
        }
    }
    say_what_was_killed(engine);
    // Give `main` time to print what follows from the end of its calls.
    let second = signals.next(Some(Duration::from_millis(50)));
    exit(second.unwrap_or(first))
}
