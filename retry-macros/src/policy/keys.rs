//! The names of the options, and the errors about unknown names.

use proc_macro2::Ident;

/// The options of `#[function]`.
pub(super) const KEYS: &[&str] = &[
    "retries",
    "retry_if",
    "timeout",
    "deadline",
    "startup_timeout",
    "setup",
    "teardown",
    "max_workers",
    "min_workers",
    "scaledown_window",
    "max_calls_per_worker",
    "single_use_workers",
    "memory",
    "max_rss_growth",
    "grace",
    "concurrency",
    "batch",
    "crash_limit",
    "at_most_once",
    "redact",
    "version",
    "cache",
    "name",
    "crate",
];

const MACHINE: &str = "is not supported because workers run on this machine as it is";
const FILES: &str = "is not supported because workers see this machine's files";
const CONTAINER: &str = "is not supported because a worker is a process and not a container";

/// Names of options in Modal, each with the rest of its error.
const FOREIGN: &[(&str, &str)] = &[
    ("max_containers", "is called `max_workers` here"),
    ("concurrency_limit", "is called `max_workers` here"),
    ("min_containers", "is called `min_workers` here"),
    ("keep_warm", "is called `min_workers` here"),
    (
        "buffer_containers",
        "is not supported because a worker starts within milliseconds; see `min_workers`",
    ),
    (
        "single_use_containers",
        "is called `single_use_workers` here",
    ),
    (
        "container_idle_timeout",
        "is called `scaledown_window` here",
    ),
    ("max_inputs", "is called `max_calls_per_worker` here"),
    ("allow_concurrent_inputs", "is called `concurrency` here"),
    ("max_concurrent_inputs", "is called `concurrency` here"),
    ("max_batch_size", "is written `batch(max_size = ..)` here"),
    ("batch_max_size", "is written `batch(max_size = ..)` here"),
    ("wait_ms", "is written `batch(max_wait = \"..ms\")` here"),
    (
        "batch_wait_ms",
        "is written `batch(max_wait = \"..ms\")` here",
    ),
    ("max_retries", "is called `retries` here"),
    ("enter", "is called `setup` here"),
    ("exit", "is called `teardown` here"),
    (
        "max_delay",
        "belongs into a list: `retries(max_retries = 3, max_delay = \"20s\")`",
    ),
    (
        "initial_delay",
        "belongs into a list: `retries(max_retries = 3, initial_delay = \"200ms\")`",
    ),
    (
        "backoff_coefficient",
        "belongs into a list: `retries(max_retries = 3, backoff_coefficient = 2.0)`",
    ),
    (
        "jitter",
        "belongs into a list: `retries(max_retries = 3, jitter)`",
    ),
    ("gpu", MACHINE),
    ("cpu", MACHINE),
    ("cloud", MACHINE),
    ("region", MACHINE),
    ("nonpreemptible", MACHINE),
    ("proxy", MACHINE),
    ("block_network", MACHINE),
    ("i6pn", MACHINE),
    ("volumes", FILES),
    ("mounts", FILES),
    ("network_file_systems", FILES),
    ("ephemeral_disk", FILES),
    ("enable_memory_snapshot", CONTAINER),
    (
        "image",
        "is not supported because a worker is the program itself",
    ),
    (
        "serialized",
        "is not supported because a worker is the program itself",
    ),
    (
        "schedule",
        "is not supported because nothing runs between calls; call the function when it is due",
    ),
    (
        "secrets",
        "is not supported because workers inherit the environment",
    ),
    (
        "is_generator",
        "is not supported because a call has one result; return a `Vec`, or map over inputs",
    ),
];

/// Returns the error about an option that a place does not have.
pub(crate) fn unknown(key: &Ident, place: &str, keys: &[&str]) -> syn::Error {
    let name = key.to_string();
    let message = match FOREIGN.iter().find(|(foreign, _)| *foreign == name) {
        Some((_, instead)) => format!("`{name}` {instead}"),
        None => not_among(&name, place, keys),
    };
    syn::Error::new(key.span(), message)
}

/// Returns the sentence about a name that is not in a list.
pub(super) fn not_among(name: &str, place: &str, keys: &[&str]) -> String {
    let near = retry_syntax::nearest(name, keys.iter().copied())
        .or_else(|| synonym(name, keys))
        .or_else(|| with_word(name, keys))
        .map_or_else(String::new, |key| format!(", did you mean `{key}`?"));
    let end = if near.is_empty() { "." } else { "" };
    format!(
        "unknown option `{name}`{place}{near}{end} Known are: {}",
        keys.join(", ")
    )
}

/// Names that other libraries have for an option.
const SYNONYMS: &[(&str, &[&str])] = &[
    (
        "max_retries",
        &[
            "max",
            "times",
            "count",
            "attempts",
            "max_attempts",
            "n",
            "retry",
        ],
    ),
    (
        "initial_delay",
        &[
            "initial",
            "delay",
            "min_delay",
            "first_delay",
            "base",
            "wait",
            "interval",
            "backoff",
        ],
    ),
    (
        "max_delay",
        &["cap", "max_interval", "max_wait", "max_backoff"],
    ),
    (
        "backoff_coefficient",
        &[
            "factor",
            "multiplier",
            "exponent",
            "exponential",
            "base_factor",
        ],
    ),
    (
        "jitter",
        &["jittered", "full_jitter", "random", "randomize"],
    ),
    ("max_size", &["max", "size", "limit", "n"]),
    ("max_wait", &["wait", "delay", "timeout", "linger"]),
    ("timeout", &["time_limit", "max_time", "limit"]),
    (
        "max_workers",
        &["workers", "processes", "parallelism", "threads"],
    ),
    ("setup", &["init", "state", "with"]),
    ("retry_if", &["when", "retry_on", "filter"]),
];

/// Returns the first of the options that another library calls `name`.
fn synonym<'a>(name: &str, keys: &[&'a str]) -> Option<&'a str> {
    let is_called_so = |key: &&str| {
        let mut entries = SYNONYMS.iter();
        entries.any(|(of, synonyms)| of == key && synonyms.contains(&name))
    };
    keys.iter().copied().find(is_called_so)
}

/// Returns the only option that has `name` as one of its words.
fn with_word<'a>(name: &str, keys: &[&'a str]) -> Option<&'a str> {
    let mut keys = keys
        .iter()
        .filter(|key| key.split('_').any(|word| word == name));
    keys.next().filter(|_| keys.next().is_none()).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_option_is_also_foreign() {
        for (foreign, _) in FOREIGN {
            assert!(!KEYS.contains(foreign), "{foreign}");
        }
    }

    #[test]
    fn a_similar_option_is_suggested() {
        assert!(not_among("retrys", "", KEYS).contains("did you mean `retries`?"));
        assert!(not_among("timout", "", KEYS).contains("did you mean `timeout`?"));
        let list = &["max_retries", "initial_delay", "max_delay", "jitter"];
        for (name, key) in [
            ("max", "max_retries"),
            ("initial", "initial_delay"),
            ("cap", "max_delay"),
        ] {
            assert!(not_among(name, "", list).contains(&format!("did you mean `{key}`?")));
        }
        assert!(not_among("init", "", KEYS).contains("did you mean `setup`?"));
        assert!(!not_among("colour", "", KEYS).contains("did you mean"));
    }
}
