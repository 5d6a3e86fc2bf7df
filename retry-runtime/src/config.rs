//! Settings from outside: from the environment, and from the builder of a runtime.

mod choices;
pub(crate) mod listing;
pub(crate) mod start;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use retry_syntax::{Problem, Units};

use crate::api::engine::Address;
use crate::api::options::Options;
use crate::api::retries::Retries;
use crate::codec::payload;
pub use crate::wire::Transport;
use choices::Choice;

/// Default limit on the size of a message.
const MAX_MESSAGE: usize = 256 * 1024 * 1024;

/// Default limit on the results of a map that wait for their consumer.
const MAX_BUFFERED: usize = 64 * 1024 * 1024;

/// Default limit on the memory that is kept for large arguments.
const RETAINED_MEMORY: usize = 256 * 1024 * 1024;

/// Default time that a program waits, when it ends, for calls that it has spawned.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(10);

/// The treatment of lines that workers print, as [`Builder::output`](crate::runtime::Builder::output)
/// takes it.
///
/// In each case the last lines of standard error are kept for error reports, and events have all lines.
///
/// ```
/// use retry_runtime::{Runtime, runtime::OutputMode};
///
/// let quiet = Runtime::builder().output(OutputMode::None);
/// # drop(quiet);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OutputMode {
    /// Forwarded, with the function and the input as a prefix.
    #[default]
    Prefixed,
    /// Forwarded unchanged.
    Raw,
    /// Kept only for error reports and events.
    None,
}

/// The way in which a program shows its progress, as [`Program::progress`](crate::Program::progress)
/// takes it.
///
/// ```
/// use retry_runtime::{Program, runtime::ProgressMode};
///
/// let quiet = Program::new().progress(ProgressMode::None);
/// # drop(quiet);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProgressMode {
    /// On a terminal by bars, elsewhere by separate lines; see `retry_runtime::progress`.
    #[default]
    Auto,
    /// By separate lines.
    Lines,
    /// Not at all.
    None,
}

/// The status lines and the summary that a program with [`run`](crate::run) or `#[local_entrypoint]` prints on
/// standard error.
///
/// ```no_run
/// use retry_runtime::{Program, runtime::StatusMode};
///
/// retry_runtime::init();
/// Program::new().status(StatusMode::Fail).run(|| { /* .. */ });
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum StatusMode {
    /// Nothing.
    None,
    /// The calls that fail, and the summary.
    Fail,
    /// The attempts that fail or are slow, and the starts of workers that fail, as well.
    #[default]
    Retry,
    /// The calls that succeed as well.
    All,
}

/// The failed calls for which a program exits with code 100, although its own code has handled them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FailOn {
    /// None.
    #[default]
    Never,
    /// Calls without a result, unless they were cancelled.
    Failed,
    /// Failed calls, and calls that succeeded only after a failed attempt.
    Retried,
}

/// The functions that a process serves for an engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Serve {
    All,
    /// Those with these names, or with these last segments of their names.
    These(Vec<String>),
}

/// The time after which a machine that is not heard of any more is given up, unless it is set.
const HOST_TIMEOUT: Duration = Duration::from_secs(30);

/// The shortest such time. A machine has to be heard of several times within it.
pub(crate) const SHORTEST_HOST_TIMEOUT: Duration = Duration::from_secs(1);

/// The settings of one runtime. A value here overrides that of the attributes.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) options: Options,
    pub(crate) max_workers: Option<usize>,
    pub(crate) min_workers: Option<usize>,
    /// Maximum number of processes for all functions together.
    pub(crate) max_processes: Option<usize>,
    pub(crate) startup_timeout: Option<Duration>,
    pub(crate) scaledown_window: Option<Duration>,
    pub(crate) max_message: usize,
    /// Maximum number of bytes of results that may wait for the consumer of a map.
    pub(crate) max_buffered: usize,
    /// Maximum number of bytes of memory that are kept for the large arguments of further calls.
    pub(crate) retained_memory: usize,
    pub(crate) output: OutputMode,
    pub(crate) progress: ProgressMode,
    pub(crate) status: StatusMode,
    pub(crate) fail_on: FailOn,
    pub(crate) shutdown_grace: Duration,
    pub(crate) inline: bool,
    /// The address of the engine that calls go through, unless they run on this machine.
    pub(crate) address: Option<Address>,
    /// The functions that this process serves for an engine.
    pub(crate) serve: Option<Serve>,
    /// The time after which a machine that is not heard of any more is given up.
    pub(crate) host_timeout: Duration,
    /// The version of the program, whose builds of the same version understand each other.
    pub(crate) version: Option<String>,
    pub(crate) seed: Option<u64>,
    /// `true` if threads spin for a moment before they sleep.
    pub(crate) spin: bool,
    /// `true` if the future of a call may block its thread for a moment when it is first polled.
    pub(crate) busy_poll: bool,
    /// The way that calls and answers take between the processes.
    pub(crate) transport: Transport,
    /// Environment variables for the workers; `None` removes one.
    pub(crate) environment: Vec<(OsString, Option<OsString>)>,
    pub(crate) directory: Option<PathBuf>,
    /// `true` if failure reports show the arguments of calls.
    pub(crate) show_inputs: bool,
    /// The file that the events are appended to.
    pub(crate) events: Option<PathBuf>,
    /// The file that the report is written to.
    pub(crate) report: Option<PathBuf>,
    /// The file that the trace is written to.
    pub(crate) trace: Option<PathBuf>,
    pub(crate) program: Option<PathBuf>,
    /// The problems with the settings, for which calls are rejected.
    pub(crate) invalid: Option<Box<str>>,
    /// The variables that were set, with their texts.
    pub(crate) variables: Vec<(&'static str, String)>,
    /// The settings that a builder gave, by the names of its methods.
    pub(crate) built: Vec<&'static str>,
}

/// Applies the text of a variable to a setting.
type Set = fn(&mut Config, &str) -> Result<(), String>;

/// The variables that are read.
const VARIABLES: &[(&str, Set)] = &[
    ("RETRY_RETRIES", |config, text| {
        let retries: u32 = number(text)?;
        config.options = config.options.retries(Retries::from(retries));
        Ok(())
    }),
    ("RETRY_TIMEOUT", |config, text| {
        config.options = match duration_or_none(text)? {
            Some(limit) => config.options.timeout(limit),
            None => config.options.no_timeout(),
        };
        Ok(())
    }),
    ("RETRY_DEADLINE", |config, text| {
        config.options = match duration_or_none(text)? {
            Some(limit) => config.options.deadline(limit),
            None => config.options.no_deadline(),
        };
        Ok(())
    }),
    ("RETRY_GRACE", |config, text| {
        config.options = match text {
            "none" => config.options.no_grace(),
            text => config.options.grace(time(text)?),
        };
        Ok(())
    }),
    ("RETRY_MAX_WORKERS", |config, text| {
        config.max_workers = Some(match number(text)? {
            0 => return Err("must be at least 1".to_owned()),
            workers => workers,
        });
        Ok(())
    }),
    ("RETRY_MAX_PROCESSES", |config, text| {
        config.max_processes = Some(match number(text)? {
            0 => return Err("must be at least 1".to_owned()),
            processes => processes,
        });
        Ok(())
    }),
    ("RETRY_MIN_WORKERS", |config, text| {
        config.min_workers = Some(number(text)?);
        Ok(())
    }),
    ("RETRY_STARTUP_TIMEOUT", |config, text| {
        config.startup_timeout = Some(duration(text)?);
        Ok(())
    }),
    ("RETRY_SCALEDOWN_WINDOW", |config, text| {
        config.scaledown_window = Some(duration(text)?);
        Ok(())
    }),
    ("RETRY_SHUTDOWN_GRACE", |config, text| {
        config.shutdown_grace = time(text)?;
        Ok(())
    }),
    ("RETRY_MAX_MESSAGE", |config, text| {
        let bytes = size(text)?;
        config.max_message = payload::possible_limit(bytes);
        if bytes == config.max_message {
            return Ok(());
        }
        let [lowest, highest] = [0, usize::MAX].map(payload::possible_limit);
        Err(format!("must be from {lowest}B to {highest}B"))
    }),
    ("RETRY_MAX_BUFFERED", |config, text| {
        config.max_buffered = size(text)?;
        Ok(())
    }),
    ("RETRY_RETAINED_MEMORY", |config, text| {
        config.retained_memory = match text {
            "0" => 0,
            text => size(text)?,
        };
        Ok(())
    }),
    ("RETRY_OUTPUT", |config, text| {
        config.output = Choice::read(text)?;
        Ok(())
    }),
    ("RETRY_PROGRESS", |config, text| {
        config.progress = Choice::read(text)?;
        Ok(())
    }),
    ("RETRY_STATUS", |config, text| {
        config.status = Choice::read(text)?;
        Ok(())
    }),
    ("RETRY_FAIL_ON", |config, text| {
        config.fail_on = Choice::read(text)?;
        Ok(())
    }),
    ("RETRY_ENGINE", |config, text| {
        match text {
            "inline" => config.inline = true,
            "processes" => config.inline = false,
            address if address.contains("://") => {
                config.address = Some(Address(address.to_owned()))
            }
            _ => {
                return Err(
                    "must be processes, inline or the address of an engine, such as temporal://host:7233"
                        .to_owned(),
                );
            }
        }
        Ok(())
    }),
    ("RETRY_SERVE", |config, text| {
        config.serve = Some(match text {
            "all" => Serve::All,
            names => Serve::These(
                names
                    .split(',')
                    .map(|name| name.trim().to_owned())
                    .collect(),
            ),
        });
        Ok(())
    }),
    ("RETRY_HOST_TIMEOUT", |config, text| {
        config.host_timeout = time(text)?;
        match config.host_timeout < SHORTEST_HOST_TIMEOUT {
            true => Err(format!("must be at least {SHORTEST_HOST_TIMEOUT:?}")),
            false => Ok(()),
        }
    }),
    ("RETRY_VERSION", |config, text| {
        config.version = Some(text.to_owned());
        Ok(())
    }),
    ("RETRY_EVENTS", |config, text| {
        config.events = Some(file(text)?);
        Ok(())
    }),
    ("RETRY_REPORT", |config, text| {
        if !cfg!(feature = "report") {
            return Err(
                "needs the feature `report` of retry-runtime: build the program with it".to_owned(),
            );
        }
        config.report = Some(file(text)?);
        Ok(())
    }),
    ("RETRY_TRACE", |config, text| {
        config.trace = Some(file(text)?);
        Ok(())
    }),
    ("RETRY_SHOW_INPUTS", |config, text| {
        config.show_inputs = flag(text)?;
        Ok(())
    }),
    ("RETRY_SEED", |config, text| {
        config.seed = Some(number(text)?);
        Ok(())
    }),
    ("RETRY_BUSY_POLL", |config, text| {
        config.busy_poll = flag(text)?;
        Ok(())
    }),
    ("RETRY_SPIN", |config, text| {
        config.spin = flag(text)?;
        Ok(())
    }),
    ("RETRY_TRANSPORT", |config, text| {
        config.transport = Choice::read(text)?;
        Ok(())
    }),
    // Only the entry of a program acts on it: see `start.rs`.
    ("RETRY_CONFIG", |_, text| match text {
        "print" => Ok(()),
        _ => Err("must be print, which lists all settings".to_owned()),
    }),
];

/// Variables that the runtime sets for its workers.
const OWN: &[&str] = &[
    "RETRY_WORKER",
    "RETRY_WORKER_KEY",
    "RETRY_DEPTH",
    "RETRY_LINEAGE",
];

impl Default for Config {
    fn default() -> Self {
        Self {
            options: Options::new(),
            max_workers: None,
            min_workers: None,
            max_processes: None,
            startup_timeout: None,
            scaledown_window: None,
            max_message: MAX_MESSAGE,
            max_buffered: MAX_BUFFERED,
            retained_memory: RETAINED_MEMORY,
            output: OutputMode::default(),
            progress: ProgressMode::default(),
            status: StatusMode::default(),
            fail_on: FailOn::default(),
            shutdown_grace: SHUTDOWN_GRACE,
            inline: false,
            address: None,
            serve: None,
            host_timeout: HOST_TIMEOUT,
            version: None,
            seed: None,
            spin: true,
            busy_poll: false,
            transport: Transport::default(),
            environment: Vec::new(),
            directory: None,
            events: None,
            report: None,
            trace: None,
            show_inputs: true,
            program: None,
            invalid: None,
            variables: Vec::new(),
            built: Vec::new(),
        }
    }
}

impl Config {
    /// Reads the settings from the environment.
    pub(crate) fn from_environment() -> Self {
        Self::read(|name| std::env::var_os(name)).0
    }

    /// Reads the settings from variables. Also returns a sentence about each invalid one.
    fn read(variable: impl Fn(&str) -> Option<OsString>) -> (Self, Vec<String>) {
        let mut config = Self::default();
        let mut problems = Vec::new();
        for (name, set) in VARIABLES {
            let Some(text) = variable(name) else {
                continue;
            };
            let done = match text.to_str() {
                Some(text) => set(&mut config, text.trim()),
                None => Err("must be valid UTF-8".to_owned()),
            };
            match done {
                Ok(()) => {
                    let text = text.to_string_lossy().trim().to_owned();
                    config.variables.push((name, text));
                }
                Err(problem) => problems.push(format!("{name}={text:?} {problem}")),
            }
        }
        if !problems.is_empty() {
            config.invalid = Some(problems.join("; ").into());
        }
        (config, problems)
    }

    /// Notes that a method of a builder gave a setting.
    pub(crate) fn note_built(&mut self, setting: &'static str) {
        self.built.push(setting);
    }
}

/// Returns a warning for each unknown variable that starts with `RETRY_`, with the one that may be meant.
pub(crate) fn warnings(names: impl IntoIterator<Item = String>) -> Vec<String> {
    let known = || VARIABLES.iter().map(|(name, _)| *name);
    names
        .into_iter()
        .filter(|name| name.starts_with("RETRY_"))
        .filter(|name| !OWN.contains(&name.as_str()) && known().all(|known| known != name))
        .map(|name| match nearest(&name) {
            Some(nearest) => format!("{name} is unknown; did you mean {nearest}?"),
            None => format!("{name} is unknown"),
        })
        .collect()
}

/// Returns the variable that an unknown one is likely meant to be. All have the same beginning, which says
/// nothing.
fn nearest(unknown: &str) -> Option<&'static str> {
    let end = |name: &'static str| name.strip_prefix("RETRY_").unwrap_or(name);
    let unknown = unknown.strip_prefix("RETRY_")?;
    let near = retry_syntax::nearest(unknown, VARIABLES.iter().map(|(name, _)| end(name)))?;
    let mut names = VARIABLES.iter().map(|(name, _)| *name);
    names.find(|name| end(name) == near)
}

fn number<N: std::str::FromStr>(text: &str) -> Result<N, String> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().map_err(|_| match is_number {
        true => "is too large".to_owned(),
        false => "must be a number that is not negative".to_owned(),
    })
}

fn flag(text: &str) -> Result<bool, String> {
    match text {
        "0" => Ok(false),
        "1" => Ok(true),
        _ => Err("must be 0 or 1".to_owned()),
    }
}

fn file(text: &str) -> Result<PathBuf, String> {
    match text {
        "" => Err("must be the path of a file".to_owned()),
        path => Ok(path.into()),
    }
}

fn duration_or_none(text: &str) -> Result<Option<Duration>, String> {
    match text {
        "none" => Ok(None),
        text => duration(text).map(Some),
    }
}

/// Reads a limit in time.
fn duration(text: &str) -> Result<Duration, String> {
    match time(text)? {
        Duration::ZERO => Err("must be longer than zero".to_owned()),
        duration => Ok(duration),
    }
}

/// Reads a duration, which may be zero.
fn time(text: &str) -> Result<Duration, String> {
    let kind = "a duration such as 500ms, 30s, 5m or 1h";
    let nanos = retry_syntax::DURATION.read(text);
    nanos
        .map(Duration::from_nanos)
        .map_err(|problem| explain(&problem, retry_syntax::DURATION, kind))
}

fn size(text: &str) -> Result<usize, String> {
    let kind = "a size such as 512KiB, 64MiB or 1GiB";
    let bytes = retry_syntax::SIZE
        .read(text)
        .map_err(|problem| explain(&problem, retry_syntax::SIZE, kind))?;
    usize::try_from(bytes).map_err(|_| format!("must be {kind}"))
}

/// Returns the sentence about a variable that is no number with a unit.
fn explain(problem: &Problem, units: Units, kind: &str) -> String {
    match problem {
        Problem::Form => format!("must be {kind}"),
        Problem::Negative => "must not be negative".to_owned(),
        Problem::NoUnit { write } => format!("needs a unit: write {write}"),
        Problem::UnknownUnit {
            unit,
            write: Some(write),
        } => format!("has the unknown unit `{unit}`: write {write}"),
        Problem::UnknownUnit { unit, write: None } => {
            let names: Vec<&str> = units.names().collect();
            let names = names.join(", ");
            format!("has the unknown unit `{unit}`; known are: {names}")
        }
        Problem::TooLarge => "is too large".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(variables: &[(&str, &str)]) -> Config {
        let (config, _) = Config::read(|name| {
            let mut all = variables.iter();
            all.find(|(known, _)| *known == name)
                .map(|(_, value)| (*value).into())
        });
        config
    }

    #[test]
    fn the_environment_is_read_and_mistakes_are_named() {
        let read = config(&[
            ("RETRY_MAX_WORKERS", "3"),
            ("RETRY_MAX_MESSAGE", "2MiB"),
            ("RETRY_STARTUP_TIMEOUT", "1.5s"),
            ("RETRY_PROGRESS", "lines"),
            ("RETRY_TRANSPORT", "socket"),
        ]);
        assert_eq!(read.max_workers, Some(3));
        assert_eq!(read.max_message, 2 << 20);
        assert_eq!(read.startup_timeout, Some(Duration::from_millis(1500)));
        assert_eq!(read.progress, ProgressMode::Lines);
        assert_eq!(read.transport, Transport::Socket);
        assert_eq!(read.invalid, None);
        let wrong = config(&[("RETRY_TIMEOUT", "30")]);
        assert_eq!(
            wrong.invalid.as_deref(),
            Some("RETRY_TIMEOUT=\"30\" needs a unit: write 30s")
        );
        let wrong = config(&[("RETRY_TRANSPORT", "pigeon")]);
        assert_eq!(
            wrong.invalid.as_deref(),
            Some("RETRY_TRANSPORT=\"pigeon\" must be rings or socket")
        );
    }

    #[test]
    fn all_mistakes_are_named() {
        use std::os::unix::ffi::OsStringExt;

        let (config, problems) = Config::read(|name| match name {
            "RETRY_TIMEOUT" => Some("30".into()),
            "RETRY_CONFIG" => Some("show".into()),
            "RETRY_SEED" => Some(OsString::from_vec(vec![b'7', 0xff])),
            _ => None,
        });
        let expected = [
            "RETRY_TIMEOUT=\"30\" needs a unit: write 30s",
            "RETRY_SEED=\"7\\xFF\" must be valid UTF-8",
            "RETRY_CONFIG=\"show\" must be print, which lists all settings",
        ];
        assert_eq!(problems, expected);
        assert_eq!(config.invalid.as_deref(), Some(&*expected.join("; ")));
    }

    #[test]
    fn a_duration_or_a_size_says_what_to_write() {
        for (name, text, problem) in [
            (
                "RETRY_TIMEOUT",
                "3 sec",
                "has the unknown unit `sec`: write 3s",
            ),
            (
                "RETRY_DEADLINE",
                "1 week",
                "has the unknown unit `week`; known are: ns, us, ms, s, m, h",
            ),
            ("RETRY_TIMEOUT", "-3s", "must not be negative"),
            ("RETRY_TIMEOUT", "0s", "must be longer than zero"),
            (
                "RETRY_SHUTDOWN_GRACE",
                "long",
                "must be a duration such as 500ms, 30s, 5m or 1h",
            ),
            (
                "RETRY_MAX_MESSAGE",
                "1g",
                "has the unknown unit `g`: write 1GiB",
            ),
            ("RETRY_MAX_BUFFERED", "64", "needs a unit: write 64MiB"),
            (
                "RETRY_MAX_BUFFERED",
                "1000000",
                "needs a unit: write 1000000B",
            ),
            (
                "RETRY_MAX_MESSAGE",
                "5GiB",
                "must be from 64B to 4278190079B",
            ),
        ] {
            let wrong = config(&[(name, text)]);
            let expected = format!("{name}={text:?} {problem}");
            assert_eq!(wrong.invalid.as_deref(), Some(&*expected));
        }
        let read = config(&[
            ("RETRY_SHUTDOWN_GRACE", "0s"),
            ("RETRY_MAX_MESSAGE", "1.5GB"),
        ]);
        assert_eq!(read.shutdown_grace, Duration::ZERO);
        assert_eq!(read.max_message, 1_500_000_000);
    }

    #[test]
    fn a_typing_mistake_is_named_with_the_nearest_variable() {
        let names = [
            "RETRY_MAX_WORKER",
            "RETRY_WORKER",
            "RETRY_TIMEOUT",
            "PATH",
            "RETRY_PROGRES",
        ];
        assert_eq!(
            warnings(names.map(String::from)),
            [
                "RETRY_MAX_WORKER is unknown; did you mean RETRY_MAX_WORKERS?",
                "RETRY_PROGRES is unknown; did you mean RETRY_PROGRESS?",
            ]
        );
        let strange = warnings(["RETRY_COLOUR_OF_THE_SKY".to_owned()]);
        assert_eq!(strange, ["RETRY_COLOUR_OF_THE_SKY is unknown"]);
    }
}
