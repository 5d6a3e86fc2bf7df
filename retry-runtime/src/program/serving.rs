//! Agents: programs that run the calls of others.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use super::{BY_SIGNAL, RUNNING, STATE, answer, say, shutdown_grace};
use crate::agent::{Agent, scheme};
use crate::api::context::short_name;
use crate::api::engine::shown_address;
use crate::caller::host::{self, Host};
use crate::caller::runtime::Shutdown;
use crate::child;
use crate::config::{Config, Serve};
use crate::function::registry::{self, Registration};
use crate::sys;
use crate::sys::signals::{self, Signals};

/// Exit code of a program that cannot serve with its settings: the code of a wrong command line.
const USAGE: i32 = 2;

/// Turns this process into a worker if it was started as one, and into an agent if `RETRY_SERVE` is set; otherwise
/// allows it to start workers.
///
/// It has to be the first line of `main`. In a worker process it never returns, so that the rest of `main`
/// runs in the parent only. [`#[local_entrypoint]`](macro@crate::local_entrypoint) calls it. A process that
/// was started as a worker and cannot be one (a script in between has replaced its standard input, or there
/// is no descriptor left) exits with code 71 and says why.
///
/// In the program, the functions with [`#[on_start]`](macro@crate::on_start) run in it. If one of them fails,
/// the process prints why and exits with code 1.
///
/// With `RETRY_SERVE=all`, or `RETRY_SERVE=resize,parse`, the process is an agent: it serves these functions as
/// [`serve`] does, and exits once it was asked to end.
///
/// `init` handles no signals, shows no progress and waits for nothing at the end: [`run`](crate::run) and
/// [`run_async`](crate::run_async) do, for the part of `main` that makes calls.
///
/// If this program was started with SIGCHLD ignored, `init` restores the default action: otherwise the exit
/// status of workers, and of all other children, would be lost.
///
/// In the program itself, `init` also checks the environment. If a `RETRY_` variable has an invalid value, it
/// prints `error:` with a sentence about each such variable to standard error and exits with code 2. With
/// `RETRY_CONFIG=print` it lists all settings on standard output and exits with code 0. Otherwise it prints
/// nothing.
///
/// ```no_run
/// retry_runtime::init();
/// // The rest of `main` runs in the parent only.
/// ```
pub fn init() {
    child::init();
    if std::env::var_os("RETRY_SERVE").is_none() {
        return;
    }
    match serve() {
        Ok(()) => std::process::exit(0),
        Err(error) => {
            sys::complain(format_args!("error: {error}\n"));
            std::process::exit(USAGE)
        }
    }
}

/// Serves functions of this program for other machines, until the process is asked to end.
///
/// The machines that make the calls run the same program with the same `RETRY_ENGINE`, without `RETRY_SERVE`. Calls
/// run in the pool of this process under the usual settings, such as `RETRY_MAX_WORKERS`. `RETRY_SERVE` selects the
/// functions; without it all are served.
///
/// A program need not call it: with `RETRY_SERVE` set, [`init`] does. It is for a program that has to set something up
/// before, or that decides in another way to be an agent.
///
/// The first SIGTERM, SIGINT or SIGHUP ends it in order: it takes no further calls, those that are running have
/// `RETRY_SHUTDOWN_GRACE` to end, and the others go on elsewhere at once. Then it returns. A second one ends the
/// process.
///
/// # Errors
///
/// Returns an error if the default runtime has no [engine](crate::runtime::Builder::engine) or its crate is not linked,
/// if `RETRY_SERVE` names an unknown function, if the engine refuses the address, and if the operating system lacks the
/// resources for it.
///
/// # Panics
///
/// Panics inside of [`run`](crate::run), which has its own way to end the program.
///
/// ```no_run
/// retry_runtime::init();
/// if std::env::args().any(|argument| argument == "--agent") {
///     retry_runtime::serve().unwrap();
/// }
/// ```
#[track_caller]
pub fn serve() -> io::Result<()> {
    assert!(
        STATE.load(Ordering::Acquire) != RUNNING,
        "`retry_runtime::serve` does not work inside of `run`: call it before"
    );
    let invalid = |reason: String| io::Error::new(io::ErrorKind::InvalidInput, reason);
    let config = host::configuration();
    if let Some(problem) = &config.invalid {
        return Err(invalid(problem.to_string()));
    }
    let address = config.address.as_deref().ok_or_else(|| {
        invalid("RETRY_SERVE needs an engine: set RETRY_ENGINE=temporal://host:7233, or another address".to_owned())
    })?;
    let scheme = scheme::find(address).map_err(invalid)?;
    let functions = served(&config).map_err(invalid)?;
    let engine = Arc::clone(host::global()?);
    let agent = Agent::start(Arc::clone(&engine), functions, say)?;
    watch(&agent)?;
    let address_shown = shown_address(address);
    say(&format!(
        "serving {} at {address_shown} as {}",
        agent.describe(),
        agent.name()
    ));
    let served = (scheme.serve)(address, agent.clone());
    // It may have failed: then its tasks go on elsewhere.
    agent.drain(Duration::ZERO);
    Shutdown::begin(&Host::Here(engine), shutdown_grace()).wait();
    served.map_err(io::Error::other)
}

/// Returns the functions that the settings select.
fn served(config: &Config) -> Result<Vec<&'static Registration>, String> {
    let all: Vec<_> = registry::all().collect();
    let names = match &config.serve {
        None | Some(Serve::All) => return Ok(all),
        Some(Serve::These(names)) => names,
    };
    let is_named = |one: &Registration, name: &str| {
        let full = one.pool().name;
        full == name || short_name(full) == name
    };
    for name in names {
        if !all.iter().any(|one| is_named(one, name)) {
            let known: Vec<_> = all.iter().map(|one| short_name(one.pool().name)).collect();
            let known = known.join(", ");
            return Err(format!(
                "RETRY_SERVE: no function `{name}` is in this program, which has {known}"
            ));
        }
    }
    let is_selected = |one: &&'static Registration| names.iter().any(|name| is_named(one, name));
    Ok(all.into_iter().filter(is_selected).collect())
}

/// Lets signals end the agent in order.
fn watch(agent: &Agent) -> io::Result<()> {
    let signals = Signals::open()?;
    let agent = agent.clone();
    thread::Builder::new()
        .name("retry-signals".to_owned())
        .spawn(move || {
            let mut drains = false;
            while let Some(signal) = signals.next(None) {
                let Some(signal) = answer(signal) else {
                    continue;
                };
                if std::mem::replace(&mut drains, true) {
                    std::process::exit(BY_SIGNAL + signal);
                }
                let grace = shutdown_grace();
                say(&format!(
                    "draining: running calls have {grace:?} to end, others go on elsewhere"
                ));
                agent.drain(grace);
            }
        })?;
    signals::catch();
    Ok(())
}
