//! Rules between options.

use proc_macro2::TokenStream;
use quote::{format_ident, quote_spanned};

use super::value::{Given, Known};
use crate::args::{Arg, Errors};

const MIN_ABOVE_MAX: &str = "`min_workers` must not be larger than `max_workers`";
const DEADLINE_BELOW_TIMEOUT: &str = "`deadline` must not be shorter than `timeout`: it covers \
                                      the queue, all attempts and the delays between them";
const ONCE_AND_RETRIES: &str =
    "`at_most_once` and `retries` contradict each other: remove one of them";
const SINGLE_USE_AND_MORE: &str =
    "`single_use_workers` means `max_calls_per_worker = 1`: remove one of them";
const TEARDOWN_ALONE: &str =
    "`teardown` is given the state that `setup` makes: add `setup = ..`, or remove it";

/// The comparison of options that are sound in themselves.
pub(super) struct Relations<'a> {
    options: &'a [(&'a Arg, Known)],
    private: &'a TokenStream,
    errors: &'a mut Errors,
    /// Comparisons of constants, which only the compiler can make: items next to the static `__SPEC`.
    later: Vec<TokenStream>,
}

/// Reports contradictions, and returns the comparisons that only the compiler can make.
pub(super) fn check<'a>(
    options: &'a [(&'a Arg, Known)],
    private: &'a TokenStream,
    errors: &'a mut Errors,
) -> Vec<TokenStream> {
    let mut relations = Relations {
        options,
        private,
        errors,
        later: Vec::new(),
    };
    if let [Some((min, low)), Some((_, high))] = relations.find(["min_workers", "max_workers"]) {
        relations.ordered(low, high, min, "check_workers", MIN_ABOVE_MAX);
    }
    if let [Some((_, low)), Some((deadline, high))] = relations.find(["timeout", "deadline"]) {
        relations.ordered(
            low,
            high,
            deadline,
            "check_deadline",
            DEADLINE_BELOW_TIMEOUT,
        );
    }
    if let [Some((once, _)), Some((_, retries))] = relations.find(["at_most_once", "retries"]) {
        // `at_most_once` allows no retries, so any number above zero is a contradiction.
        relations.ordered(
            retries,
            Known::Literal(0),
            once,
            "check_once",
            ONCE_AND_RETRIES,
        );
    }
    if let [Some((single, _)), Some(_)] =
        relations.find(["single_use_workers", "max_calls_per_worker"])
    {
        relations.errors.report(&single.key, SINGLE_USE_AND_MORE);
    }
    if let [Some((teardown, _)), None] = relations.find(["teardown", "setup"]) {
        relations.errors.report(&teardown.key, TEARDOWN_ALONE);
    }
    relations.later
}

impl<'a> Relations<'a> {
    fn find(&self, keys: [&str; 2]) -> [Option<(&'a Arg, Known)>; 2] {
        keys.map(|key| {
            let mut options = self.options.iter();
            options.find(|(arg, _)| arg.key == key).copied()
        })
    }

    /// Checks that one value is not larger than the other, and reports it at one of the options.
    fn ordered(&mut self, low: Known, high: Known, at: &Arg, check: &str, message: &str) {
        let private = self.private;
        match (low, high) {
            (Known::Broken, _) | (_, Known::Broken) => {}
            (Known::Literal(low), Known::Literal(high)) if low <= high => {}
            (Known::Literal(_), Known::Literal(_)) => {
                self.errors.push(Given { arg: at, private }.error(message));
            }
            _ => {
                let span = at.key.span();
                let private = crate::tokens::respanned(private, span);
                let check = format_ident!("{}", check, span = span);
                self.later.push(quote_spanned! {span=>
                    const _: () = #private::#check(&__SPEC, #message);
                });
            }
        }
    }
}
