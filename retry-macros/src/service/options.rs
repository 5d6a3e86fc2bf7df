//! The options of a service and of its methods.

use crate::args::{Arg, Args, Errors, Value};
use crate::policy;

/// The options of `#[service]`. They are about workers, which all methods share.
const OF_SERVICES: &[&str] = &[
    "max_workers",
    "min_workers",
    "scaledown_window",
    "startup_timeout",
    "max_calls_per_worker",
    "single_use_workers",
    "memory",
    "max_rss_growth",
    "concurrency",
    "grace",
    "crash_limit",
    "name",
    "crate",
];

/// The options of `#[method]`. They are about calls.
const OF_METHODS: &[&str] = &[
    "retries",
    "retry_if",
    "timeout",
    "deadline",
    "at_most_once",
    "redact",
    "version",
    "cache",
    "name",
];

/// The options of `#[function]` that neither has, each with its replacement.
const OF_NEITHER: &[(&str, &str)] = &[
    (
        "setup",
        "a service has its constructor instead of `setup`: put #[setup] on `fn new(..) -> Self`",
    ),
    (
        "teardown",
        "a service has a method instead of `teardown`: put #[teardown] on `fn close(self)`",
    ),
    (
        "batch",
        "a method takes one input at a time; for `batch` write a #[function] with `setup`",
    ),
];

/// Returns the options of a service, and reports the others.
pub(super) fn of_service(args: &Args, errors: &mut Errors) -> Args {
    own(args, OF_SERVICES, " of a service", errors, |arg| {
        OF_METHODS.contains(&key(arg).as_str()).then(|| {
            let (key, form) = (key(arg), form(arg));
            format!("`{key}` is for single methods: #[method({form})]")
        })
    })
}

/// Returns the options of a method, and reports the others.
pub(super) fn of_method(args: &Args, errors: &mut Errors) -> Args {
    own(args, OF_METHODS, " of a method", errors, |arg| {
        OF_SERVICES.contains(&key(arg).as_str()).then(|| {
            let (key, form) = (key(arg), form(arg));
            format!("`{key}` is for the whole service: #[service({form})]")
        })
    })
}

fn own(
    args: &Args,
    keys: &[&str],
    place: &str,
    errors: &mut Errors,
    misplaced: impl Fn(&Arg) -> Option<String>,
) -> Args {
    let mut kept = Args::new();
    for arg in args {
        let key = key(arg);
        let neither = OF_NEITHER.iter().find(|(other, _)| *other == key);
        if keys.contains(&key.as_str()) {
            kept.push(arg.clone());
        } else if let Some((_, instead)) = neither {
            errors.report(&arg.key, instead);
        } else if let Some(message) = misplaced(arg) {
            errors.report(&arg.key, message);
        } else {
            errors.push(policy::unknown(&arg.key, place, keys));
        }
    }
    kept
}

fn key(arg: &Arg) -> String {
    arg.key.to_string()
}

/// Returns an option as it was written, without its value.
fn form(arg: &Arg) -> String {
    let key = key(arg);
    match arg.value {
        Value::Flag => key,
        Value::List(_) => format!("{key}(..)"),
        Value::Given(_) | Value::Broken => format!("{key} = .."),
    }
}
