//! The cases of `trybuild/`, without the compiler: what the macros themselves refuse, where and in
//! which words, and that they refuse nothing else. It takes no time, and `trybuild` takes a lot.

use std::path::{Path, PathBuf};

use proc_macro2::{LineColumn, TokenStream, TokenTree};
use quote::{ToTokens, quote};
use syn::parse::{ParseStream, Parser};
use syn::visit::Visit;
use syn::{Attribute, LitStr, Meta};

type Expand = fn(TokenStream, TokenStream) -> TokenStream;

/// Cases in which the compiler speaks without an error code, so that it looks like us.
const THE_COMPILERS_OWN: &[&str] = &[
    "associated_function",
    "forgotten_handle",
    "forgotten_loop",
    "forgotten_wait",
    "local_call_spawned_and_not_send",
];

/// A line, a column, and what is said there.
type Message = (usize, usize, String);

/// All `.rs` files of a folder of `trybuild/`.
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

/// What the macros say about a file.
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

/// What the compiler was seen to say about a file, without what it says in its own words.
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

/// Expands whatever has one of our attributes, and keeps what is said about it.
#[derive(Default)]
struct Expanded(Vec<Message>);

impl Expanded {
    fn item(&mut self, item: &impl ToTokens) {
        // Some of what is refused is nothing that `syn` has a name for, but has attributes.
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

    /// Collects each `compile_error! { ".." }`. One that has no place stands at the attribute.
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

    fn visit_impl_item(&mut self, item: &'ast syn::ImplItem) {
        self.item(item);
        syn::visit::visit_impl_item(self, item);
    }
}

/// What an attribute stands for, if it is one of ours.
fn expand(attribute: &Attribute) -> Option<Expand> {
    let path = attribute.path();
    let name = path.segments.last()?.ident.to_string();
    match (name.as_str(), path.segments.len()) {
        ("function", _) => Some(crate::expand::function),
        ("service", _) => Some(crate::service::service),
        ("local_entrypoint", _) => Some(crate::entrypoint::local_entrypoint),
        // With one segment it is the standard library's.
        ("test", 2) => Some(crate::test::test),
        _ => None,
    }
}

#[test]
fn what_is_refused_is_refused_in_these_words() {
    for path in cases("fail") {
        let name = path.file_stem().and_then(|name| name.to_str());
        let is_ours = name.is_some_and(|name| !THE_COMPILERS_OWN.contains(&name));
        let expected = if is_ours { expected(&path) } else { Vec::new() };
        assert_eq!(said(&path), expected, "{}", path.display());
    }
}

#[test]
fn what_is_right_is_not_refused() {
    for path in cases("examples").into_iter().chain(cases("strict/src")) {
        assert_eq!(said(&path), [], "{}", path.display());
    }
}
