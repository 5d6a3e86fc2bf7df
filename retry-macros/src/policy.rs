//! The options once checked: each as the call of a setter on the function's static description.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Expr, ExprLit, ExprUnary, Ident, Lit, LitStr, Path, UnOp};

use crate::args::{Arg, Args, Errors, Value};

/// The keys, for "did you mean" and the list in the message about an unknown one.
const KEYS: &[&str] = &[
    "retries",
    "retry_if",
    "timeout",
    "deadline",
    "startup_timeout",
    "setup",
    "teardown",
    "grace",
    "memory",
    "max_rss_growth",
    "concurrency",
    "batch",
    "max_workers",
    "min_workers",
    "scaledown_window",
    "max_calls_per_worker",
    "single_use_workers",
    "crash_limit",
    "at_most_once",
    "name",
    "crate",
];

/// Keys that are known from elsewhere, with what to say about them.
const FOREIGN: &[(&str, &str)] = &[
    ("max_containers", "is called `max_workers` here"),
    ("concurrency_limit", "is called `max_workers` here"),
    ("min_containers", "is called `min_workers` here"),
    ("keep_warm", "is called `min_workers` here"),
    (
        "single_use_containers",
        "is called `single_use_workers` here",
    ),
    (
        "container_idle_timeout",
        "is called `scaledown_window` here",
    ),
    ("max_retries", "is called `retries` here"),
    (
        "gpu",
        "is not supported: workers run on this machine as it is",
    ),
    (
        "cpu",
        "is not supported: workers run on this machine as it is",
    ),
    ("image", "is not supported: a worker is the program itself"),
    (
        "schedule",
        "is not supported: call the function when it is due",
    ),
    (
        "volumes",
        "is not supported: workers see this machine's files",
    ),
    (
        "secrets",
        "is not supported: workers inherit the environment",
    ),
];

/// The longest delay that a retry policy may ask for, in nanoseconds.
const LONGEST_DELAY: u128 = 24 * 60 * 60 * 1_000_000_000;

/// The options that the macro itself needs, and the setters for the rest.
#[derive(Default)]
pub(crate) struct Policy {
    pub(crate) setters: Vec<TokenStream>,
    pub(crate) retry_if: Option<Expr>,
    pub(crate) setup: Option<Expr>,
    pub(crate) teardown: Option<Expr>,
    pub(crate) batch: bool,
    pub(crate) name: Option<LitStr>,
}

/// Where the runtime is, which has to be known before anything else.
pub(crate) fn runtime(args: &Args) -> Option<Path> {
    args.iter().find_map(|arg| match &arg.value {
        Value::Given(value) if arg.key == "crate" => match &**value {
            Expr::Path(path) => Some(path.path.clone()),
            _ => None,
        },
        _ => None,
    })
}

/// Checks all options.
pub(crate) fn check(args: &Args, private: &TokenStream, errors: &mut Errors) -> Policy {
    let mut policy = Policy::default();
    let mut seen: Vec<&Ident> = Vec::new();
    let mut retries_key = None;
    let mut at_most_once_key = None;
    for arg in args {
        let key = &arg.key;
        if seen.contains(&key) {
            errors.report(key, format!("`{key}` is given twice"));
            continue;
        }
        seen.push(key);
        let checker = Checker { arg, private };
        let setter = match key.to_string().as_str() {
            "retries" => {
                if !checker.is_zero() {
                    retries_key = Some(key);
                }
                checker.retries()
            }
            "memory" | "max_rss_growth" => checker.size(),
            "concurrency" => checker.integer("usize", 1),
            "batch" => {
                policy.batch = true;
                checker.batch()
            }
            "teardown" => checker.expression("a function `fn(S)`").map(|value| {
                policy.teardown = Some(value.clone());
                TokenStream::new()
            }),
            name @ ("timeout" | "deadline" | "startup_timeout" | "scaledown_window" | "grace") => {
                checker.duration(name)
            }
            "max_workers" => checker.integer("usize", 1),
            "min_workers" => checker.integer("usize", 0),
            "max_calls_per_worker" => checker.integer("u64", 1),
            "single_use_workers" => checker.flag(),
            "at_most_once" => {
                at_most_once_key = Some(key);
                checker.flag()
            }
            "crash_limit" => checker
                .expression("a const CrashLimit")
                .map(|value| quote!(.crash_limit(#value))),
            "retry_if" => checker
                .expression("a function `fn(&E) -> bool`")
                .map(|value| {
                    policy.retry_if = Some(value.clone());
                    TokenStream::new()
                }),
            "setup" => checker.expression("a function `fn() -> S`").map(|value| {
                policy.setup = Some(value.clone());
                TokenStream::new()
            }),
            "name" => checker.name().map(|name| {
                policy.name = Some(name);
                TokenStream::new()
            }),
            "crate" => match runtime(args) {
                Some(_) => Ok(TokenStream::new()),
                None => Err(checker.error("`crate` takes a path: `crate = ::my::runtime`")),
            },
            _ => Err(unknown(key)),
        };
        if let Some(setter) = errors.keep(setter) {
            policy.setters.push(setter);
        }
    }
    if let (Some(key), Some(_)) = (at_most_once_key, retries_key) {
        errors.report(
            key,
            "`at_most_once` and `retries` contradict each other: remove one of them",
        );
    }
    policy
}

struct Checker<'a> {
    arg: &'a Arg,
    private: &'a TokenStream,
}

impl<'a> Checker<'a> {
    fn error(&self, message: impl std::fmt::Display) -> syn::Error {
        match &self.arg.value {
            Value::Given(value) => syn::Error::new_spanned(value, message),
            _ => syn::Error::new(self.arg.key.span(), message),
        }
    }

    fn expression(&self, what: &str) -> syn::Result<&'a Expr> {
        let key = &self.arg.key;
        match &self.arg.value {
            Value::Given(value) => Ok(value),
            _ => Err(self.error(format!("`{key}` takes {what}: `{key} = ..`"))),
        }
    }

    fn flag(&self) -> syn::Result<TokenStream> {
        let key = &self.arg.key;
        match &self.arg.value {
            Value::Flag => Ok(quote!(.#key())),
            _ => Err(self.error(format!("`{key}` takes no value: write `{key}` alone"))),
        }
    }

    fn is_zero(&self) -> bool {
        matches!(&self.arg.value, Value::Given(value) if integer(value).is_some_and(|n| n == "0"))
    }

    fn name(&self) -> syn::Result<LitStr> {
        match literal(self.expression("a string")?) {
            Some(Lit::Str(name)) if !name.value().is_empty() => Ok(name.clone()),
            _ => Err(self.error("`name` takes a string that is not empty: `name = \"resize\"`")),
        }
    }

    fn integer(&self, kind: &str, least: u64) -> syn::Result<TokenStream> {
        let key = &self.arg.key;
        let value = self.expression("an integer")?;
        if is_negative(value) {
            return Err(self.error(format!("`{key}` must not be negative")));
        }
        match (literal(value), integer(value)) {
            (_, Some(digits)) if least > 0 && digits == "0" => {
                Err(self.error(format!("`{key}` must be at least {least}")))
            }
            (_, Some(_)) | (None, None) => {
                let kind = Ident::new(kind, self.arg.key.span());
                Ok(quote!(.#key({ const VALUE: ::core::primitive::#kind = #value; VALUE })))
            }
            (Some(_), None) => {
                Err(self.error(format!("`{key}` takes an integer, as in `{key} = 4`")))
            }
        }
    }

    fn duration(&self, key: &str) -> syn::Result<TokenStream> {
        let value = self.expression("a duration")?;
        let duration = duration(key, value, self.private)?;
        let key = &self.arg.key;
        Ok(quote!(.#key(#duration)))
    }

    fn size(&self) -> syn::Result<TokenStream> {
        let key = &self.arg.key;
        let value = self.expression("a size")?;
        let Some(Lit::Str(text)) = literal(value) else {
            return Ok(quote!(.#key(#value)));
        };
        let text = text.value();
        let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let unit: u64 = match &text[digits.len()..] {
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            _ => return Err(self.error("a size is written as in \"512MiB\"")),
        };
        let number: u64 = digits.parse().map_err(|_| self.error("not a size"))?;
        let bytes = number * unit;
        Ok(quote!(.#key(#bytes)))
    }

    fn batch(&self) -> syn::Result<TokenStream> {
        let Value::List(list) = &self.arg.value else {
            return Err(self.error("`batch(max_size = 64)`"));
        };
        let (mut size, mut wait) = (quote!(1), quote!(::core::time::Duration::from_millis(10)));
        for arg in list {
            let checker = Checker {
                arg,
                private: self.private,
            };
            let value = checker.expression("a value")?;
            if arg.key == "max_size" {
                size = quote!(#value);
            } else {
                wait = duration("max_wait", value, self.private)?;
            }
        }
        Ok(quote!(.batch(#size, #wait)))
    }

    fn retries(&self) -> syn::Result<TokenStream> {
        let private = self.private;
        let value = match &self.arg.value {
            Value::List(list) => return retries_list(list, private),
            Value::Flag => {
                return Err(self
                    .error("`retries` takes a number, a const Retries, or a list: `retries = 3`"));
            }
            Value::Given(value) => value,
        };
        if is_negative(value) {
            return Err(self.error("`retries` must not be negative"));
        }
        if let Some(digits) = integer(value) {
            let number: u32 = digits.parse().map_err(|_| {
                self.error(format!("`retries` must not be larger than {}", u32::MAX))
            })?;
            return Ok(quote! {
                .retries(#private::Retries::fixed(#number, ::core::time::Duration::from_secs(1)))
            });
        }
        match literal(value) {
            Some(_) => Err(self.error(
                "`retries` takes an integer (`retries = 3`), a const Retries, or a list \
                 (`retries(max_retries = 3, initial_delay = \"200ms\")`)",
            )),
            None => Ok(quote!(.retries(#private::RetriesFrom(#value).get()))),
        }
    }
}

/// `retries(max_retries = 5, ..)`.
fn retries_list(list: &Args, private: &TokenStream) -> syn::Result<TokenStream> {
    const KEYS: &[&str] = &[
        "max_retries",
        "backoff_coefficient",
        "initial_delay",
        "max_delay",
        "jitter",
    ];
    let mut errors = Errors::default();
    let mut max_retries = None;
    let mut setters = Vec::new();
    let mut seen: Vec<&Ident> = Vec::new();
    // As the runtime has them where they are not given.
    let (mut initial, mut cap) = (Some(1_000_000_000), Some(60_000_000_000));
    let mut initial_at = None;
    for arg in list {
        let key = &arg.key;
        if seen.contains(&key) {
            errors.report(key, format!("`{key}` is given twice"));
            continue;
        }
        seen.push(key);
        let checker = Checker { arg, private };
        match key.to_string().as_str() {
            "max_retries" => {
                max_retries = Some(());
                if let Some(value) = errors.keep(checker.expression("an integer")) {
                    if is_negative(value) {
                        errors.report(value, "`max_retries` must not be negative");
                    } else if literal(value).is_some() && integer(value).is_none() {
                        errors.report(value, "`max_retries` takes an integer");
                    }
                    setters.insert(0, quote!(#private::Retries::exponential(#value)));
                }
            }
            "backoff_coefficient" => {
                if let Some(value) = errors.keep(checker.expression("a number")) {
                    let number = match literal(value) {
                        Some(Lit::Float(float)) => float.base10_parse::<f64>().ok(),
                        Some(Lit::Int(integer)) => integer.base10_parse::<f64>().ok(),
                        Some(_) => Some(f64::NAN),
                        None => None,
                    };
                    if is_negative(value) || number.is_some_and(|n| !(1.0..=10.0).contains(&n)) {
                        errors.report(
                            value,
                            "`backoff_coefficient` must be between 1.0 (fixed delay) and 10.0",
                        );
                    }
                    let value = match number {
                        Some(number) => quote!(#number),
                        None => quote!(#value),
                    };
                    setters.push(quote!(.backoff_coefficient(#value)));
                }
            }
            name @ ("initial_delay" | "max_delay") => {
                let Some(value) = errors.keep(checker.expression("a duration")) else {
                    continue;
                };
                let nanos = literal(value).and_then(|_| nanoseconds(name, value).ok());
                if name == "max_delay" {
                    cap = nanos;
                    if nanos.is_some_and(|nanos| nanos > LONGEST_DELAY) {
                        errors.report(value, "`max_delay` must not be longer than 24 hours");
                    }
                } else {
                    initial = nanos;
                    initial_at = Some(value);
                }
                if literal(value).is_some() {
                    if let Some(nanos) = errors.keep(nanoseconds(name, value)) {
                        let nanos = duration_of(nanos);
                        setters.push(quote!(.#key(#nanos)));
                    }
                } else {
                    setters.push(quote!(.#key(#value)));
                }
            }
            "jitter" => {
                if errors.keep(checker.flag()).is_some() {
                    setters.push(quote!(.jitter()));
                }
            }
            name => errors.report(
                key,
                format!(
                    "unknown key `{name}` in `retries(..)`{}; known are: {}",
                    suggestion(name, KEYS),
                    KEYS.join(", ")
                ),
            ),
        }
    }
    if max_retries.is_none() {
        let at = list.first().map(|arg| &arg.key);
        errors.report(&at, "`retries(..)` needs `max_retries = ..`");
    }
    if let (Some(initial), Some(cap)) = (initial, cap)
        && initial > cap
    {
        errors.report(
            &initial_at,
            "`initial_delay` must not be longer than `max_delay` (60s unless given)",
        );
    }
    match errors.into_error() {
        Some(error) => Err(error),
        None => Ok(quote!(.retries(#(#setters)*))),
    }
}

fn literal(value: &Expr) -> Option<&Lit> {
    match value {
        Expr::Lit(ExprLit { lit, .. }) => Some(lit),
        Expr::Group(group) => literal(&group.expr),
        _ => None,
    }
}

/// The digits of an integer literal.
fn integer(value: &Expr) -> Option<String> {
    match literal(value)? {
        Lit::Int(integer) => Some(integer.base10_digits().to_owned()),
        _ => None,
    }
}

fn is_negative(value: &Expr) -> bool {
    matches!(value, Expr::Unary(ExprUnary { op: UnOp::Neg(_), expr, .. }) if literal(expr).is_some())
}

/// A duration as code: from a literal, or from a constant.
fn duration(key: &str, value: &Expr, private: &TokenStream) -> syn::Result<TokenStream> {
    if literal(value).is_none() && !is_negative(value) {
        return Ok(quote!(#private::DurationFrom(#value).get()));
    }
    let nanos = nanoseconds(key, value)?;
    if nanos == 0 {
        let message = format!("`{key}` must be longer than zero; leave it out for none");
        return Err(syn::Error::new_spanned(value, message));
    }
    Ok(duration_of(nanos))
}

fn duration_of(nanos: u128) -> TokenStream {
    let seconds = u64::try_from(nanos / 1_000_000_000).unwrap_or(u64::MAX);
    let rest = u32::try_from(nanos % 1_000_000_000).unwrap_or(0);
    quote!(::core::time::Duration::new(#seconds, #rest))
}

/// The nanoseconds of a literal such as `"500ms"`.
fn nanoseconds(key: &str, value: &Expr) -> syn::Result<u128> {
    let error = |message: String| syn::Error::new_spanned(value, message);
    let text = match literal(value) {
        Some(Lit::Str(text)) => text.value(),
        Some(Lit::Int(number)) => {
            let digits = number.base10_digits();
            return Err(error(format!(
                "`{key}` needs a unit: write `{key} = \"{digits}s\"`"
            )));
        }
        Some(Lit::Float(number)) => {
            let digits = number.base10_digits();
            return Err(error(format!(
                "`{key}` needs a unit: write `{key} = \"{digits}s\"`"
            )));
        }
        _ => {
            return Err(error(format!(
                "`{key}` takes a duration such as \"500ms\" or a const Duration"
            )));
        }
    };
    let text = text.trim();
    let split = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let unit = match unit.trim() {
        "ns" => 1.0,
        "us" | "µs" => 1e3,
        "ms" => 1e6,
        "s" => 1e9,
        "m" | "min" => 60e9,
        "h" => 3600e9,
        "" => {
            return Err(error(format!(
                "`{key}` needs a unit: write `{key} = \"{number}s\"`"
            )));
        }
        unit => {
            return Err(error(format!(
                "unknown unit `{unit}` in `{key}`; known are: ns, us, ms, s, m, h"
            )));
        }
    };
    match number.parse::<f64>() {
        Ok(number) if number * unit <= u64::MAX as f64 => Ok((number * unit).round() as u128),
        Ok(_) => Err(error(format!("`{key}` is longer than 500 years"))),
        Err(_) => Err(error(format!(
            "`{key}` takes a duration such as \"500ms\" or \"30s\""
        ))),
    }
}

fn unknown(key: &Ident) -> syn::Error {
    let name = key.to_string();
    let message = match FOREIGN.iter().find(|(foreign, _)| *foreign == name) {
        Some((_, instead)) => format!("`{name}` {instead}"),
        None => format!(
            "unknown key `{name}`{}; known are: {}",
            suggestion(&name, KEYS),
            KEYS.join(", ")
        ),
    };
    syn::Error::new(key.span(), message)
}

/// `, did you mean ..?` where something is near enough.
fn suggestion(name: &str, keys: &[&str]) -> String {
    keys.iter()
        .map(|key| (distance(name, key), key))
        .filter(|(distance, key)| *distance <= key.len().div_ceil(3))
        .min()
        .map_or_else(String::new, |(_, key)| format!(", did you mean `{key}`?"))
}

/// The edit distance of two words (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let above = row[j + 1];
            row[j + 1] = (diagonal + usize::from(x != *y)).min(above.min(row[j]) + 1);
            diagonal = above;
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(attribute: TokenStream) -> Vec<String> {
        let mut errors = Errors::default();
        let args = crate::args::parse(attribute).unwrap();
        check(&args, &quote!(p), &mut errors);
        errors.messages()
    }

    #[test]
    fn durations_have_units() {
        let nanos = |text: &str| nanoseconds("timeout", &syn::parse_str(text).unwrap());
        assert_eq!(nanos("\"500ms\"").unwrap(), 500_000_000);
        assert_eq!(nanos("\"1.5 s\"").unwrap(), 1_500_000_000);
        assert_eq!(nanos("\"2h\"").unwrap(), 7_200_000_000_000);
        for wrong in [
            "30",
            "3.5",
            "\"30\"",
            "\"3 weeks\"",
            "\"s\"",
            "true",
            "\"1e9h\"",
        ] {
            assert!(nanos(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_bare_number_is_told_its_unit() {
        assert_eq!(
            messages(quote!(timeout = 30)),
            ["`timeout` needs a unit: write `timeout = \"30s\"`"]
        );
    }

    #[test]
    fn all_mistakes_are_reported_at_once() {
        let messages = messages(quote!(
            retries = -1,
            timout = "3s",
            max_workers = 0,
            name = "",
            max_containers = 3
        ));
        assert_eq!(messages.len(), 5, "{messages:?}");
        assert!(
            messages[1].contains("did you mean `timeout`?"),
            "{messages:?}"
        );
        assert!(messages[4].contains("`max_workers`"), "{messages:?}");
    }

    #[test]
    fn a_policy_that_cannot_be_right_is_refused() {
        for wrong in [
            quote!(retries(backoff_coefficient = 2.0)),
            quote!(retries(max_retries = 3, backoff_coefficient = 0.5)),
            quote!(retries(max_retries = 3, backoff_coefficient = 11)),
            quote!(retries(max_retries = 3, initial_delay = "61s")),
            quote!(retries(max_retries = 3, max_delay = "25h")),
            quote!(retries(max_retries = 3, jiter)),
            quote!(retries = "3"),
            quote!(retries = 3, retries = 4),
            quote!(retries = 3, at_most_once),
        ] {
            assert_eq!(messages(wrong.clone()).len(), 1, "{wrong}");
        }
        for right in [
            quote!(retries(max_retries = 3, initial_delay = "0s", jitter)),
            quote!(retries = POLICY, timeout = LIMIT),
            quote!(retries = 0, at_most_once),
        ] {
            assert!(messages(right.clone()).is_empty(), "{right}");
        }
    }
}
