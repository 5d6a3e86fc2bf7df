//! The expansions themselves, for one function of each kind and for what is left of broken ones:
//! `snapshots/` has them as a reader would want to see them.
//!
//! `SNAPSHOTS=overwrite cargo test -p retry-macros` writes them anew.

use std::path::{Path, PathBuf};

use proc_macro2::TokenStream;

/// A file's name, the attribute's options, and the item.
const CASES: &[(&str, &str, &str)] = &[
    ("no_parameters", "", "fn refresh() {}"),
    (
        "sync",
        "retries = 3, timeout = \"30s\"",
        "/// Adds.\npub fn add(a: u64, b: u64) -> u64 { a + b }",
    ),
    (
        "result",
        "retries(max_retries = 5, initial_delay = \"200ms\", jitter), retry_if = is_transient",
        "fn fetch(url: String) -> Result<Vec<u8>, FetchError> { get(url) }",
    ),
    (
        "async_result",
        "concurrency = 8",
        "pub(crate) async fn fetch(url: &str) -> Result<String, FetchError> { get(url).await }",
    ),
    (
        "references",
        "",
        "fn search(text: &str, bytes: &[u8], settings: &Settings, limit: usize) -> usize { 0 }",
    ),
    (
        "setup",
        "setup = load, teardown = close, memory = \"512MiB\"",
        "fn embed(model: &mut Model, text: String) -> Vec<f32> { model.run(text) }",
    ),
    (
        "batch",
        "batch(max_size = 64, max_wait = \"5ms\")",
        "fn embed(texts: Vec<String>) -> Vec<Result<Vec<f32>, String>> { run(texts) }",
    ),
    (
        "constants",
        "retries = POLICY, timeout = LIMIT, deadline = \"1m\", at_most_once",
        "fn f() {}",
    ),
    (
        "recovery_wrong_option",
        "retries = -1, timeout = 3, setup = load",
        "fn f(state: &State, a: u64) -> u64 { a }",
    ),
    (
        "recovery_half_an_option",
        "retries = , timeout = \"3s\", ma",
        "fn f(a: u64) -> u64 { a }",
    ),
    (
        "recovery_wrong_signature",
        "retries = 3",
        "fn f((a, b): (u64, u64), text: &mut str) -> &str { text }",
    ),
    (
        "recovery_generic",
        "",
        "fn f<T: Into<String>>(value: T) -> usize { value.into().len() }",
    ),
    ("recovery_half_a_body", "", "fn f(a: u64) -> u64 { a. }"),
    ("recovery_no_body", "", "fn f(a: u64) -> u64;"),
    ("recovery_half_a_parameter", "", "fn f(a: ) -> u64 { 1 }"),
    ("recovery_not_a_function", "", "struct F;"),
];

fn path(name: &str) -> PathBuf {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("snapshots");
    directory.join(name).with_extension("rs")
}

/// What is written, and what becomes of it.
fn snapshot(attribute: &str, item: &str) -> String {
    let parse = |text: &str| -> TokenStream { text.parse().expect("the case consists of tokens") };
    let tokens = crate::expand::function(parse(attribute), parse(item));
    let attribute = match attribute {
        "" => "#[function]".to_owned(),
        options => format!("#[function({options})]"),
    };
    let written: String = attribute
        .lines()
        .chain(item.lines())
        .map(|line| format!("// {line}\n"))
        .collect();
    // What was half-typed stays so, and is no Rust that could be laid out.
    let expansion = match syn::parse2::<syn::File>(tokens.clone()) {
        Ok(file) if !contains_verbatim(&file) => prettyplease::unparse(&file),
        _ => format!("{tokens}\n"),
    };
    format!("{written}\n{expansion}")
}

fn contains_verbatim(file: &syn::File) -> bool {
    file.items
        .iter()
        .any(|item| matches!(item, syn::Item::Verbatim(_)))
}

#[test]
fn expansions_are_as_they_were() {
    let overwrite = std::env::var_os("SNAPSHOTS").is_some_and(|value| value == "overwrite");
    let mut different = Vec::new();
    for (name, attribute, item) in CASES {
        let is = snapshot(attribute, item);
        if overwrite {
            std::fs::write(path(name), is).expect("a snapshot can be written");
        } else if std::fs::read_to_string(path(name)).ok().as_ref() != Some(&is) {
            different.push(format!("---- {name}\n{is}"));
        }
    }
    assert!(
        different.is_empty(),
        "not as in retry-macros/snapshots; if it is meant, run with SNAPSHOTS=overwrite\n{}",
        different.join("\n")
    );
}

#[test]
fn each_snapshot_has_its_case() {
    for entry in std::fs::read_dir(path("x").with_file_name("")).expect("there are snapshots") {
        let file = entry.expect("an entry").path();
        let is_a_case = CASES.iter().any(|(name, ..)| path(name) == file);
        assert!(is_a_case, "{} has no case", file.display());
    }
}
