//! The cases of `trybuild/` without the compiler: the errors of the macros themselves and their places.
//! These tests take no time, and `trybuild` takes minutes.

use std::path::{Path, PathBuf};

use proc_macro2::{LineColumn, TokenStream, TokenTree};
use quote::{ToTokens, quote};
use syn::parse::{ParseStream, Parser};
use syn::visit::Visit;
use syn::{Attribute, LitStr, Meta};

use crate::place::{Block, IN_TEST};

type Expand = fn(TokenStream, TokenStream) -> TokenStream;

/// Cases with an error of the compiler that has no code and looks like one of the macros.
const THE_COMPILERS_OWN: &[&str] = &[
    "forgotten_handle",
    "forgotten_loop",
    "forgotten_wait",
    "local_call_spawned_and_not_send",
];

/// A line, a column, and the message there.
type Message = (usize, usize, String);

/// Returns all `.rs` files of a folder of `trybuild/`.
fn cases(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../trybuild")
        .join(folder);
    let entries = std::fs::read_dir(folder).expect("there are cases");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    paths
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .collect()
}

/// Returns the messages of the macros about a file.
fn said(path: &Path) -> Vec<Message> {
    let text = std::fs::read_to_string(path).expect("a case can be read");
    let tokens: TokenStream = text.parse().expect("a case consists of tokens");
    let file: syn::File = syn::parse2(tokens).expect("a case can be parsed");
    let mut expanded = Expanded::default();
    expanded.visit_file(&file);
    let mut messages = expanded.0;
    messages.sort();
    // The compiler does not say the same twice at one place.
    messages.dedup();
    messages
}

/// Returns the messages of the recorded `.stderr` of a file, without the compiler's own.
fn expected(path: &Path) -> Vec<Message> {
    let text = std::fs::read_to_string(path.with_extension("stderr")).expect("there is a .stderr");
    let lines: Vec<&str> = text.lines().collect();
    let ours = lines
        .windows(2)
        .filter_map(|pair| Some((pair[0].strip_prefix("error: ")?, pair[1])));
    let mut messages: Vec<Message> = ours
        .map(|(message, place)| {
            let mut place = place.rsplit(':').map(|number| number.parse().ok());
            let (column, line) = (place.next().flatten(), place.next().flatten());
            let place = line.zip(column).expect("a message has a place");
            (place.0, place.1, message.to_owned())
        })
        .collect();
    messages.sort();
    messages
}

/// Expands all items that have one of our attributes, and keeps the messages.
#[derive(Default)]
struct Expanded(Vec<Message>);

impl Expanded {
    fn item(&mut self, item: &impl ToTokens) {
        // Some refused items are of no kind that `syn` knows, but they have attributes.
        let split = |input: ParseStream<'_>| {
            let attributes = Attribute::parse_outer(input)?;
            Ok((attributes, input.parse::<TokenStream>()?))
        };
        let Ok((mut attributes, rest)) = split.parse2(item.to_token_stream()) else {
            return;
        };
        let found = attributes
            .iter()
            .enumerate()
            .find_map(|(place, attribute)| Some((place, expand(attribute)?)));
        let Some((place, expand)) = found else { return };
        let attribute = attributes.remove(place);
        let options = match &attribute.meta {
            Meta::List(list) => list.tokens.clone(),
            _ => TokenStream::new(),
        };
        let code = expand(options, quote!(#(#attributes)* #rest));
        let start = attribute.pound_token.spans[0].start();
        self.errors(code, start);
    }

    /// Collects each `compile_error! { ".." }`. One without a place stands at the attribute.
    fn errors(&mut self, code: TokenStream, attribute: LineColumn) {
        let mut at = None;
        for token in code {
            match token {
                TokenTree::Ident(ident) if ident == "compile_error" => at = Some(ident.span()),
                TokenTree::Group(group) => match at.take() {
                    Some(span) => {
                        let text: LitStr = syn::parse2(group.stream()).expect("it is a text");
                        let is_somewhere = span.start() != span.end();
                        let start = if is_somewhere {
                            span.start()
                        } else {
                            attribute
                        };
                        self.0.push((start.line, start.column + 1, text.value()));
                    }
                    None => self.errors(group.stream(), attribute),
                },
                _ => {}
            }
        }
    }
}

impl<'ast> Visit<'ast> for Expanded {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        self.item(item);
        syn::visit::visit_item(self, item);
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        // The attribute of a service takes those of its methods away.
        if item.attrs.iter().any(|one| expand(one).is_some()) {
            return;
        }
        let block = match item.trait_ {
            Some(_) => Block::OfTrait,
            None => Block::Inherent,
        };
        let outer = IN_TEST.replace(Some(block));
        syn::visit::visit_item_impl(self, item);
        IN_TEST.set(outer);
    }

    fn visit_item_trait(&mut self, item: &'ast syn::ItemTrait) {
        let outer = IN_TEST.replace(Some(Block::OfTrait));
        syn::visit::visit_item_trait(self, item);
        IN_TEST.set(outer);
    }

    fn visit_item_foreign_mod(&mut self, item: &'ast syn::ItemForeignMod) {
        let outer = IN_TEST.replace(Some(Block::Foreign));
        syn::visit::visit_item_foreign_mod(self, item);
        IN_TEST.set(outer);
    }

    fn visit_foreign_item(&mut self, item: &'ast syn::ForeignItem) {
        self.item(item);
        syn::visit::visit_foreign_item(self, item);
    }

    fn visit_block(&mut self, block: &'ast syn::Block) {
        let outer = IN_TEST.replace(None);
        syn::visit::visit_block(self, block);
        IN_TEST.set(outer);
    }

    fn visit_trait_item(&mut self, item: &'ast syn::TraitItem) {
        self.item(item);
        syn::visit::visit_trait_item(self, item);
    }

    fn visit_impl_item(&mut self, item: &'ast syn::ImplItem) {
        self.item(item);
        syn::visit::visit_impl_item(self, item);
    }
}

/// Returns the expansion of an attribute, if it is one of ours.
fn expand(attribute: &Attribute) -> Option<Expand> {
    let path = attribute.path();
    let name = path.segments.last()?.ident.to_string();
    match (name.as_str(), path.segments.len()) {
        ("function", _) => Some(crate::expand::function),
        ("service", _) => Some(crate::service::service),
        ("local_entrypoint", _) => Some(crate::entrypoint::local_entrypoint),
        ("on_start", _) => Some(crate::on_start::on_start),
        // With one segment it is the standard library's.
        ("test", 2) => Some(crate::test::test),
        _ => None,
    }
}

#[test]
fn the_macros_report_the_recorded_errors() {
    for path in cases("fail") {
        let name = path.file_stem().and_then(|name| name.to_str());
        let is_ours = name.is_some_and(|name| !THE_COMPILERS_OWN.contains(&name));
        let expected = if is_ours { expected(&path) } else { Vec::new() };
        assert_eq!(said(&path), expected, "{}", path.display());
    }
}

#[test]
fn the_macros_accept_correct_items() {
    for path in cases("examples").into_iter().chain(cases("strict/src")) {
        assert_eq!(said(&path), [], "{}", path.display());
    }
}
