//! `retries = 3`, `retries = POLICY` and `retries(max_retries = 5, ..)`.

use proc_macro2::Ident;
use quote::{quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Expr, Lit};

use super::keys;
use super::units::{TIME, is_negative, literal};
use super::value::{Checked, Given, Known};
use crate::args::{Args, Errors, Value};

/// The names in a list.
const KEYS: &[&str] = &[
    "max_retries",
    "backoff_coefficient",
    "initial_delay",
    "max_delay",
    "jitter",
];

const FORMS: &str = "`retries` takes an integer (`retries = 3`), a const Retries, or a list \
                     (`retries(max_retries = 3, initial_delay = \"200ms\")`)";
const COEFFICIENT: &str = "`backoff_coefficient` must be between 1.0 (fixed delay) and 10.0";
const INITIAL_ABOVE_CAP: &str = "`initial_delay` must not be longer than `max_delay`";
const DEFAULT_CAP: &str = ", which is 60s unless it is given";
const CAP_BELOW_DEFAULT: &str =
    "`max_delay` must not be shorter than `initial_delay`, which is 1s unless it is given";
const CAP_TOO_LONG: &str = "`max_delay` must not be longer than 24 hours";

/// The longest delay that a policy may ask for, in nanoseconds.
const LONGEST_DELAY: u128 = 24 * 60 * 60 * 1_000_000_000;

/// The runtime's defaults, in nanoseconds.
const INITIAL_DELAY: u128 = 1_000_000_000;
const MAX_DELAY: u128 = 60_000_000_000;

/// Checks the policy, and returns it as code, with the number of retries if that is known.
pub(super) fn check(given: Given<'_>) -> syn::Result<Checked> {
    match &given.arg.value {
        Value::List(list) => List::check(list, given),
        Value::Given(value) => single(value, given),
        _ => Err(given.error(FORMS)),
    }
}

/// Checks a number or a constant.
fn single(value: &Expr, given: Given<'_>) -> syn::Result<Checked> {
    let private = given.private;
    match literal(value) {
        Some(Lit::Int(_)) => {
            let number = number(given)?;
            let literal = proc_macro2::Literal::u128_unsuffixed(number);
            let second = quote!(::core::time::Duration::from_secs(1));
            let code = quote!(#private::Retries::fixed(#literal, #second));
            Ok(Checked::new(Known::Literal(number), code))
        }
        Some(_) => Err(given.error(FORMS)),
        None if is_negative(value) => Err(given.error("`retries` must not be negative")),
        None => {
            let private = given.private_at(value.span());
            Ok(Checked {
                known: Known::Constant,
                code: quote!(__RETRIES.0),
                items: quote_spanned! {value.span()=>
                    const __RETRIES: #private::RetriesOr = #private::RetriesFrom(#value).__get();
                    const _: () = #private::RetriesOr::check(__RETRIES);
                },
            })
        }
    }
}

/// Returns a literal number of retries.
fn number(given: Given<'_>) -> syn::Result<u128> {
    match given.integer("u32", 0)?.known {
        Known::Literal(number) if number <= u128::from(u32::MAX) => Ok(number),
        _ => Err(given.error(format!(
            "`{}` must not be larger than {}",
            given.key(),
            u32::MAX
        ))),
    }
}

/// The policy of a list. Options that it leaves out have the runtime's defaults.
struct List<'a> {
    max_retries: Checked,
    coefficient: Checked,
    initial: Checked,
    cap: Checked,
    jitter: bool,
    /// The options that give the initial delay and the cap.
    initial_at: Option<Given<'a>>,
    cap_at: Option<Given<'a>>,
}

impl<'a> List<'a> {
    fn check(args: &'a Args, given: Given<'a>) -> syn::Result<Checked> {
        let private = given.private;
        let mut errors = Errors::default();
        let delay = |nanos| Checked::new(Known::Literal(nanos), TIME.code(nanos));
        let mut list = Self {
            max_retries: Checked::new(Known::Literal(0), quote!(0)),
            coefficient: Checked::new(Known::Constant, quote!(2.0)),
            initial: delay(INITIAL_DELAY),
            cap: delay(MAX_DELAY),
            jitter: false,
            initial_at: None,
            cap_at: None,
        };
        let mut seen: Vec<&Ident> = Vec::new();
        for arg in args {
            let key = &arg.key;
            if seen.contains(&key) {
                errors.report(key, format!("`{key}` is given twice"));
                continue;
            }
            seen.push(key);
            if !matches!(arg.value, Value::Broken) {
                errors.keep(list.option(Given { arg, private }));
            }
        }
        if errors.is_empty() && !seen.iter().any(|key| *key == "max_retries") {
            let message = "`retries(..)` needs `max_retries`, the number of further attempts: \
                           `retries(max_retries = 3, ..)`";
            errors.report(&given.arg.key, message);
        }
        if errors.is_empty() {
            errors.keep(list.initial_fits_the_cap());
        }
        errors.finish(list.policy(given))
    }

    fn option(&mut self, given: Given<'a>) -> syn::Result<()> {
        let key = &given.arg.key;
        match key.to_string().as_str() {
            "max_retries" => {
                self.max_retries = given.integer("u32", 0)?;
                if self.max_retries.known != Known::Constant {
                    self.max_retries.known = Known::Literal(number(given)?);
                }
            }
            "backoff_coefficient" => self.coefficient = coefficient(given)?,
            "initial_delay" => {
                self.initial = given.duration(None)?;
                self.initial_at = Some(given);
            }
            "max_delay" => {
                self.cap = given.duration(None)?;
                self.cap_at = Some(given);
                match self.cap.known {
                    Known::Literal(nanos) if nanos > LONGEST_DELAY => {
                        return Err(given.error(CAP_TOO_LONG));
                    }
                    Known::Literal(_) => {}
                    _ => given.check_by(&mut self.cap, "check_cap", CAP_TOO_LONG),
                }
            }
            "jitter" => {
                given.flag()?;
                self.jitter = true;
            }
            name => {
                let message = keys::not_among(name, " in `retries(..)`", KEYS);
                return Err(syn::Error::new(key.span(), message));
            }
        }
        Ok(())
    }

    fn initial_fits_the_cap(&self) -> syn::Result<()> {
        match (self.initial.known, self.cap.known) {
            (Known::Literal(initial), Known::Literal(cap)) if initial > cap => {
                let (at, message) = self.initial_above_cap();
                // At least one of them was given, since the defaults fit.
                at.map_or(Ok(()), |at| Err(at.error(message)))
            }
            _ => Ok(()),
        }
    }

    /// Returns the option and the sentence for an initial delay above the cap.
    fn initial_above_cap(&self) -> (Option<Given<'a>>, String) {
        match (self.initial_at, self.cap_at) {
            (Some(at), None) => (Some(at), format!("{INITIAL_ABOVE_CAP}{DEFAULT_CAP}")),
            (None, at) => (at, CAP_BELOW_DEFAULT.to_owned()),
            (at, _) => (at, INITIAL_ABOVE_CAP.to_owned()),
        }
    }

    fn policy(self, given: Given<'_>) -> Checked {
        let private = given.private;
        let above_cap = self.initial_above_cap();
        let is_known = |value: &Checked| matches!(value.known, Known::Literal(_));
        let compare = !is_known(&self.initial) || !is_known(&self.cap);
        let parts = [self.max_retries, self.coefficient, self.initial, self.cap];
        let known = parts[0].known;
        let items = parts.iter().map(|part| &part.items);
        let codes = parts.iter().map(|part| &part.code);
        let jitter = self.jitter;
        let mut policy = Checked {
            known,
            code: quote!(#private::retries(#(#codes,)* #jitter)),
            items: quote!(#(#items)*),
        };
        if let ((Some(at), message), true) = (above_cap, compare) {
            at.check_by(&mut policy, "check_initial", &message);
        }
        policy
    }
}

/// Checks a number from 1 to 10.
fn coefficient(given: Given<'_>) -> syn::Result<Checked> {
    let value = given.expression("a number", "2.0")?;
    let number = match literal(value) {
        Some(Lit::Float(number)) => number.base10_parse::<f64>().ok(),
        Some(Lit::Int(number)) => number.base10_parse::<f64>().ok(),
        Some(_) => {
            let message = "`backoff_coefficient` takes a number without quotes: \
                           `backoff_coefficient = 2.0`";
            return Err(given.error(message));
        }
        None if is_negative(value) => None,
        None => {
            let ty = quote_spanned!(value.span()=> ::core::primitive::f64);
            let mut number = given.named(value, &ty);
            given.check_by(&mut number, "check_coefficient", COEFFICIENT);
            return Ok(number);
        }
    };
    match number.filter(|number| (1.0..=10.0).contains(number)) {
        Some(number) => Ok(Checked::new(Known::Constant, quote!(#number))),
        None => Err(given.error(COEFFICIENT)),
    }
}
