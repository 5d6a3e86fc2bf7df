//! Runtimes: separate pools of workers, and their shutdown.

use std::ffi::OsString;
use std::fmt;
use std::future::{Future, IntoFuture};
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use crate::api::call_id::{CallId, CallNumber};
use crate::api::context::short_name;
use crate::api::engine::Address;
use crate::api::events::Events;
use crate::api::retries::Retries;
use crate::caller::host::{self, Host};
use crate::child::nested::Upstream;
use crate::codec::payload;
use crate::config::{Config, OutputMode, SHORTEST_HOST_TIMEOUT, Transport};
use crate::function::registry;
use crate::runtime_thread;
use crate::wait::block::{self, Wait};

/// A pool of workers with its own settings, separate from the default one.
///
/// `f.on(&runtime)` sends a function's calls to it. Clones are the same runtime. When the last clone is
/// dropped, pending calls are cancelled and the workers end.
///
/// In a worker every runtime stands for the one that the worker belongs to.
///
/// A runtime belongs to the process that built it. In a forked child its calls are
/// [`Rejected`](crate::error::Rejected::Forked), and shutting it down or dropping it does nothing. Each
/// process has its own default runtime.
///
/// ```standalone_crate
/// use retry_runtime::{Runtime, function};
/// use std::time::Duration;
///
/// #[function]
/// fn greeting() -> Option<String> {
///     std::env::var("GREETING").ok()
/// }
///
/// fn main() -> std::io::Result<()> {
///     retry_runtime::init();
///     let runtime = Runtime::builder().max_workers(2).env("GREETING", "Bonjour").build()?;
///     let greeted = greeting.on(&runtime).remote().wait().unwrap();
///     assert_eq!(greeted.as_deref(), Some("Bonjour"));
///
///     let abandoned = runtime.shutdown(Duration::from_secs(5)).wait();
///     assert!(abandoned.is_empty());
///     Ok(())
/// }
/// ```
#[derive(Clone)]
pub struct Runtime {
    host: Host,
    _owner: Option<Arc<Owner>>,
}

/// Ends the engine with the last handle to it.
struct Owner(Host);

impl Drop for Owner {
    fn drop(&mut self) {
        if self.0.is_foreign() {
            // A forked child never drops the engine of its parent: that would close descriptors whose
            // numbers may be other files by now.
            std::mem::forget(self.0.clone());
            return;
        }
        match &self.0 {
            Host::Here(engine) => engine.shut_down(Duration::ZERO, false, false),
            Host::Fleet(fleet) => fleet.end(),
            Host::Parent(_) | Host::Nowhere(_) => {}
        }
    }
}

impl Runtime {
    /// Returns a builder, with the settings of the `RETRY_` variables.
    pub fn builder() -> Builder {
        Builder {
            config: Config::from_environment(),
        }
    }

    pub(crate) fn host(&self) -> &Host {
        &self.host
    }

    /// Begins to shut the runtime down; `.await` the returned value, or [`wait`](Shutdown::wait) for the end.
    ///
    /// New calls are [`Rejected`](crate::error::Rejected::ShutDown) from now on. Pending calls may end
    /// within `grace`, and the workers run their teardown. After the grace the remaining calls are
    /// cancelled, and the remaining workers are killed. The method may be called more than once.
    pub fn shutdown(&self, grace: Duration) -> Shutdown {
        Shutdown::begin(&self.host, grace)
    }

    /// Subscribes to the events of this runtime, from now on.
    #[must_use]
    pub fn events(&self) -> Events {
        self.host.subscribe()
    }
}

impl fmt::Debug for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runtime").finish_non_exhaustive()
    }
}

/// A shutdown in progress, as [`Runtime::shutdown`] returns it.
pub struct Shutdown {
    host: Host,
}

impl fmt::Debug for Shutdown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shutdown").finish_non_exhaustive()
    }
}

/// A call that did not end within the grace of a shutdown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Abandoned {
    call: CallId,
    function: &'static str,
}

impl Abandoned {
    /// Returns the id of the call.
    #[must_use]
    pub fn call_id(&self) -> CallId {
        self.call
    }

    /// Returns the function's registered name.
    #[must_use]
    pub fn function(&self) -> &'static str {
        self.function
    }
}

impl fmt::Display for Abandoned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", short_name(self.function), self.call)
    }
}

impl Shutdown {
    pub(crate) fn begin(host: &Host, grace: Duration) -> Self {
        host.shut_down(grace, true);
        Self { host: host.clone() }
    }

    /// Blocks this thread until all calls and workers have ended, and returns the calls that did not end
    /// within the grace.
    ///
    /// # Panics
    ///
    /// Panics on a thread that drives a tokio runtime, which it would block: write `.await` there. Inside
    /// `spawn_blocking` and `block_in_place` it may be called.
    #[track_caller]
    pub fn wait(self) -> Vec<Abandoned> {
        runtime_thread::refuse(format_args!("`.wait()`"), "`.await`");
        block::block_on(self.into_future())
    }

    /// Does the same for no longer than a time; afterwards the shutdown goes on.
    pub(crate) fn wait_for(self, time: Duration) -> Result<Vec<Abandoned>, Self> {
        let mut drained = self.into_future();
        let until = Instant::now().checked_add(time);
        block::block_on_until(until, &mut drained).ok_or(drained.0)
    }
}

impl IntoFuture for Shutdown {
    type Output = Vec<Abandoned>;
    type IntoFuture = Drained;

    fn into_future(self) -> Drained {
        Drained(self)
    }
}

/// The future of a [`Shutdown`].
#[derive(Debug)]
#[must_use = "futures do nothing unless they are awaited"]
pub struct Drained(Shutdown);

impl Wait for Drained {}

impl Future for Drained {
    type Output = Vec<Abandoned>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Vec<Abandoned>> {
        let host = &self.0.host;
        let run = host.run();
        let name = |(call, function): (CallNumber, _)| Abandoned {
            call: call.of(run),
            function,
        };
        host.poll_drained(context.waker())
            .map(|abandoned| abandoned.into_iter().map(name).collect())
    }
}

/// Begins to shut the default runtime down; see [`Runtime::shutdown`].
///
/// ```no_run
/// use std::time::Duration;
///
/// for abandoned in retry_runtime::shutdown(Duration::from_secs(20)).wait() {
///     eprintln!("gave up {abandoned}");
/// }
/// ```
pub fn shutdown(grace: Duration) -> Shutdown {
    Shutdown::begin(&Host::global(), grace)
}

/// A builder for a [`Runtime`], as [`Runtime::builder`] returns it.
///
/// Its settings take precedence over the attributes and the `RETRY_` variables, and the settings of a call
/// take precedence over them. [`Program::runtime`](crate::Program::runtime) takes a builder for the default
/// runtime.
///
/// ```no_run
/// use retry_runtime::Runtime;
/// use std::time::Duration;
///
/// # fn main() -> std::io::Result<()> {
/// let runtime = Runtime::builder()
///     .max_workers(4)
///     .max_processes(16)
///     .timeout(Duration::from_secs(30))
///     .current_dir("/srv/data")
///     .build()?;
/// # drop(runtime);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing unless it is built"]
pub struct Builder {
    config: Config,
}

impl Builder {
    /// Limits the workers of each function.
    ///
    /// The attribute's value, or the number of cores, by default. `RETRY_MAX_WORKERS` sets it for the default runtime.
    ///
    /// # Panics
    ///
    /// Panics if `workers` is zero.
    #[track_caller]
    pub fn max_workers(mut self, workers: usize) -> Self {
        assert!(workers > 0, "max_workers must be at least 1");
        self.config.max_workers = Some(workers);
        self.config.note_built("max_workers");
        self
    }

    /// Limits the worker processes of all functions and service configurations together.
    ///
    /// Without it only each function has a limit. `RETRY_MAX_PROCESSES` sets it for the default runtime.
    ///
    /// A function without a worker waits while there is no room for one: an idle worker of another function
    /// ends to make room, or a worker of a function that has several, once it has answered its call. If
    /// each function has only one, they take turns: a worker serves for at least a second, and for as long
    /// as its start took. Workers that wait for calls of their own do not count, so that nested calls
    /// cannot deadlock.
    ///
    /// # Panics
    ///
    /// Panics if `processes` is zero.
    #[track_caller]
    pub fn max_processes(mut self, processes: usize) -> Self {
        assert!(processes > 0, "max_processes must be at least 1");
        self.config.max_processes = Some(processes);
        self.config.note_built("max_processes");
        self
    }

    /// Sets the number of workers of each function that are kept when idle.
    ///
    /// The attribute's value, or 0, by default. `RETRY_MIN_WORKERS` sets it for the default runtime.
    pub fn min_workers(mut self, workers: usize) -> Self {
        self.config.min_workers = Some(workers);
        self.config.note_built("min_workers");
        self
    }

    /// Sets the lifetime of an idle worker.
    ///
    /// The attribute's value, or 60 s, by default. `RETRY_SCALEDOWN_WINDOW` sets it for the default runtime.
    ///
    /// # Panics
    ///
    /// Panics if `window` is zero.
    #[track_caller]
    pub fn scaledown_window(mut self, window: Duration) -> Self {
        assert!(
            !window.is_zero(),
            "`scaledown_window` must be longer than zero; for a new worker per call there is \
             `single_use_workers`"
        );
        self.config.scaledown_window = Some(window);
        self.config.note_built("scaledown_window");
        self
    }

    /// Limits the time from the start of a worker until it is ready.
    ///
    /// The attribute's value, or 60 s, by default. `RETRY_STARTUP_TIMEOUT` sets it for the default runtime.
    ///
    /// # Panics
    ///
    /// Panics if `limit` is zero.
    #[track_caller]
    pub fn startup_timeout(mut self, limit: Duration) -> Self {
        assert!(
            !limit.is_zero(),
            "`startup_timeout` must be longer than zero; leave it out for 60s"
        );
        self.config.startup_timeout = Some(limit);
        self.config.note_built("startup_timeout");
        self
    }

    /// Sets the retry policy; a number means that many retries, one second apart.
    ///
    /// The attribute's value by default. `RETRY_RETRIES` sets it for the default runtime.
    pub fn retries(mut self, retries: impl Into<Retries>) -> Self {
        self.config.options = self.config.options.retries(retries);
        self.config.note_built("retries");
        self
    }

    /// Limits the execution of one attempt.
    ///
    /// The attribute's value by default. `RETRY_TIMEOUT` sets it for the default runtime.
    ///
    /// # Panics
    ///
    /// Panics if `limit` is zero.
    #[track_caller]
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.config.options = self.config.options.timeout(limit);
        self.config.note_built("timeout");
        self
    }

    /// Removes the limit on the execution of one attempt that an attribute or `RETRY_TIMEOUT` sets.
    pub fn no_timeout(mut self) -> Self {
        self.config.options = self.config.options.no_timeout();
        self
    }

    /// Limits queue, attempts and delays together. In a map it counts for each input, from the start of its first
    /// attempt.
    ///
    /// The attribute's value by default. `RETRY_DEADLINE` sets it for the default runtime.
    ///
    /// # Panics
    ///
    /// Panics if `limit` is zero.
    #[track_caller]
    pub fn deadline(mut self, limit: Duration) -> Self {
        self.config.options = self.config.options.deadline(limit);
        self.config.note_built("deadline");
        self
    }

    /// Removes the limit on queue, attempts and delays together that an attribute or `RETRY_DEADLINE` sets.
    pub fn no_deadline(mut self) -> Self {
        self.config.options = self.config.options.no_deadline();
        self
    }

    /// Sets the time that a cancelled or timed-out call has to end by itself before its worker is killed.
    ///
    /// The attribute's value by default. `RETRY_GRACE` sets it for the default runtime.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.config.options = self.config.options.grace(grace);
        self.config.note_built("grace");
        self
    }

    /// Removes the time that an attribute or `RETRY_GRACE` gives a cancelled or timed-out call: its worker is
    /// killed at once.
    pub fn no_grace(mut self) -> Self {
        self.config.options = self.config.options.no_grace();
        self
    }

    /// Limits the size in bytes of the arguments of one call, and of one result.
    ///
    /// 256 MiB by default. `RETRY_MAX_MESSAGE` sets it for the default runtime. Values below 64 bytes are raised to
    /// that, and values from 4 GiB - 16 MiB on are lowered to one byte less; the variable must not have such a value.
    /// An [`engine`](Self::engine) may have a lower limit.
    pub fn max_message(mut self, bytes: usize) -> Self {
        self.config.max_message = payload::possible_limit(bytes);
        self.config.note_built("max_message");
        self
    }

    /// Limits the bytes of memory that the runtime keeps for the large arguments of further calls, and for their large
    /// results, 256 MiB each by default.
    ///
    /// Bytes, text and numbers of 64 KiB and more are copied once, into memory that the workers have mapped, where
    /// functions read parameters such as `&[u8]` and `&[f64]`. Touching new memory takes longer than the copy, so memory
    /// that no call uses any more is kept for the next ones: up to this limit, and for two seconds after its last use.
    /// None is kept while memory is scarce, by the account of `/proc/pressure/memory`. With zero, large arguments are
    /// copied in small pieces like all others, which takes longer.
    ///
    /// ```
    /// use retry_runtime::Runtime;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// let runtime = Runtime::builder().retained_memory(1 << 30).build()?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// `RETRY_RETAINED_MEMORY` sets it for the default runtime.
    pub fn retained_memory(mut self, bytes: usize) -> Self {
        self.config.retained_memory = bytes;
        self.config.note_built("retained_memory");
        self
    }

    /// Limits the bytes of results that wait for the consumer of a map, 64 MiB by default; see
    /// [`Map::max_buffered`](crate::Map::max_buffered).
    ///
    /// `RETRY_MAX_BUFFERED` sets it for the default runtime, and for maps that are made in workers.
    ///
    /// # Panics
    ///
    /// Panics if `bytes` is zero.
    #[track_caller]
    pub fn max_buffered(mut self, bytes: usize) -> Self {
        assert!(bytes > 0, "max_buffered must be at least 1 byte");
        self.config.max_buffered = bytes;
        self.config.note_built("max_buffered");
        self
    }

    /// Lets the future of a call block its thread for a moment, off by default.
    ///
    /// When such a future is polled first, the call is sent. With `busy_poll` that poll then looks for the
    /// answer of a quick function for as long as similar calls took, at most 150 µs, instead of returning at
    /// once: the round trip saves the time to wake a thread of the executor. An executor expects its
    /// tasks to return sooner, and runs nothing else on that thread meanwhile. So it suits programs that await
    /// calls one after the other, and not servers. `wait`, maps and iterators are not affected.
    ///
    /// `RETRY_BUSY_POLL=1` sets it for the default runtime.
    pub fn busy_poll(mut self, enabled: bool) -> Self {
        self.config.busy_poll = enabled;
        self.config.note_built("busy_poll");
        self
    }

    /// Sets whether threads that expect an answer soon poll for it before they sleep, on by default.
    ///
    /// The setting is that of a process: a runtime without polling turns it off for all runtimes of its
    /// program, and in its workers. Calls then take longer, and no processor time is spent on polling.
    ///
    /// `RETRY_SPIN=0` turns it off for the default runtime.
    pub fn spin(mut self, enabled: bool) -> Self {
        self.config.spin = enabled;
        self.env("RETRY_SPIN", if enabled { "1" } else { "0" })
    }

    /// Sets the transport of calls and answers, [`Transport::Rings`] by default.
    ///
    /// `RETRY_TRANSPORT` sets it for the default runtime.
    pub fn transport(mut self, transport: Transport) -> Self {
        self.config.transport = transport;
        self
    }

    /// Sets the treatment of lines that workers print, [`OutputMode::Prefixed`] by default.
    ///
    /// `RETRY_OUTPUT` sets it for the default runtime.
    pub fn output(mut self, mode: OutputMode) -> Self {
        self.config.output = mode;
        self
    }

    /// Sets the seed of the jitter of delays between attempts, so that a run can be repeated.
    ///
    /// Without it each runtime has another seed. `RETRY_SEED` sets it for the default runtime.
    pub fn seed(mut self, seed: u64) -> Self {
        self.config.seed = Some(seed);
        self
    }

    /// Returns the settings.
    pub(crate) fn into_config(self) -> Config {
        self.config
    }

    /// Sets an environment variable for the workers.
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.config
            .environment
            .push((name.into(), Some(value.into())));
        self
    }

    /// Removes an environment variable for the workers.
    pub fn env_remove(mut self, name: impl Into<OsString>) -> Self {
        self.config.environment.push((name.into(), None));
        self
    }

    /// Sets the directory in which workers start.
    pub fn current_dir(mut self, directory: impl Into<PathBuf>) -> Self {
        self.config.directory = Some(directory.into());
        self
    }

    /// Sets another program than this one for the workers.
    ///
    /// It has to register the same functions with the same types of parameters and results, and its `main`
    /// begins with [`init`](crate::init). A script has to pass standard input on, and should `exec` the program.
    pub fn worker_program(mut self, program: impl Into<PathBuf>) -> Self {
        self.config.program = Some(program.into());
        self
    }

    /// Appends the runtime's events to a file, one JSON object per line: see
    /// [`Log`](crate::events::Log), which reads it.
    ///
    /// The file is created if there is none. Nothing is lost: if the disk is slower than the calls, the calls
    /// wait for it. `RETRY_EVENTS=run.jsonl` does the same for the default runtime.
    pub fn events_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.config.events = Some(path.into());
        self.config.note_built("events");
        self
    }

    /// Writes a report of the run: one page of HTML with the totals, what each worker did when, the rate of
    /// calls and their durations, the failures in groups with an example each, and the settings.
    ///
    /// An existing file is replaced when the runtime starts. The page is renewed about every ten seconds, and
    /// complete when the program ends by returning from `main`, by `exit`, or by a signal that
    /// [`run`](crate::run) handles. Its size does not depend on the number of calls. It shows texts of errors
    /// and, unless `RETRY_SHOW_INPUTS` is 0, inputs. Runtimes with the same path share a report, which has the
    /// settings of the first one. `RETRY_REPORT=report.html` does the same for the default runtime.
    ///
    /// ```
    /// use retry_runtime::{Runtime, function};
    ///
    /// #[function]
    /// fn double(number: u64) -> u64 {
    ///     number * 2
    /// }
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let path = std::env::temp_dir().join(format!("report-{}.html", std::process::id()));
    /// let runtime = Runtime::builder().inline().report_file(&path).build()?;
    /// assert_eq!(double.on(&runtime).remote(4).wait()?, 8);
    /// # drop(runtime);
    /// # assert!(std::fs::read_to_string(&path)?.starts_with("<!DOCTYPE html>"));
    /// # std::fs::remove_file(path)?;
    /// # Ok(())
    /// # }
    /// ```
    #[cfg(feature = "report")]
    #[cfg_attr(docsrs, doc(cfg(feature = "report")))]
    pub fn report_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.config.report = Some(path.into());
        self.config.note_built("report");
        self
    }

    /// Writes a trace of the runtime's attempts, in Chrome's trace-event format: <https://ui.perfetto.dev>
    /// and `chrome://tracing` show it.
    ///
    /// An existing file is replaced. The trace is written while the program runs, and can be read at any time,
    /// also after the program was killed. As with [`events_file`](Self::events_file), calls wait for a disk
    /// that is slower than they are. `RETRY_TRACE=trace.json` does the same for the default runtime.
    ///
    /// ```
    /// use retry_runtime::{Runtime, function};
    ///
    /// #[function]
    /// fn double(number: u64) -> u64 {
    ///     number * 2
    /// }
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let path = std::env::temp_dir().join(format!("trace-{}.json", std::process::id()));
    /// let runtime = Runtime::builder().inline().trace_file(&path).build()?;
    /// assert_eq!(double.on(&runtime).remote(4).wait()?, 8);
    /// # drop(runtime);
    /// # assert!(std::fs::read_to_string(&path)?.starts_with("["));
    /// # std::fs::remove_file(path)?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn trace_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.config.trace = Some(path.into());
        self.config.note_built("trace");
        self
    }

    /// Runs functions on threads of this process, still through the codec and the policies: for debuggers and
    /// coverage.
    ///
    /// A function that crashes ends the program, and a function that is stopped by a timeout keeps its
    /// thread until it returns. `RETRY_ENGINE=inline` does the same for the default runtime.
    pub fn inline(mut self) -> Self {
        self.config.inline = true;
        self.config.note_built("engine");
        self
    }

    /// Sends calls to other machines, through the engine at an address such as `temporal://queue.example:7233`.
    ///
    /// The part before `://` is the name of a [`Scheme`](crate::engine::Scheme), which the crate of the engine registers.
    /// The machines run the same program as agents; see [`serve`](crate::serve). `RETRY_ENGINE` sets it for the default
    /// runtime.
    ///
    /// Settings about workers, such as [`max_workers`](Self::max_workers), are those of each agent then.
    pub fn engine(mut self, address: impl Into<String>) -> Self {
        self.config.address = Some(Address(address.into()));
        self.config.note_built("engine");
        self
    }

    /// Sets the time after which a machine that is not heard of any more has lost its calls, 30 s or
    /// `RETRY_HOST_TIMEOUT` by default. They begin again on another machine.
    ///
    /// A machine that hears nothing from the engine for nine tenths of it ends these calls.
    ///
    /// # Panics
    ///
    /// Panics if `timeout` is shorter than a second.
    #[track_caller]
    pub fn host_timeout(mut self, timeout: Duration) -> Self {
        assert!(
            timeout >= SHORTEST_HOST_TIMEOUT,
            "`host_timeout` must be at least {SHORTEST_HOST_TIMEOUT:?}"
        );
        self.config.host_timeout = timeout;
        self.config.note_built("host_timeout");
        self
    }

    /// Sets the version of the program. Machines of the same version understand each other's calls.
    ///
    /// Without it they must run the very same file. With it, functions must have the same types in both; values of
    /// types that differ nevertheless do not arrive, and their calls fail. `RETRY_VERSION` sets it for the default
    /// runtime and for agents.
    pub fn version(mut self, version: impl Into<String>) -> Self {
        self.config.version = Some(version.into());
        self.config.note_built("version");
        self
    }

    /// Lists the settings of the runtime with their values and origins, as `RETRY_CONFIG=print` does for the
    /// default runtime: first those of the runtime, then those of each function in this program.
    ///
    /// ```
    /// use retry_runtime::Runtime;
    /// use std::time::Duration;
    ///
    /// let settings = Runtime::builder().max_message(16 << 20).settings();
    /// let line = settings.lines().find(|line| line.contains("max_message")).unwrap();
    /// assert_eq!(line.split_whitespace().collect::<Vec<_>>(), ["max_message", "16MiB", "builder"]);
    /// ```
    #[must_use]
    pub fn settings(&self) -> String {
        self.config.list("runtime", &registry::descriptions())
    }

    /// Starts the runtime. In a worker this returns the runtime that the worker belongs to.
    ///
    /// # Errors
    ///
    /// Returns the operating system's error if it has no thread or descriptor left, and an error of the kind
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) if there is no [`engine`](Self::engine) at the address.
    pub fn build(self) -> io::Result<Runtime> {
        if let Some(upstream) = Upstream::get() {
            return Ok(Runtime {
                host: Host::Parent(upstream),
                _owner: None,
            });
        }
        let host = match self.config.address {
            Some(_) => Host::Fleet(host::start_fleet(self.config)?),
            None => Host::Here(host::start(self.config)?),
        };
        Ok(Runtime {
            host: host.clone(),
            _owner: Some(Arc::new(Owner(host))),
        })
    }
}
