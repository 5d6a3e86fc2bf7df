//! Numbers with a unit, as in `"500ms"` or `"512MiB"`.

use proc_macro2::TokenStream;
use quote::quote;
use retry_syntax::Problem;
use syn::{Expr, ExprLit, ExprUnary, Lit, UnOp};

/// A kind of numbers with units, as the value of an option.
pub(super) struct Units {
    syntax: retry_syntax::Units,
    /// The name of a value, with its article.
    what: &'static str,
    /// The type of a constant that may stand in its place.
    pub(super) constant: &'static str,
    example: &'static str,
    /// The sentence about a value that is too large.
    too_large: &'static str,
}

/// Durations, in nanoseconds.
pub(super) const TIME: Units = Units {
    syntax: retry_syntax::DURATION,
    what: "a duration",
    constant: "Duration",
    example: "500ms",
    too_large: "longer than 500 years",
};

/// Sizes, in bytes.
pub(super) const BYTES: Units = Units {
    syntax: retry_syntax::SIZE,
    what: "a size",
    constant: "u64",
    example: "512MiB",
    too_large: "larger than 16 EiB",
};

impl Units {
    /// Returns the value of a literal in the smallest unit; `None` if it is an expression.
    pub(super) fn read(&self, key: &str, value: &Expr) -> syn::Result<Option<u128>> {
        let error = |message: String| Err(syn::Error::new_spanned(value, message));
        if is_negative(value) {
            return error(format!("`{key}` must not be negative"));
        }
        let Some(literal) = literal(value) else {
            return Ok(None);
        };
        let (text, is_text) = match literal {
            Lit::Str(text) => (text.value(), true),
            Lit::Int(number) => (number.to_string(), false),
            Lit::Float(number) => (number.to_string(), false),
            _ => return error(self.expected(key)),
        };
        match self.syntax.read(&text) {
            Ok(_) if !is_text => error(format!(
                "`{key}` takes {} as text: write `{key} = \"{text}\"`",
                self.what
            )),
            Ok(total) => Ok(Some(total.into())),
            Err(problem) => error(self.problem(key, &problem)),
        }
    }

    fn problem(&self, key: &str, problem: &Problem) -> String {
        match problem {
            Problem::Form => self.expected(key),
            Problem::Negative => format!("`{key}` must not be negative"),
            Problem::NoUnit { write } => {
                format!("`{key}` needs a unit: write `{key} = \"{write}\"`")
            }
            Problem::UnknownUnit {
                unit,
                write: Some(write),
            } => format!("unknown unit `{unit}`: write `{key} = \"{write}\"`"),
            Problem::UnknownUnit { unit, write: None } => {
                let names: Vec<&str> = self.syntax.names().collect();
                let names = names.join(", ");
                format!("unknown unit `{unit}` in `{key}`; known are: {names}")
            }
            Problem::TooLarge => format!("`{key}` is {}", self.too_large),
        }
    }

    /// Returns a value in the smallest unit as code.
    pub(super) fn code(&self, total: u128) -> TokenStream {
        // No value that was read is larger.
        let total = u64::try_from(total).unwrap_or(u64::MAX);
        if self.constant == "Duration" {
            quote!(::core::time::Duration::from_nanos(#total))
        } else {
            quote!(#total)
        }
    }

    /// Returns the sentence about a value of another kind.
    pub(super) fn expected(&self, key: &str) -> String {
        let Self {
            what,
            constant,
            example,
            ..
        } = self;
        format!("`{key}` takes {what} such as \"{example}\", or a const {constant}")
    }
}

/// Returns the literal that an expression is.
pub(super) fn literal(value: &Expr) -> Option<&Lit> {
    match value {
        Expr::Lit(ExprLit { lit, .. }) => Some(lit),
        Expr::Group(group) => literal(&group.expr),
        Expr::Paren(paren) => literal(&paren.expr),
        _ => None,
    }
}

/// Returns whether an expression is a literal with a minus.
pub(super) fn is_negative(value: &Expr) -> bool {
    match value {
        Expr::Unary(ExprUnary {
            op: UnOp::Neg(_),
            expr,
            ..
        }) => literal(expr).is_some(),
        Expr::Group(group) => is_negative(&group.expr),
        Expr::Paren(paren) => is_negative(&paren.expr),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use quote::ToTokens;

    use super::*;

    fn read(units: &Units, text: &str) -> Result<Option<u128>, String> {
        units
            .read("limit", &syn::parse_str(text).unwrap())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn a_literal_is_read_and_an_expression_is_not() {
        assert_eq!(read(&TIME, "\"1.5 s\""), Ok(Some(1_500_000_000)));
        assert_eq!(read(&TIME, "(\"1s\")"), Ok(Some(1_000_000_000)));
        assert_eq!(read(&BYTES, "\"512MiB\""), Ok(Some(536_870_912)));
        assert_eq!(read(&TIME, "LIMIT"), Ok(None));
        assert_eq!(read(&TIME, "-LIMIT"), Ok(None));
    }

    /// A macro that passes on a value puts it between invisible parentheses.
    #[test]
    fn a_value_in_invisible_parentheses_is_read() {
        let read = |text: &str| {
            let value: TokenStream = text.parse().unwrap();
            let group = proc_macro2::Group::new(proc_macro2::Delimiter::None, value);
            let value = syn::parse2(group.to_token_stream()).unwrap();
            let read = TIME.read("limit", &value);
            read.map_err(|error| error.to_string())
        };
        assert_eq!(read("\"1s\""), Ok(Some(1_000_000_000)));
        assert_eq!(read("-1"), Err("`limit` must not be negative".to_owned()));
    }

    #[test]
    fn a_wrong_duration_is_corrected() {
        let expected = "`limit` takes a duration such as \"500ms\", or a const Duration";
        for (text, message) in [
            ("30", "`limit` needs a unit: write `limit = \"30s\"`"),
            ("3.5", "`limit` needs a unit: write `limit = \"3.5s\"`"),
            ("\"30\"", "`limit` needs a unit: write `limit = \"30s\"`"),
            (
                "30s",
                "`limit` takes a duration as text: write `limit = \"30s\"`",
            ),
            ("\"3 sec\"", "unknown unit `sec`: write `limit = \"3s\"`"),
            (
                "\"3 weeks\"",
                "unknown unit `weeks` in `limit`; known are: ns, us, ms, s, m, h",
            ),
            ("-1", "`limit` must not be negative"),
            ("(-1)", "`limit` must not be negative"),
            ("\"-3s\"", "`limit` must not be negative"),
            ("\"999999999h\"", "`limit` is longer than 500 years"),
            ("\"1.2.3s\"", expected),
            ("\"1.s\"", expected),
            ("\"s\"", expected),
            ("\"\"", expected),
            ("true", expected),
            ("'3'", expected),
        ] {
            assert_eq!(read(&TIME, text), Err(message.to_owned()), "{text}");
        }
    }

    #[test]
    fn a_wrong_size_is_corrected() {
        for (text, message) in [
            ("512", "`limit` needs a unit: write `limit = \"512MiB\"`"),
            (
                "512_000_000",
                "`limit` needs a unit: write `limit = \"512000000B\"`",
            ),
            ("\"1g\"", "unknown unit `g`: write `limit = \"1GiB\"`"),
            ("\"17000000TiB\"", "`limit` is larger than 16 EiB"),
            (
                "true",
                "`limit` takes a size such as \"512MiB\", or a const u64",
            ),
        ] {
            assert_eq!(read(&BYTES, text), Err(message.to_owned()), "{text}");
        }
    }
}
