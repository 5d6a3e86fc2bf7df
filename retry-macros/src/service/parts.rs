//! The methods of a service as they were written.

use proc_macro2::{Delimiter, Group, Span, TokenStream, TokenTree};
use quote::{format_ident, quote};
use syn::ext::IdentExt;
use syn::parse::{ParseStream, Parser};
use syn::spanned::Spanned;
use syn::{Attribute, Expr, ImplItem, ImplItemFn, ItemImpl, Meta, Stmt};

use crate::args::{self, Args, Errors};
use crate::conditional::{self, Either};
use crate::item::Function;

const SETUP: &str = "setup";
const METHOD: &str = "method";
const TEARDOWN: &str = "teardown";

/// Reads an `impl`. The bodies of its functions are not parsed, and may be half-typed.
pub(super) fn read(item: TokenStream) -> syn::Result<ItemImpl> {
    let mut header: Vec<TokenTree> = item.into_iter().collect();
    let body = match header.pop() {
        Some(TokenTree::Group(group)) => group,
        last => {
            header.extend(last);
            return syn::parse2(header.into_iter().collect());
        }
    };
    let mut empty = Group::new(Delimiter::Brace, TokenStream::new());
    empty.set_span(body.span());
    header.push(empty.into());
    let mut block: ItemImpl = syn::parse2(header.into_iter().collect())?;
    let items = |input: ParseStream<'_>| {
        block.attrs.extend(input.call(Attribute::parse_inner)?);
        while !input.is_empty() {
            block.items.push(part(input)?);
        }
        Ok(())
    };
    items.parse2(body.stream())?;
    Ok(block)
}

fn part(input: ParseStream<'_>) -> syn::Result<ImplItem> {
    let is_a_function =
        matches!(input.fork().parse::<Function>(), Ok(function) if function.has_body);
    if !is_a_function {
        return input.parse();
    }
    let Function {
        attrs,
        vis,
        sig,
        block,
        ..
    } = input.parse()?;
    let mut method: ImplItemFn = syn::parse2(quote!(#vis #sig {}))?;
    method.attrs = attrs;
    method.block.brace_token.span = block.delim_span();
    let body = Expr::Verbatim(block.stream());
    method.block.stmts.push(Stmt::Expr(body, None));
    Ok(ImplItem::Fn(method))
}

/// Returns an `impl` with and without the first part that depends on a condition: the constructor, the method that
/// takes the value, or a parameter; `None` if there is none. A `#[method]` with a condition is no such part, since
/// all that is generated for it can have the condition.
pub(super) fn conditional(block: &ItemImpl) -> Option<Either<ItemImpl>> {
    let items = conditional::element(&block.items, |item| match item {
        ImplItem::Fn(method) => {
            let is_one = method
                .attrs
                .iter()
                .filter_map(name)
                .any(|name| name != METHOD);
            is_one.then_some(&mut method.attrs)
        }
        _ => None,
    });
    if let Some(items) = items {
        return Some(Either::within(items, block, |block| &mut block.items));
    }
    let mut items = block.items.iter().enumerate();
    let (position, method) = items.find_map(|(position, item)| match item {
        ImplItem::Fn(method) if method.attrs.iter().any(|one| name(one).is_some()) => {
            let signature = conditional::signature(&method.sig)?;
            let method = Either::within(signature, method, |method| &mut method.sig);
            Some((position, method))
        }
        _ => None,
    })?;
    let method = method.map(ImplItem::Fn);
    Some(Either::within(method, block, |block| {
        &mut block.items[position]
    }))
}

/// The methods with an attribute of ours, without the attribute.
#[derive(Default)]
pub(super) struct Parts {
    pub(super) setup: Option<ImplItemFn>,
    pub(super) teardown: Option<ImplItemFn>,
    /// Each with the place and the options of its attribute.
    pub(super) methods: Vec<(Span, Args, ImplItemFn)>,
}

impl Parts {
    pub(super) fn take(block: &mut ItemImpl, errors: &mut Errors) -> Self {
        let mut parts = Self::default();
        for item in &mut block.items {
            let ImplItem::Fn(method) = item else { continue };
            let is_ours = |one: &mut Attribute| name(one).is_some();
            let ours: Vec<Attribute> = method.attrs.extract_if(.., is_ours).collect();
            let [attribute, others @ ..] = &ours[..] else {
                continue;
            };
            if is_function(attribute) {
                let message = "a method of a #[service] has #[method] instead of #[function]";
                errors.report(attribute.path(), message);
            }
            for other in others {
                let message =
                    "a method has one of #[setup], #[method] and #[teardown]; remove this";
                errors.report(other, message);
            }
            if parts.has_method(method) {
                let message = "a service has a method of this name already; rename this";
                errors.report(&method.sig.ident, message);
                // Under its own name the compiler would report it as well, at each use.
                method.sig.ident = format_ident!(
                    "__{}",
                    method.sig.ident.unraw(),
                    span = method.sig.ident.span()
                );
                method.attrs.push(syn::parse_quote!(#[allow(dead_code)]));
                continue;
            }
            parts.add(attribute, method, errors);
            if name(attribute) == Some(SETUP) {
                // Its parameters have to be owned. An `expect` of the user's comes later and takes precedence.
                let allow = syn::parse_quote!(#[allow(clippy::needless_pass_by_value)]);
                method.attrs.insert(0, allow);
            }
        }
        parts
    }

    /// Returns whether there is a `#[method]` of the same name. One of two with a condition may not exist.
    fn has_method(&self, method: &ImplItemFn) -> bool {
        let is_conditional =
            |method: &ImplItemFn| method.attrs.iter().any(|one| one.path().is_ident("cfg"));
        self.methods.iter().any(|(_, _, other)| {
            other.sig.ident == method.sig.ident && !is_conditional(other) && !is_conditional(method)
        })
    }

    fn add(&mut self, attribute: &Attribute, method: &ImplItemFn, errors: &mut Errors) {
        let place = match name(attribute) {
            Some(SETUP) => &mut self.setup,
            Some(TEARDOWN) => &mut self.teardown,
            _ => {
                let args = args::parse(options(attribute, errors), errors);
                let place = attribute.span();
                self.methods.push((place, args, method.clone()));
                return;
            }
        };
        if !matches!(attribute.meta, Meta::Path(_)) {
            let message = "this takes no options; those of the workers are in #[service(..)]";
            errors.report(attribute, message);
        }
        if place.is_some() {
            let message = "a service has one of these already; remove this attribute";
            errors.report(attribute, message);
        } else {
            *place = Some(method.clone());
        }
    }
}

fn is_function(attribute: &Attribute) -> bool {
    let last = attribute.path().segments.last();
    last.is_some_and(|last| last.ident == "function")
}

/// Returns the attribute's name, if it is one of ours. `#[function]` counts as `#[method]`, which was
/// probably meant.
fn name(attribute: &Attribute) -> Option<&'static str> {
    if is_function(attribute) {
        return Some(METHOD);
    }
    let mut names = [SETUP, METHOD, TEARDOWN].into_iter();
    names.find(|name| attribute.path().is_ident(name))
}

fn options(attribute: &Attribute, errors: &mut Errors) -> TokenStream {
    match &attribute.meta {
        Meta::Path(_) => TokenStream::new(),
        Meta::List(list) => list.tokens.clone(),
        Meta::NameValue(_) => {
            let message = "options stand in parentheses: #[method(retries = 3)]";
            errors.report(attribute, message);
            TokenStream::new()
        }
    }
}

/// Removes our attributes, which the compiler does not know, from an `impl` that cannot be read.
pub(super) fn strip(item: TokenStream) -> TokenStream {
    item.into_iter()
        .map(|token| match token {
            TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => {
                let mut stripped = Group::new(Delimiter::Brace, without_ours(group.stream()));
                stripped.set_span(group.span());
                stripped.into()
            }
            token => token,
        })
        .collect()
}

fn without_ours(body: TokenStream) -> TokenStream {
    let mut kept: Vec<TokenTree> = Vec::new();
    for token in body {
        let is_ours = matches!(&token, TokenTree::Group(group)
            if group.delimiter() == Delimiter::Bracket
                && [SETUP, METHOD, TEARDOWN].iter().any(|name| starts_with(group, name)));
        let after_hash =
            matches!(kept.last(), Some(TokenTree::Punct(hash)) if hash.as_char() == '#');
        if is_ours && after_hash {
            kept.pop();
        } else {
            kept.push(token);
        }
    }
    kept.into_iter().collect()
}

fn starts_with(group: &Group, name: &str) -> bool {
    matches!(group.stream().into_iter().next(), Some(TokenTree::Ident(ident)) if ident == name)
}
