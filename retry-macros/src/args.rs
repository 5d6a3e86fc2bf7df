//! The attribute as written.

use proc_macro2::{Ident, TokenStream, TokenTree};
use quote::ToTokens;
use syn::ext::IdentExt;
use syn::parse::{ParseStream, Parser};
use syn::spanned::Spanned;
use syn::{Expr, ExprLit, Token, token};

/// One `key`, `key = value` or `key(..)`.
#[derive(Clone)]
pub(crate) struct Arg {
    pub(crate) key: Ident,
    pub(crate) value: Value,
}

#[derive(Clone)]
pub(crate) enum Value {
    Flag,
    Given(Box<Expr>),
    List(Args),
    /// The text after the key cannot be read, which has been reported.
    Broken,
}

/// The options between the attribute's parentheses.
pub(crate) type Args = Vec<Arg>;

/// Reads the options between the attribute's parentheses. An option that cannot be read is reported, and
/// reading continues after the next comma.
pub(crate) fn parse(tokens: TokenStream, errors: &mut Errors) -> Args {
    let mut args = Args::new();
    let read = (|input: ParseStream<'_>| {
        read(input, &mut args, errors);
        Ok(())
    })
    .parse2(tokens);
    errors.keep(read);
    args
}

fn read(input: ParseStream<'_>, args: &mut Args, errors: &mut Errors) {
    while !input.is_empty() {
        match option(input, args, errors) {
            Ok(()) => {}
            Err(error) => {
                errors.push(error);
                skip_to_comma(input);
            }
        }
        if input.parse::<Token![,]>().is_err() && !input.is_empty() {
            errors.push(input.error("expected a comma before the next option"));
            skip_to_comma(input);
            // The comma itself; at the end there is none.
            input.parse::<Token![,]>().ok();
        }
    }
}

fn option(input: ParseStream<'_>, args: &mut Args, errors: &mut Errors) -> syn::Result<()> {
    let Ok(key) = input.call(Ident::parse_any) else {
        return Err(input.error("expected an option, such as `retries = 3`"));
    };
    let mut arg = Arg {
        key,
        value: Value::Broken,
    };
    let value = value(input, &arg.key, errors);
    let result = value.map(|value| arg.value = value);
    args.push(arg);
    result
}

fn value(input: ParseStream<'_>, key: &Ident, errors: &mut Errors) -> syn::Result<Value> {
    if input.peek(token::Paren) {
        let content;
        syn::parenthesized!(content in input);
        if let Some(error) = unnamed(&content, key) {
            content.parse::<TokenStream>()?;
            return Err(error);
        }
        let mut list = Args::new();
        read(&content, &mut list, errors);
        return Ok(Value::List(list));
    }
    if input.is_empty() || input.peek(Token![,]) {
        return Ok(Value::Flag);
    }
    if !input.peek(Token![=]) || input.peek(Token![==]) {
        let message = format!("expected `=` after `{key}`, as in `{key} = ..`");
        return Err(input.error(message));
    }
    input.parse::<Token![=]>()?;
    if input.is_empty() || input.peek(Token![,]) {
        let message = format!("`{key}` has no value after its `=`");
        return Err(syn::Error::new(key.span(), message));
    }
    let start = input.span();
    match input.parse() {
        Ok(value) => Ok(Value::Given(Box::new(value))),
        Err(_) => Err(syn::Error::new(
            start,
            format!("the value of `{key}` is not an expression"),
        )),
    }
}

/// Returns the error for a list that begins with a value instead of a name, as a call does.
fn unnamed(list: ParseStream<'_>, key: &Ident) -> Option<syn::Error> {
    let list = list.fork();
    let value: ExprLit = list.parse().ok()?;
    let (value, span) = (value.to_token_stream(), value.span());
    let name = match key.to_string().as_str() {
        "retries" => Some("max_retries"),
        "batch" => Some("max_size"),
        _ => None,
    };
    let message = match name {
        Some(name) if key == "batch" || !list.is_empty() => {
            format!("the options of `{key}(..)` have names: write `{name} = {value}`")
        }
        _ => format!("`{key}` is not called: write `{key} = {value}`"),
    };
    Some(syn::Error::new(span, message))
}

fn skip_to_comma(input: ParseStream<'_>) {
    while !input.peek(Token![,]) && input.parse::<TokenTree>().is_ok() {}
}

/// Collects errors, so that all of them are reported at once.
#[derive(Default)]
pub(crate) struct Errors(Option<syn::Error>);

impl Errors {
    pub(crate) fn push(&mut self, error: syn::Error) {
        match &mut self.0 {
            Some(errors) => errors.combine(error),
            none => *none = Some(error),
        }
    }

    pub(crate) fn append(&mut self, other: Self) {
        if let Some(errors) = other.0 {
            self.push(errors);
        }
    }

    pub(crate) fn report(&mut self, at: &impl ToTokens, message: impl std::fmt::Display) {
        self.push(syn::Error::new_spanned(at, message));
    }

    pub(crate) fn keep<T>(&mut self, result: syn::Result<T>) -> Option<T> {
        result.map_err(|error| self.push(error)).ok()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Returns a value, or the errors if there are any.
    pub(crate) fn finish<T>(self, value: T) -> syn::Result<T> {
        self.0.map_or(Ok(value), Err)
    }

    /// Returns the first error as code.
    pub(crate) fn first(&self) -> Option<TokenStream> {
        let first = self.0.as_ref()?.into_iter().next()?;
        Some(first.to_compile_error())
    }

    /// Returns the errors as code; `None` if there are none.
    pub(crate) fn to_compile_error(&self) -> Option<TokenStream> {
        self.0.as_ref().map(syn::Error::to_compile_error)
    }

    #[cfg(test)]
    pub(crate) fn messages(self) -> Vec<String> {
        self.0
            .map(|errors| errors.into_iter().map(|error| error.to_string()).collect())
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quote::quote;

    fn messages(attribute: TokenStream) -> (usize, Vec<String>) {
        let mut errors = Errors::default();
        let args = parse(attribute, &mut errors);
        (args.len(), errors.messages())
    }

    #[test]
    fn half_an_option_does_not_affect_the_others() {
        let (count, messages) = messages(quote!(retries =, timeout = "3s"));
        assert_eq!(count, 2);
        assert_eq!(messages, ["`retries` has no value after its `=`"]);
    }

    #[test]
    fn a_malformed_option_is_skipped() {
        let (count, messages) =
            messages(quote!("3", timeout: "3s", retries 3, name = ;, setup(a=)));
        assert_eq!(count, 4);
        assert_eq!(
            messages,
            [
                "expected an option, such as `retries = 3`",
                "expected `=` after `timeout`, as in `timeout = ..`",
                "expected `=` after `retries`, as in `retries = ..`",
                "the value of `name` is not an expression",
                "`a` has no value after its `=`",
            ]
        );
    }

    #[test]
    fn a_missing_comma_is_reported() {
        let (_, messages) = messages(quote!(retries = 3 timeout = "3s", name = "x"));
        assert_eq!(messages, ["expected a comma before the next option"]);
    }
}
