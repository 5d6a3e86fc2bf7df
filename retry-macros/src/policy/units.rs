//! Numbers with a unit, as in `"500ms"` or `"512MiB"`.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Expr, ExprLit, ExprUnary, Lit, UnOp};

/// A kind of numbers with units.
pub(super) struct Units {
    /// What is written, with its article.
    pub(super) what: &'static str,
    /// The type of a constant that may stand in its place.
    pub(super) constant: &'static str,
    /// An example.
    example: &'static str,
    /// The unit that is suggested for a number without one.
    likely: &'static str,
    /// All units, each with how many of the smallest it has.
    units: &'static [(&'static str, u128)],
    /// Other spellings of units, for a suggestion.
    aliases: &'static [(&'static str, &'static str)],
    /// What is too much.
    most: &'static str,
}

/// Durations, counted in nanoseconds.
pub(super) const TIME: Units = Units {
    what: "a duration",
    constant: "Duration",
    example: "500ms",
    likely: "s",
    units: &[
        ("ns", 1),
        ("us", 1_000),
        ("ms", 1_000_000),
        ("s", 1_000_000_000),
        ("m", 60 * 1_000_000_000),
        ("h", 3600 * 1_000_000_000),
    ],
    aliases: &[
        ("µs", "us"),
        ("μs", "us"),
        ("msec", "ms"),
        ("millis", "ms"),
        ("milliseconds", "ms"),
        ("sec", "s"),
        ("secs", "s"),
        ("second", "s"),
        ("seconds", "s"),
        ("S", "s"),
        ("min", "m"),
        ("mins", "m"),
        ("minute", "m"),
        ("minutes", "m"),
        ("hour", "h"),
        ("hours", "h"),
    ],
    most: "longer than 500 years",
};

/// Sizes, counted in bytes.
pub(super) const BYTES: Units = Units {
    what: "a size",
    constant: "u64",
    example: "512MiB",
    likely: "MiB",
    units: &[
        ("B", 1),
        ("KB", 1_000),
        ("KiB", 1 << 10),
        ("MB", 1_000_000),
        ("MiB", 1 << 20),
        ("GB", 1_000_000_000),
        ("GiB", 1 << 30),
        ("TiB", 1 << 40),
    ],
    aliases: &[
        ("b", "B"),
        ("bytes", "B"),
        ("k", "KiB"),
        ("K", "KiB"),
        ("kb", "KB"),
        ("kB", "KB"),
        ("kib", "KiB"),
        ("m", "MiB"),
        ("M", "MiB"),
        ("mb", "MB"),
        ("mib", "MiB"),
        ("g", "GiB"),
        ("G", "GiB"),
        ("gb", "GB"),
        ("gib", "GiB"),
        ("T", "TiB"),
        ("tib", "TiB"),
    ],
    most: "larger than 16 EiB",
};

impl Units {
    /// The value of a literal, in the smallest unit; `None` if it is an expression.
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
        let text = text.trim().replace('_', "");
        let split = text
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(text.len());
        let (number, unit) = text.split_at(split);
        let unit = unit.trim();
        if number.is_empty() && text.starts_with('-') {
            return error(format!("`{key}` must not be negative"));
        }
        if number.is_empty() {
            return error(self.expected(key));
        }
        if unit.is_empty() {
            let likely = self.likely;
            return error(format!(
                "`{key}` needs a unit: write `{key} = \"{number}{likely}\"`"
            ));
        }
        let Some((_, factor)) = self.units.iter().find(|(name, _)| *name == unit) else {
            return error(self.unknown(key, number, unit));
        };
        if !is_text {
            return error(format!(
                "`{key}` takes {} as text: write `{key} = \"{number}{unit}\"`",
                self.what
            ));
        }
        match times(number, *factor) {
            Some(total) if total <= u128::from(u64::MAX) => Ok(Some(total)),
            Some(_) => error(format!("`{key}` is {}", self.most)),
            None => error(self.expected(key)),
        }
    }

    /// A value in the smallest unit as code.
    pub(super) fn code(&self, total: u128) -> TokenStream {
        // Nothing that was read is larger.
        let total = u64::try_from(total).unwrap_or(u64::MAX);
        if self.constant == "Duration" {
            quote!(::core::time::Duration::from_nanos(#total))
        } else {
            quote!(#total)
        }
    }

    /// The sentence about a value that is of another kind.
    pub(super) fn expected(&self, key: &str) -> String {
        let Self {
            what,
            constant,
            example,
            ..
        } = self;
        format!("`{key}` takes {what} such as \"{example}\", or a const {constant}")
    }

    fn unknown(&self, key: &str, number: &str, unit: &str) -> String {
        if let Some((_, name)) = self.aliases.iter().find(|(alias, _)| *alias == unit) {
            return format!("unknown unit `{unit}`: write `{key} = \"{number}{name}\"`");
        }
        let names: Vec<&str> = self.units.iter().map(|(name, _)| *name).collect();
        format!(
            "unknown unit `{unit}` in `{key}`; known are: {}",
            names.join(", ")
        )
    }
}

/// A decimal number times a factor, rounded down; `None` if it is not a number of ours.
fn times(number: &str, factor: u128) -> Option<u128> {
    let (whole, fraction) = match number.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (number, None),
    };
    let mut total = u128::from(whole.parse::<u64>().ok()?) * factor;
    if let Some(fraction) = fraction {
        let scale = 10u128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
        let part = u128::from(fraction.parse::<u64>().ok()?);
        total += part * factor / scale;
    }
    Some(total)
}

/// The literal that an expression is.
pub(super) fn literal(value: &Expr) -> Option<&Lit> {
    match value {
        Expr::Lit(ExprLit { lit, .. }) => Some(lit),
        Expr::Group(group) => literal(&group.expr),
        Expr::Paren(paren) => literal(&paren.expr),
        _ => None,
    }
}

/// Whether an expression is a literal with a minus.
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
    fn durations_are_read_exactly() {
        for (text, nanos) in [
            ("\"500ms\"", 500_000_000),
            ("\"1.5 s\"", 1_500_000_000),
            ("\" 0.1us\"", 100),
            ("\"7ns\"", 7),
            ("\"1_000ms\"", 1_000_000_000),
            ("\"3m\"", 180_000_000_000),
            ("\"2h\"", 7_200_000_000_000),
            ("\"0s\"", 0),
            ("(\"1s\")", 1_000_000_000),
        ] {
            assert_eq!(read(&TIME, text), Ok(Some(nanos)), "{text}");
        }
        assert_eq!(read(&TIME, "LIMIT"), Ok(None));
        assert_eq!(read(&TIME, "-LIMIT"), Ok(None));
    }

    /// A macro that passes on a value puts it between parentheses that nobody sees.
    #[test]
    fn a_value_that_a_macro_passes_on_is_read() {
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
    fn sizes_are_read_exactly() {
        for (text, bytes) in [
            ("\"1B\"", 1),
            ("\"1KB\"", 1000),
            ("\"1KiB\"", 1024),
            ("\"3MB\"", 3_000_000),
            ("\"512MiB\"", 536_870_912),
            ("\"2GB\"", 2_000_000_000),
            ("\"1.5GiB\"", 1_610_612_736),
            ("\"1TiB\"", 1_099_511_627_776),
        ] {
            assert_eq!(read(&BYTES, text), Ok(Some(bytes)), "{text}");
        }
    }

    #[test]
    fn what_is_not_a_duration_says_what_to_write() {
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
    fn a_size_says_so() {
        for (text, message) in [
            ("512", "`limit` needs a unit: write `limit = \"512MiB\"`"),
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
