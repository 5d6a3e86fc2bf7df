//! The static description of an annotated function.

use std::fmt;
use std::time::Duration;

use crate::api::crash_limit::CrashLimit;
use crate::api::retries::Retries;

/// The text in place of what must not be shown.
pub(crate) const REDACTED: &str = "‹redacted›";

/// The static description of a function, as a stub's `spec` returns it: its name, its source location, and
/// its options.
///
/// ```
/// # use retry_runtime::function;
/// #[function(retries = 2, max_workers = 4)]
/// fn add(a: u64, b: u64) -> u64 {
///     a + b
/// }
///
/// assert_eq!(add.spec().parameters, ["a", "b"]);
/// assert_eq!(add.spec().max_workers, Some(4));
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct FunctionSpec {
    /// The registered name: module path and function, or the attribute's `name`.
    pub name: &'static str,
    /// The source file of the annotation.
    pub file: &'static str,
    /// The line of the annotation.
    pub line: u32,
    /// The names of the parameters that callers pass.
    pub parameters: &'static [&'static str],
    /// The retry policy.
    pub retries: Retries,
    /// The limit on the execution of one attempt.
    pub timeout: Option<Duration>,
    /// The limit on queue, attempts and delays together. In a map it counts for each input, from the start
    /// of its first attempt.
    pub deadline: Option<Duration>,
    /// The limit on the time from the start of a worker until it is ready.
    pub startup_timeout: Duration,
    /// The most workers; `None` is the number of cores.
    pub max_workers: Option<usize>,
    /// The number of workers that are kept when idle, once the function was called.
    pub min_workers: usize,
    /// The lifetime of an idle worker.
    pub scaledown_window: Duration,
    /// The number of calls after which a worker is replaced.
    pub max_calls_per_worker: Option<u64>,
    /// The limit in bytes on the memory of one worker with all processes that it started.
    pub memory: Option<u64>,
    /// The growth in bytes after its first call at which a worker is replaced.
    pub max_rss_growth: Option<u64>,
    /// The time that a cancelled or timed-out call has to end by itself before its worker is killed.
    pub grace: Duration,
    /// The number of inputs that one worker executes at once.
    pub concurrency: usize,
    /// The batches, for a function that takes many inputs at once.
    pub batch: Option<Batch>,
    /// The number of crashes that stops the function.
    pub crash_limit: CrashLimit,
    /// `true` if a call whose worker crashed ends instead of being run again.
    pub at_most_once: bool,
    /// `true` for an `async fn`.
    pub is_async: bool,
    /// The version of the function's results, which checkpoints and caches compare.
    pub version: Option<&'static str>,
    /// The directory of the cache of single calls.
    pub cache: Option<&'static str>,
    /// The names of the parameters whose values are not shown.
    pub redacted: &'static [&'static str],
    /// The options that the attribute gives.
    written: Written,
}

/// A set of options, one bit for each.
#[derive(Clone, Copy)]
struct Written(u32);

/// The options that an attribute may give, by the names of their fields.
const OPTIONS: [&str; 15] = [
    "retries",
    "timeout",
    "deadline",
    "startup_timeout",
    "max_workers",
    "min_workers",
    "scaledown_window",
    "max_calls_per_worker",
    "crash_limit",
    "memory",
    "max_rss_growth",
    "grace",
    "concurrency",
    "batch",
    "at_most_once",
];

impl Written {
    /// Returns the bit of an option. Unknown names have none.
    const fn bit(option: &str) -> u32 {
        let mut place = 0;
        while place < OPTIONS.len() {
            if is_same(OPTIONS[place].as_bytes(), option.as_bytes()) {
                return 1 << place;
            }
            place += 1;
        }
        0
    }

    #[must_use]
    const fn with(self, option: &str) -> Self {
        Self(self.0 | Self::bit(option))
    }
}

/// Compares two texts: `==` is no constant function.
const fn is_same(one: &[u8], other: &[u8]) -> bool {
    if one.len() != other.len() {
        return false;
    }
    let mut place = 0;
    while place < one.len() {
        if one[place] != other[place] {
            return false;
        }
        place += 1;
    }
    true
}

impl fmt::Debug for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let written = |option: &&&str| self.0 & Self::bit(option) != 0;
        f.debug_set()
            .entries(OPTIONS.iter().filter(written))
            .finish()
    }
}

/// The attribute that a description comes from, which decides which of its options apply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Annotation {
    Function,
    /// The options for the workers of a service.
    Service,
    /// The options for the calls of a service's method.
    Method,
}

/// The size of a batch, and the time to collect it: the option `batch`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Batch {
    /// The most inputs of one execution.
    pub max_size: usize,
    /// The time that the first input waits for others; 10 ms unless the attribute sets it.
    pub max_wait: Duration,
}

impl Batch {
    /// No batch at all.
    pub(crate) const ONE: Self = Self {
        max_size: 1,
        max_wait: Duration::ZERO,
    };
}

macro_rules! setters {
    ($($name:ident: $type:ty => $field:ident = $value:expr;)*) => {
        /// Setters for generated code.
        #[doc(hidden)]
        impl FunctionSpec {
            $(
                #[allow(missing_docs)]
                #[must_use]
                pub const fn $name(mut self, $name: $type) -> Self {
                    self.$field = $value;
                    self.written = self.written.with(stringify!($field));
                    self
                }
            )*
        }
    };
}

// Generated code checks the values: see `private.rs`.
setters! {
    retries: Retries => retries = retries;
    timeout: Duration => timeout = Some(timeout);
    deadline: Duration => deadline = Some(deadline);
    startup_timeout: Duration => startup_timeout = startup_timeout;
    max_workers: usize => max_workers = Some(max_workers);
    min_workers: usize => min_workers = min_workers;
    scaledown_window: Duration => scaledown_window = scaledown_window;
    max_calls_per_worker: u64 => max_calls_per_worker = Some(max_calls_per_worker);
    crash_limit: CrashLimit => crash_limit = crash_limit;
    memory: u64 => memory = Some(memory);
    max_rss_growth: u64 => max_rss_growth = Some(max_rss_growth);
    grace: Duration => grace = grace;
    concurrency: usize => concurrency = concurrency;
    version: &'static str => version = Some(version);
    cache: &'static str => cache = Some(cache);
    redact: &'static [&'static str] => redacted = redact;
}

impl FunctionSpec {
    /// Returns the number of inputs that one worker executes at once.
    pub(crate) const fn at_once(&self) -> usize {
        match self.batch {
            Some(batch) => batch.max_size,
            None => self.concurrency,
        }
    }
}

#[doc(hidden)]
impl FunctionSpec {
    /// Returns whether the attribute gives an option, named by its field.
    pub(crate) const fn is_written(&self, option: &str) -> bool {
        self.written.0 & Written::bit(option) != 0
    }

    /// Returns the name of the parameter at a position.
    pub(crate) fn parameter(&self, position: usize) -> &'static str {
        self.parameters.get(position).copied().unwrap_or("_")
    }

    /// Returns why the argument at a position cannot be encoded or decoded. The reason comes from the code of its
    /// type, which often quotes the value, so that of an argument that is not shown is left out.
    pub(crate) fn reason(&self, position: usize, reason: String) -> String {
        match self.redacted.contains(&self.parameter(position)) {
            true => REDACTED.to_owned(),
            false => reason,
        }
    }

    #[allow(missing_docs)]
    #[must_use]
    pub const fn new(
        name: &'static str,
        file: &'static str,
        line: u32,
        parameters: &'static [&'static str],
    ) -> Self {
        Self {
            name,
            file,
            line,
            parameters,
            retries: Retries::none(),
            timeout: None,
            deadline: None,
            startup_timeout: Duration::from_secs(60),
            max_workers: None,
            min_workers: 0,
            scaledown_window: Duration::from_secs(60),
            max_calls_per_worker: None,
            memory: None,
            max_rss_growth: None,
            grace: Duration::ZERO,
            concurrency: 1,
            batch: None,
            crash_limit: CrashLimit::DEFAULT,
            at_most_once: false,
            is_async: false,
            written: Written(0),
            version: None,
            cache: None,
            redacted: &[],
        }
    }

    #[allow(missing_docs)]
    #[must_use]
    pub const fn single_use_workers(mut self) -> Self {
        self.max_calls_per_worker = Some(1);
        self.written = self.written.with("max_calls_per_worker");
        self
    }

    #[allow(missing_docs)]
    #[must_use]
    pub const fn batch(mut self, max_size: usize, max_wait: Duration) -> Self {
        self.batch = Some(Batch { max_size, max_wait });
        self.written = self.written.with("batch");
        self
    }

    #[allow(missing_docs)]
    #[must_use]
    pub const fn at_most_once(mut self) -> Self {
        self.at_most_once = true;
        self.written = self.written.with("at_most_once");
        self
    }

    #[allow(missing_docs)]
    #[must_use]
    pub const fn asynchronous(mut self) -> Self {
        self.is_async = true;
        self
    }
}
