//! The value of one option, by kind.

use proc_macro2::{Span, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{Expr, FnArg, Lit, LitStr, Pat, Signature};

use super::units::{self, Units, is_negative, literal};
use crate::args::{Arg, Value};

/// The most calls that the runtime hands to one worker at once.
const MOST_AT_ONCE: u128 = 1024;

/// The macro's knowledge of a value.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Known {
    Literal(u128),
    /// Only the compiler knows it.
    Constant,
    /// The value was refused. The option still counts as given.
    Broken,
}

/// A value that was checked, as code.
pub(super) struct Checked {
    pub(super) known: Known,
    pub(super) code: TokenStream,
    /// Checks for the compiler, as items. They are not part of the value, so that a refused constant
    /// is not refused again by all code that uses it.
    pub(super) items: TokenStream,
}

impl Checked {
    pub(super) fn new(known: Known, code: TokenStream) -> Self {
        Self {
            known,
            code,
            items: TokenStream::new(),
        }
    }
}

/// One option, with the path of the runtime's hidden module.
#[derive(Clone, Copy)]
pub(super) struct Given<'a> {
    pub(super) arg: &'a Arg,
    pub(super) private: &'a TokenStream,
}

impl<'a> Given<'a> {
    /// Returns the option's name as it was written.
    pub(super) fn key(self) -> String {
        self.arg.key.to_string()
    }

    /// Returns an error at the value, or at the name of an option without one.
    pub(super) fn error(self, message: impl std::fmt::Display) -> syn::Error {
        match &self.arg.value {
            Value::Given(value) => syn::Error::new_spanned(value, message),
            _ => syn::Error::new(self.arg.key.span(), message),
        }
    }

    pub(super) fn expression(self, what: &str, example: &str) -> syn::Result<&'a Expr> {
        match &self.arg.value {
            Value::Given(value) => Ok(value),
            _ => {
                let key = self.key();
                Err(self.error(format!("`{key}` takes {what}: `{key} = {example}`")))
            }
        }
    }

    /// Checks an option without a value.
    pub(super) fn flag(self) -> syn::Result<Checked> {
        match &self.arg.value {
            Value::Flag => Ok(Checked::new(Known::Constant, TokenStream::new())),
            _ => {
                let key = self.key();
                Err(self.error(format!("`{key}` takes no value: write `{key}` alone")))
            }
        }
    }

    /// Returns a function, which is a path or a closure.
    pub(super) fn function(self, form: &str, example: &str) -> syn::Result<Expr> {
        let value = self.expression(&format!("a function `{form}`"), example)?;
        let key = self.key();
        match value {
            Expr::Call(call) if call.args.is_empty() => {
                let function = &call.func;
                let function = quote!(#function);
                Err(self.error(format!(
                    "`{key}` takes the function itself: write `{key} = {function}`"
                )))
            }
            Expr::Lit(_) => Err(self.error(format!(
                "`{key}` takes a function `{form}`: `{key} = {example}`"
            ))),
            value => Ok(value.clone()),
        }
    }

    /// Checks the path of the runtime, which has been read before.
    pub(super) fn path(self) -> syn::Result<()> {
        match &self.arg.value {
            Value::Given(value) if matches!(**value, Expr::Path(_)) => Ok(()),
            _ => Err(self.error("`crate` takes the path of the runtime: `crate = ::my::runtime`")),
        }
    }

    /// Returns the names of parameters of a function.
    pub(super) fn parameters(self, function: &Signature) -> syn::Result<Vec<String>> {
        let value = self.expression("the name of a parameter", "\"token\"")?;
        let names: Vec<&Expr> = match value {
            Expr::Array(array) => array.elems.iter().collect(),
            one => vec![one],
        };
        let known = function.inputs.iter().filter_map(|input| match input {
            FnArg::Typed(parameter) => match &*parameter.pat {
                Pat::Ident(name) => Some(name.ident.unraw().to_string()),
                _ => None,
            },
            FnArg::Receiver(_) => None,
        });
        let known: Vec<String> = known.collect();
        let check = |name: &Expr| match literal(name) {
            Some(Lit::Str(text)) if known.contains(&text.value()) => Ok(text.value()),
            Some(Lit::Str(text)) => {
                let wrong = text.value();
                let near = retry_syntax::nearest(&wrong, known.iter().map(String::as_str));
                let hint =
                    near.map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
                let message = format!("there is no parameter `{wrong}`{hint}");
                Err(syn::Error::new_spanned(name, message))
            }
            _ => Err(syn::Error::new_spanned(
                name,
                "`redact` takes names of parameters: `redact = \"token\"`, or \
                 `redact = [\"user\", \"token\"]`",
            )),
        };
        names.into_iter().map(check).collect()
    }

    /// Returns a string that is not empty and that a terminal shows as it is.
    pub(super) fn text(self, example: &str) -> syn::Result<LitStr> {
        // The others are those that change the direction of a line.
        let is_control = |letter: char| {
            letter.is_control()
                || matches!(letter, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        };
        let what = match literal(self.expression("a string", &format!("\"{example}\""))?) {
            Some(Lit::Str(text)) if text.value().contains(is_control) => {
                "a string without control characters"
            }
            Some(Lit::Str(text)) if !text.value().is_empty() => return Ok(text.clone()),
            Some(_) => "a string that is not empty",
            None => "a literal string, not a constant or a macro",
        };
        let key = self.key();
        Err(self.error(format!("`{key}` takes {what}: `{key} = \"{example}\"`")))
    }

    /// Checks a constant of one of the runtime's own types.
    pub(super) fn constant(self, ty: &str, example: &str) -> syn::Result<Checked> {
        let what = format!("a const {ty}");
        let value = self.expression(&what, example)?;
        if literal(value).is_some() || is_negative(value) {
            let key = self.key();
            return Err(self.error(format!("`{key}` takes {what}: `{key} = {example}`")));
        }
        let private = self.private_at(value.span());
        let ty = format_ident!("{}", ty);
        Ok(self.named(value, &quote!(#private::#ty)))
    }

    /// Checks an integer of the given type, not below `least`.
    pub(super) fn integer(self, ty: &str, least: u8) -> syn::Result<Checked> {
        let key = self.key();
        let value = self.expression("an integer", "4")?;
        if is_negative(value) {
            return Err(self.error(format!("`{key}` must not be negative")));
        }
        let too_small = format!("`{key}` must be at least {least}");
        match literal(value) {
            None => Ok(self.constant_of(value, ty, (least > 0).then_some(too_small))),
            Some(Lit::Int(number)) if ["", ty].contains(&number.suffix()) => {
                let number: u64 = number.base10_parse().map_err(|_| {
                    self.error(format!("`{key}` must not be larger than {}", u64::MAX))
                })?;
                if number < u64::from(least) {
                    return Err(self.error(too_small));
                }
                let literal = proc_macro2::Literal::u64_unsuffixed(number);
                Ok(Checked::new(
                    Known::Literal(number.into()),
                    quote!(#literal),
                ))
            }
            Some(Lit::Int(number)) => {
                let digits = number.base10_digits();
                Err(self.error(format!(
                    "`{key}` takes an integer: write `{key} = {digits}`"
                )))
            }
            Some(_) => Err(self.error(format!("`{key}` takes an integer, as in `{key} = 4`"))),
        }
    }

    /// Checks a number of calls that a worker has at once.
    pub(super) fn at_once(self) -> syn::Result<Checked> {
        let key = self.key();
        let mut number = self.integer("usize", 1)?;
        let message = format!(
            "`{key}` must not be larger than {MOST_AT_ONCE}, which is what one worker can have at \
             once; allow more workers instead"
        );
        match number.known {
            Known::Literal(known) if known > MOST_AT_ONCE => return Err(self.error(message)),
            Known::Literal(_) => {}
            _ => self.check_by(&mut number, "check_at_once", &message),
        }
        Ok(number)
    }

    /// Checks a duration. With a `no_zero`, which says how else to write it, zero is refused.
    pub(super) fn duration(self, no_zero: Option<&str>) -> syn::Result<Checked> {
        self.quantity(&units::TIME, no_zero.map(|cure| ("longer than zero", cure)))
    }

    /// Checks a size in bytes that is not zero.
    pub(super) fn size(self) -> syn::Result<Checked> {
        let no_zero = ("more than zero", "leave it out for no limit");
        self.quantity(&units::BYTES, Some(no_zero))
    }

    fn quantity(self, units: &Units, no_zero: Option<(&str, &str)>) -> syn::Result<Checked> {
        let key = self.key();
        let Value::Given(value) = &self.arg.value else {
            return Err(self.error(units.expected(&key)));
        };
        let zero = no_zero.map(|(more, cure)| format!("`{key}` must be {more}; {cure}"));
        match (units.read(&key, value)?, zero) {
            (Some(0), Some(zero)) => Err(self.error(zero)),
            (Some(total), _) => Ok(Checked::new(Known::Literal(total), units.code(total))),
            (None, zero) => Ok(self.constant_of(value, units.constant, zero)),
        }
    }

    /// Returns a constant of a type with that name. The compiler's evaluation refuses zero with the
    /// sentence `no_zero`.
    fn constant_of(self, value: &Expr, name: &str, no_zero: Option<String>) -> Checked {
        let ident = format_ident!("{}", name);
        let ty = match name {
            "Duration" => quote_spanned!(value.span()=> ::core::time::#ident),
            _ => quote_spanned!(value.span()=> ::core::primitive::#ident),
        };
        let mut constant = self.named(value, &ty);
        if let Some(message) = no_zero {
            let check = format!("check_{}", name.to_lowercase());
            self.check_by(&mut constant, &check, &message);
        }
        constant
    }

    /// Returns an expression of a given type, which the compiler evaluates.
    pub(super) fn named(self, value: &Expr, ty: &TokenStream) -> Checked {
        let name = format_ident!("__{}", self.key().to_uppercase());
        Checked {
            known: Known::Constant,
            code: quote!(#name),
            items: quote_spanned!(value.span()=> const #name: #ty = #value;),
        }
    }

    /// Adds a check of the value by a function of the runtime.
    pub(super) fn check_by(self, checked: &mut Checked, check: &str, message: &str) {
        let span = self.span();
        let private = self.private_at(span);
        let check = format_ident!("{}", check, span = span);
        let code = &checked.code;
        checked.items.extend(quote_spanned! {span=>
            const _: () = #private::#check(#code, #message);
        });
    }

    /// Returns the span of the value, or of the name of an option without one.
    pub(super) fn span(self) -> Span {
        match &self.arg.value {
            Value::Given(value) => value.span(),
            _ => self.arg.key.span(),
        }
    }

    /// Returns the runtime's module with a span at which the compiler then reports errors.
    pub(super) fn private_at(self, span: Span) -> TokenStream {
        crate::tokens::respanned(self.private, span)
    }
}
