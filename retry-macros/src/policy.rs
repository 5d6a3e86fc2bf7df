//! The options once checked: each as the call of a setter on the function's static description.

mod batch;
mod keys;
mod relations;
mod retries;
mod units;
mod value;

use proc_macro2::{Ident, TokenStream};
use quote::{ToTokens, quote, quote_spanned};
use syn::{Expr, LitStr, Signature};

use crate::args::{self, Args, Errors, Value};
pub(crate) use keys::unknown;
use value::{Checked, Given, Known};

/// The options that the macro itself needs, and the setters for the rest.
#[derive(Default)]
pub(crate) struct Policy {
    pub(crate) setters: Vec<TokenStream>,
    /// Checks for the compiler, as items next to the static `__SPEC`.
    pub(crate) checks: Vec<TokenStream>,
    pub(crate) retry_if: Option<Expr>,
    pub(crate) setup: Option<Expr>,
    pub(crate) teardown: Option<Expr>,
    pub(crate) batch: bool,
    /// Several calls share the state, as far as the macro can see.
    pub(crate) is_concurrent: bool,
    pub(crate) name: Option<LitStr>,
    /// The parameters that failure reports do not show.
    pub(crate) redact: Vec<String>,
}

/// Returns the path of the runtime.
pub(crate) fn runtime(args: &Args) -> TokenStream {
    let runtime = args.iter().find_map(|arg| match &arg.value {
        Value::Given(value) if arg.key == "crate" => match &**value {
            Expr::Path(path) => Some(path.path.to_token_stream()),
            _ => None,
        },
        _ => None,
    });
    runtime.unwrap_or_else(|| quote!(::retry_runtime))
}

/// Returns the path of the runtime's hidden module, which everything else depends on.
pub(crate) fn module(args: &Args) -> TokenStream {
    crate::tokens::private_module(&runtime(args))
}

/// Returns the runtime's hidden module for an attribute that has no option but `crate`. The message reports
/// any other.
pub(crate) fn only_module(
    attribute: TokenStream,
    message: &str,
    errors: &mut Errors,
) -> TokenStream {
    let mut found = Errors::default();
    let args = args::parse(attribute.clone(), &mut found);
    let (own, others): (Args, Args) = args.into_iter().partition(|arg| arg.key == "crate");
    if own.is_empty() && !attribute.is_empty() {
        errors.report(&attribute, message);
    } else {
        errors.append(found);
        for arg in others {
            errors.report(&arg.key, message);
        }
    }
    let private = module(&own);
    // The path does not depend on the function.
    check(&own, &syn::parse_quote!(fn f()), &private, errors);
    private
}

/// Returns whether an option is given, even with a wrong value.
pub(crate) fn mentions(args: &Args, key: &str) -> bool {
    args.iter().any(|arg| arg.key == key)
}

/// Checks all options.
pub(crate) fn check(
    args: &Args,
    function: &Signature,
    private: &TokenStream,
    errors: &mut Errors,
) -> Policy {
    let mut policy = Policy::default();
    let mut keys: Vec<&Ident> = Vec::new();
    let mut options = Vec::new();
    for arg in args {
        let key = &arg.key;
        if keys.contains(&key) {
            errors.report(key, format!("`{key}` is given twice"));
            continue;
        }
        keys.push(key);
        let known = match arg.value {
            Value::Broken => Known::Broken,
            _ => {
                let known = policy.option(Given { arg, private }, function);
                errors.keep(known).unwrap_or(Known::Broken)
            }
        };
        options.push((arg, known));
    }
    policy
        .checks
        .extend(relations::check(&options, private, errors));
    policy
}

impl Policy {
    /// Returns the rest of a policy with a wrong option: the options that determine the types that callers
    /// pass and get.
    pub(crate) fn recovered(self) -> Self {
        Self {
            setup: self.setup,
            batch: self.batch,
            ..Self::default()
        }
    }

    /// Checks one option, and returns what is known of its value.
    fn option(&mut self, given: Given<'_>, function: &Signature) -> syn::Result<Known> {
        let name = given.key();
        let checked = match name.as_str() {
            "retries" => retries::check(given)?,
            "timeout" | "deadline" => given.duration(Some("leave it out for no limit"))?,
            "startup_timeout" => given.duration(Some("leave it out for 60s"))?,
            "scaledown_window" => given.duration(Some(
                "for a new worker per call there is `single_use_workers`",
            ))?,
            "grace" => given.duration(None)?,
            "memory" | "max_rss_growth" => given.size()?,
            "max_workers" => given.integer("usize", 1)?,
            "concurrency" => given.at_once()?,
            "min_workers" => given.integer("usize", 0)?,
            "max_calls_per_worker" => given.integer("u64", 1)?,
            "batch" => {
                self.batch = true;
                batch::check(given)?
            }
            "crash_limit" => given.constant("CrashLimit", "CrashLimit::unlimited()")?,
            "single_use_workers" | "at_most_once" => given.flag()?,
            "redact" => {
                self.redact = given.parameters(function)?;
                let names = &self.redact;
                Checked::new(Known::Constant, quote!(&[#(#names),*]))
            }
            "version" => {
                let version = given.text("2")?;
                Checked::new(Known::Constant, quote!(#version))
            }
            "cache" => {
                let directory = given.text("cache/resize")?;
                let mut checked = Checked::new(Known::Constant, quote!(#directory));
                let private = given.private_at(directory.span());
                checked.items = quote_spanned!(directory.span()=> #private::require_checkpoint! {});
                checked
            }
            _ => return self.own(given).map(|()| Known::Constant),
        };
        let key = &given.arg.key;
        if name == "concurrency" && function.asyncness.is_none() {
            let message = "`concurrency` is for an `async fn`; a function that blocks runs one \
                           call at a time in each of its `max_workers`";
            return Err(syn::Error::new(key.span(), message));
        }
        if let ("concurrency", Known::Literal(2..)) = (&*name, checked.known) {
            self.is_concurrent = true;
        }
        let code = checked.code;
        self.checks.push(checked.items);
        self.setters.push(quote!(.#key(#code)));
        Ok(checked.known)
    }

    /// Checks an option without a setter.
    fn own(&mut self, given: Given<'_>) -> syn::Result<()> {
        match given.key().as_str() {
            "retry_if" => self.retry_if = Some(given.function("fn(&E) -> bool", "is_transient")?),
            "setup" => self.setup = Some(given.function("fn() -> S", "load")?),
            "teardown" => self.teardown = Some(given.function("fn(S)", "close")?),
            "name" => self.name = Some(given.text("resize")?),
            "crate" => given.path()?,
            _ => return Err(keys::unknown(&given.arg.key, "", keys::KEYS)),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages_on(function: Signature, attribute: TokenStream) -> Vec<String> {
        let mut errors = Errors::default();
        let args = crate::args::parse(attribute, &mut errors);
        check(&args, &function, &quote!(p), &mut errors);
        errors.messages()
    }

    fn messages(attribute: TokenStream) -> Vec<String> {
        messages_on(syn::parse_quote!(async fn f()), attribute)
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
    fn a_wrong_option_is_one_error() {
        for wrong in [
            quote!(retries(backoff_coefficient = 2.0)),
            quote!(retries()),
            quote!(retries),
            quote!(retries = "3"),
            quote!(retries = 3.5),
            quote!(retries = 4294967296),
            quote!(retries = 3, retries = 4),
            quote!(retries = 3, at_most_once),
            quote!(retries(max_retries = 1), at_most_once),
            quote!(retries(max_retries = "3")),
            quote!(retries(max_retries = 4294967296)),
            quote!(retries(max_retries = 3, max_retries = 4)),
            quote!(retries(max_retries = 3, backoff_coefficient = 0.5)),
            quote!(retries(max_retries = 3, backoff_coefficient = -2.0)),
            quote!(retries(max_retries = 3, backoff_coefficient = 11)),
            quote!(retries(max_retries = 3, backoff_coefficient = "2")),
            quote!(retries(max_retries = 3, initial_delay = "61s")),
            quote!(retries(
                max_retries = 3,
                initial_delay = 5,
                max_delay = "500ms"
            )),
            quote!(retries(max_retries = 3, max_delay = "500ms")),
            quote!(retries(max_retries = 3, max_delay = "25h")),
            quote!(retries(max_retries = 3, jiter)),
            quote!(retries(max_retries = 3, jitter = true)),
            quote!(timeout = "2s", deadline = "1s"),
            quote!(timeout),
            quote!(min_workers = 3, max_workers = 2),
            quote!(max_workers = 3u8),
            quote!(max_calls_per_worker = 0),
            quote!(single_use_workers, max_calls_per_worker = 3),
            quote!(single_use_workers = true),
            quote!(memory = 512),
            quote!(memory = "0B"),
            quote!(max_rss_growth = "lots"),
            quote!(concurrency = 0),
            quote!(teardown = close),
            quote!(setup = load()),
            quote!(setup = "load"),
            quote!(setup =, teardown = close),
            quote!(crash_limit = 3),
            quote!(batch = 3),
            quote!(batch()),
            quote!(batch(max_size = 0)),
            quote!(batch(max_size = 3, max_wait = 5)),
            quote!(batch(max_size = 3, size = 4)),
            quote!(batch(max_size = 3, max_size = 3)),
            quote!(batch(max_size =)),
            quote!(crate = "retry"),
            quote!(name = resize),
            quote!(name),
            quote!(version = 3),
            quote!(cache = ""),
            quote!(cache),
        ] {
            let messages = messages(wrong.clone());
            assert_eq!(messages.len(), 1, "{wrong}: {messages:?}");
        }
    }

    #[test]
    fn correct_options_are_accepted() {
        for right in [
            quote!(retries(max_retries = 3, initial_delay = "0s", jitter)),
            quote!(retries(
                max_retries = N,
                backoff_coefficient = C,
                initial_delay = "61s",
                max_delay = D
            )),
            quote!(retries(max_retries = 0), at_most_once),
            quote!(retries = POLICY, timeout = LIMIT, at_most_once),
            quote!(retries = 0, at_most_once),
            quote!(retries(max_retries = 3, initial_delay = "60s")),
            quote!(retries(max_retries = 3, max_delay = "24h")),
            quote!(concurrency = 1024),
            quote!(retries = 3u32, max_workers = 3usize),
            quote!(timeout = "1s", deadline = "1s"),
            quote!(min_workers = 3, max_workers = 3),
            quote!(
                memory = "512MiB",
                max_rss_growth = LIMIT,
                grace = "0s",
                concurrency = 8
            ),
            quote!(setup = load, teardown = close),
            quote!(setup = loader(3)),
            quote!(setup = || 3, retry_if = |_| true),
            quote!(batch(max_size = 64)),
            quote!(version = "3", cache = "results"),
            quote!(batch(max_size = N, max_wait = "0s")),
            quote!(crash_limit = CrashLimit::unlimited(), crate = ::my::runtime),
        ] {
            let messages = messages(right.clone());
            assert!(messages.is_empty(), "{right}: {messages:?}");
        }
    }

    #[test]
    fn constants_are_left_to_the_compiler() {
        let checks = |attribute| -> usize {
            let mut errors = Errors::default();
            let args = crate::args::parse(attribute, &mut errors);
            let function = syn::parse_quote!(fn f());
            let checks = check(&args, &function, &quote!(p), &mut errors).checks;
            let mentions_spec = |check: &TokenStream| check.to_string().contains("__SPEC");
            checks.iter().filter(|check| mentions_spec(check)).count()
        };
        assert_eq!(checks(quote!(timeout = "1s", deadline = LIMIT)), 1);
        assert_eq!(checks(quote!(retries = POLICY, at_most_once)), 1);
        assert_eq!(checks(quote!(min_workers = 1, max_workers = MOST)), 1);
        assert_eq!(checks(quote!(retries = POLICY, timeout = LIMIT)), 0);
        assert_eq!(checks(quote!(timeout = 1, deadline = LIMIT)), 0);
    }

    #[test]
    fn concurrency_needs_an_async_function() {
        let function = syn::parse_quote!(fn f());
        let messages = messages_on(function, quote!(concurrency = 8));
        assert_eq!(messages.len(), 1, "{messages:?}");
    }
}
