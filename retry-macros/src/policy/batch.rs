//! `batch(max_size = 64, max_wait = "5ms")`.

use proc_macro2::{Ident, TokenStream};
use quote::quote;

use super::keys;
use super::units;
use super::value::{Checked, Given, Known};
use crate::args::{Errors, Value};

/// The names in the list.
const KEYS: &[&str] = &["max_size", "max_wait"];

/// The default of `max_wait`, in nanoseconds.
const MAX_WAIT: u128 = 10_000_000;

/// Checks the list, and returns the two arguments of the setter as code.
pub(super) fn check(given: Given<'_>) -> syn::Result<Checked> {
    let Value::List(list) = &given.arg.value else {
        let message = "`batch` takes a list: `batch(max_size = 64, max_wait = \"5ms\")`";
        return Err(given.error(message));
    };
    let private = given.private;
    let mut errors = Errors::default();
    let mut max_size = TokenStream::new();
    let mut max_wait = units::TIME.code(MAX_WAIT);
    let mut items = TokenStream::new();
    let mut seen: Vec<&Ident> = Vec::new();
    for arg in list {
        let key = &arg.key;
        if seen.contains(&key) {
            errors.report(key, format!("`{key}` is given twice"));
            continue;
        }
        seen.push(key);
        if let Value::Broken = arg.value {
            continue;
        }
        let given = Given { arg, private };
        match key.to_string().as_str() {
            "max_size" => {
                if let Some(size) = errors.keep(given.at_once()) {
                    max_size = size.code;
                    items.extend(size.items);
                }
            }
            "max_wait" => {
                if let Some(wait) = errors.keep(given.duration(None)) {
                    max_wait = wait.code;
                    items.extend(wait.items);
                }
            }
            name => errors.report(key, keys::not_among(name, " in `batch(..)`", KEYS)),
        }
    }
    if errors.is_empty() && !seen.iter().any(|key| *key == "max_size") {
        let message = "`batch(..)` needs `max_size`, the most inputs of one execution: \
                       `batch(max_size = 64)`";
        errors.report(&given.arg.key, message);
    }
    errors.finish(Checked {
        known: Known::Constant,
        code: quote!(#max_size, #max_wait),
        items,
    })
}
