//! Settings from outside: from the environment, and from the builder of a runtime.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use crate::api::options::Options;
use crate::api::retries::Retries;
use crate::wait::spin;
use crate::wire::Transport;

/// Default limit on the size of a message.
const MAX_MESSAGE: usize = 256 * 1024 * 1024;

/// Default limit on the results of a map that wait for their consumer.
const MAX_BUFFERED: usize = 64 * 1024 * 1024;

/// Default time that a program waits, when it ends, for calls that it has spawned.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(10);

/// The treatment of lines that workers print.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum OutputMode {
    /// Forwarded, with the function and the input as a prefix.
    #[default]
    Prefixed,
    /// Forwarded unchanged.
    Raw,
    /// Kept only for error reports and events.
    None,
}

/// Whether and how a program with `#[local_entrypoint]` shows its progress.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum ProgressMode {
    /// On a terminal by one line that is redrawn, elsewhere by separate lines.
    #[default]
    Auto,
    /// By separate lines.
    Lines,
    /// Not at all.
    None,
}

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
    pub(crate) output: OutputMode,
    pub(crate) progress: ProgressMode,
    pub(crate) shutdown_grace: Duration,
    pub(crate) inline: bool,
    pub(crate) seed: Option<u64>,
    /// Whether threads spin for a moment before they sleep.
    pub(crate) spin: bool,
    /// The transport of calls and answers.
    pub(crate) transport: Transport,
    /// Environment variables for the workers; `None` removes one.
    pub(crate) environment: Vec<(OsString, Option<OsString>)>,
    pub(crate) directory: Option<PathBuf>,
    pub(crate) program: Option<PathBuf>,
    /// A problem with the settings, for which calls are rejected.
    pub(crate) invalid: Option<Box<str>>,
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
        config.options = match duration_or_none(text)? {
            Some(grace) => config.options.grace(grace),
            None => config.options.no_grace(),
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
        config.shutdown_grace = duration(text)?;
        Ok(())
    }),
    ("RETRY_MAX_MESSAGE", |config, text| {
        config.max_message = size(text)?;
        Ok(())
    }),
    ("RETRY_MAX_BUFFERED", |config, text| {
        config.max_buffered = size(text)?;
        Ok(())
    }),
    ("RETRY_OUTPUT", |config, text| {
        config.output = match text {
            "prefixed" => OutputMode::Prefixed,
            "raw" => OutputMode::Raw,
            "none" => OutputMode::None,
            _ => return Err("must be prefixed, raw or none".to_owned()),
        };
        Ok(())
    }),
    ("RETRY_PROGRESS", |config, text| {
        config.progress = match text {
            "auto" => ProgressMode::Auto,
            "lines" => ProgressMode::Lines,
            "none" => ProgressMode::None,
            _ => return Err("must be auto, lines or none".to_owned()),
        };
        Ok(())
    }),
    ("RETRY_ENGINE", |config, text| {
        config.inline = match text {
            "inline" => true,
            "processes" => false,
            _ => return Err("must be processes or inline".to_owned()),
        };
        Ok(())
    }),
    ("RETRY_SEED", |config, text| {
        config.seed = Some(number(text)?);
        Ok(())
    }),
    ("RETRY_SPIN", |config, text| {
        config.spin = match text {
            "0" => false,
            "1" => true,
            _ => return Err("must be 0 or 1".to_owned()),
        };
        Ok(())
    }),
    ("RETRY_TRANSPORT", |config, text| {
        config.transport = match text {
            "rings" => Transport::Rings,
            "socket" => Transport::Socket,
            _ => return Err("must be rings or socket".to_owned()),
        };
        Ok(())
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
            output: OutputMode::default(),
            progress: ProgressMode::default(),
            shutdown_grace: SHUTDOWN_GRACE,
            inline: false,
            seed: None,
            spin: true,
            transport: Transport::default(),
            environment: Vec::new(),
            directory: None,
            program: None,
            invalid: None,
        }
    }
}

impl Config {
    /// Reads the settings from the environment.
    pub(crate) fn from_environment() -> Self {
        let config = Self::from(|name| std::env::var(name).ok());
        spin::enable(config.spin);
        config
    }

    fn from(variable: impl Fn(&str) -> Option<String>) -> Self {
        let mut config = Self::default();
        for (name, set) in VARIABLES {
            if let Some(text) = variable(name)
                && let Err(problem) = set(&mut config, text.trim())
            {
                config.invalid = Some(format!("{name}={text:?} {problem}").into());
            }
        }
        config
    }
}

/// Returns a warning for each unknown variable that starts with `RETRY_`, with the one that may be meant.
pub(crate) fn warnings(names: impl IntoIterator<Item = String>) -> Vec<String> {
    let known = || VARIABLES.iter().map(|(name, _)| *name);
    names
        .into_iter()
        .filter(|name| name.starts_with("RETRY_"))
        .filter(|name| !OWN.contains(&name.as_str()) && known().all(|known| known != name))
        .map(|name| {
            let nearest = known().min_by_key(|known| distance(known, &name));
            match nearest.filter(|known| distance(known, &name) <= 4) {
                Some(nearest) => format!("{name} is unknown; did you mean {nearest}?"),
                None => format!("{name} is unknown"),
            }
        })
        .collect()
}

/// Returns the number of letters to change to turn one text into the other (Levenshtein distance).
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, letter) in one.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, second) in other.iter().enumerate() {
            let changed = diagonal + usize::from(letter != *second);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[other.len()]
}

fn number<N: std::str::FromStr>(text: &str) -> Result<N, String> {
    text.parse()
        .map_err(|_| "must be a number that is not negative".to_owned())
}

fn duration_or_none(text: &str) -> Result<Option<Duration>, String> {
    match text {
        "none" => Ok(None),
        text => duration(text).map(Some),
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    const PROBLEM: &str = "must be a duration such as 500ms, 30s, 5m or 1h";
    let (number, unit) = split(text);
    let seconds = match unit {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(PROBLEM.to_owned()),
    };
    let number: f64 = number.parse().map_err(|_| PROBLEM)?;
    match Duration::try_from_secs_f64(number * seconds) {
        Ok(duration) if !duration.is_zero() => Ok(duration),
        Ok(_) | Err(_) => Err(PROBLEM.to_owned()),
    }
}

fn size(text: &str) -> Result<usize, String> {
    const PROBLEM: &str = "must be a size such as 512KiB, 64MiB or 1GiB, or a number of bytes";
    let (number, unit) = split(text);
    let bytes: usize = match unit {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err(PROBLEM.to_owned()),
    };
    let number: usize = number.parse().map_err(|_| PROBLEM)?;
    number.checked_mul(bytes).ok_or(PROBLEM.to_owned())
}

fn split(text: &str) -> (&str, &str) {
    let end = text
        .find(|letter: char| letter.is_ascii_alphabetic())
        .unwrap_or(text.len());
    (text[..end].trim(), &text[end..])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(variables: &[(&str, &str)]) -> Config {
        Config::from(|name| {
            let mut all = variables.iter();
            all.find(|(known, _)| *known == name)
                .map(|(_, value)| (*value).to_owned())
        })
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
            Some("RETRY_TIMEOUT=\"30\" must be a duration such as 500ms, 30s, 5m or 1h")
        );
        let wrong = config(&[("RETRY_TRANSPORT", "pigeon")]);
        assert_eq!(
            wrong.invalid.as_deref(),
            Some("RETRY_TRANSPORT=\"pigeon\" must be rings or socket")
        );
    }

    #[test]
    fn a_misspelt_variable_suggests_the_nearest() {
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
