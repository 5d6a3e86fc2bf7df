//! A function as it was written.

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};
use quote::{ToTokens, quote};
use syn::parse::{Parse, ParseStream};
use syn::{Attribute, Signature, Token, Visibility, token};

use crate::args::Errors;

/// A function. Its body is not parsed: it is the compiler's business, and may be half-typed.
#[derive(Clone)]
pub(crate) struct Function {
    pub(crate) attrs: Vec<Attribute>,
    pub(crate) vis: Visibility,
    pub(crate) sig: Signature,
    /// With its braces.
    pub(crate) block: Group,
    /// The body is the user's.
    pub(crate) has_body: bool,
}

impl Parse for Function {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let attrs = input.call(Attribute::parse_outer)?;
        let vis = input.parse()?;
        let sig: Signature = input.parse()?;
        let has_body = input.peek(token::Brace);
        let block = if has_body {
            let content;
            let brace = syn::braced!(content in input);
            let mut block = Group::new(Delimiter::Brace, content.parse()?);
            block.set_span(brace.span.join());
            block
        } else {
            input.parse::<Option<Token![;]>>()?;
            Group::new(Delimiter::Brace, quote!(::core::unreachable!()))
        };
        Ok(Self {
            attrs,
            vis,
            sig,
            block,
            has_body,
        })
    }
}

/// Returns whether an item that cannot be parsed is meant to be one with that keyword.
pub(crate) fn looks_like(keyword: &str, item: &TokenStream) -> bool {
    const BEFORE: &[&str] = &["pub", "const", "async", "unsafe", "extern", "default"];
    for token in item.clone() {
        match token {
            TokenTree::Ident(ident) if ident == keyword => return true,
            TokenTree::Ident(ident) if BEFORE.iter().any(|word| ident == word) => {}
            // Attributes, `pub(..)` and the name of an ABI.
            TokenTree::Punct(_) | TokenTree::Group(_) | TokenTree::Literal(_) => {}
            TokenTree::Ident(_) => return false,
        }
    }
    false
}

impl ToTokens for Function {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        for attribute in &self.attrs {
            attribute.to_tokens(tokens);
        }
        self.vis.to_tokens(tokens);
        self.sig.to_tokens(tokens);
        self.block.to_tokens(tokens);
    }
}

/// Reports a missing body, and attributes of ours below this one, which are removed.
pub(crate) fn check(function: &mut Function, errors: &mut Errors) {
    if !function.has_body {
        errors.report(&function.sig.ident, "a #[function] needs a body");
    }
    let is_main = function.sig.ident == "main";
    function.attrs.retain(|attribute| {
        let Some(last) = attribute.path().segments.last() else {
            return true;
        };
        if last.ident == "function" {
            let message = "#[function] is written twice; put all options into one of them";
            errors.report(attribute, message);
            false
        } else if last.ident == "local_entrypoint" && !is_main {
            let message = "#[local_entrypoint] is for `main`, and #[function] for what it calls; \
                           remove one of them";
            errors.report(attribute, message);
            false
        } else {
            true
        }
    });
}

/// Lint levels that hold for the stub as well as for the body. An `expect` is fulfilled in one of them, which
/// is the body for all lints that a function could expect.
const LINT_LEVELS: &[&str] = &["allow", "warn", "deny", "forbid"];

/// A function's attributes, by their place in the expansion.
#[derive(Default)]
pub(crate) struct Attributes<'a> {
    /// On all items.
    pub(crate) cfgs: Vec<&'a Attribute>,
    /// On the stub.
    pub(crate) docs: Vec<&'a Attribute>,
    /// On the stub and on the body.
    pub(crate) lints: Vec<&'a Attribute>,
    /// On the body.
    pub(crate) body: Vec<&'a Attribute>,
}

impl<'a> Attributes<'a> {
    pub(crate) fn sort(attributes: &'a [Attribute]) -> Self {
        let mut sorted = Self::default();
        for attribute in attributes {
            let path = attribute.path();
            if path.is_ident("cfg") {
                sorted.cfgs.push(attribute);
            } else if path.is_ident("doc") || path.is_ident("deprecated") {
                sorted.docs.push(attribute);
            } else if LINT_LEVELS.iter().any(|level| path.is_ident(level)) {
                sorted.lints.push(attribute);
            } else {
                sorted.body.push(attribute);
            }
        }
        sorted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_half_typed_item_is_known_by_its_first_words() {
        for (keyword, item, is_one) in [
            ("fn", "fn f(", true),
            (
                "fn",
                "#[x] pub(crate) const async unsafe extern \"C\" fn f(a: )",
                true,
            ),
            ("fn", "static F: fn() = f;", false),
            ("fn", "struct S", false),
            ("impl", "unsafe impl S { fn }", true),
            ("impl", "fn f(a: impl Copy)", false),
        ] {
            // The compiler never passes on half a group.
            let item = item
                .trim_end_matches('(')
                .parse()
                .expect("it consists of tokens");
            assert_eq!(looks_like(keyword, &item), is_one, "{keyword} {item}");
        }
    }
}
