//! The expansions themselves, for one item of each kind and for what remains of broken ones, formatted for a
//! reader in `snapshots/`.
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
        "retries(max_retries = 5, initial_delay = \"200ms\", max_delay = \"20s\", jitter), \
         retry_if = is_transient",
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
        "constants_in_a_list",
        "retries(max_retries = N, backoff_coefficient = C, initial_delay = FIRST, \
         max_delay = \"20s\"), min_workers = FEWEST, max_workers = MOST",
        "fn f() {}",
    ),
    ("another_runtime", "crate = ::my::runtime", "fn f() {}"),
    (
        "recovery_batch",
        "batch(max_size = 64), timeout = 3",
        "fn f(numbers: Vec<u64>) -> Vec<u64> { numbers }",
    ),
    (
        "recovery_lifetimes",
        "",
        "fn f<'a>(text: &'a str, more: Cow<'a, str>) -> u64 { 1 }",
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

/// The cases of the other attributes, with the attribute in the second place.
const OTHERS: &[(&str, &str, &str, &str)] = &[
    (
        "service",
        "service",
        "max_workers = 2, memory = LIMIT",
        "impl Scaler {\n\
            #[setup]\n\
            pub fn new(config: Config, by: u64) -> Result<Self, NoFactor> { make(config, by) }\n\
            /// One number.\n\
            #[method(retries = 2)]\n\
            pub fn scale(&self, number: u64) -> u64 { number * self.factor }\n\
            #[cfg(feature = \"parse\")]\n\
            #[method]\n\
            async fn parse(&mut self, _: &str, mut of: Option<Self>) -> Result<Self, String> { .. }\n\
            pub fn factor(&self) -> u64 { self.factor }\n\
            #[teardown]\n\
            fn close(self) {}\n\
        }",
    ),
    (
        "service_without_parameters",
        "service",
        "crate = ::my::runtime, name = \"counter\"",
        "impl my::Counter {\n\
            #[setup]\n\
            fn new() -> Self { Self }\n\
            #[method]\n\
            fn next(&mut self) -> u64 { 1 }\n\
        }",
    ),
    (
        "recovery_service",
        "service",
        "max_workers = 0, timeout = \"3s\"",
        "impl Counter {\n\
            #[setup]\n\
            fn new<'a>(names: Vec<&'a str>) -> Self { Self }\n\
            #[method(retries = -1)]\n\
            fn right(&self, number: u64) -> u64 { number }\n\
            #[method]\n\
            fn wrong(&self, (a, b): (u64, u64)) -> &str { \"\" }\n\
            #[method]\n\
            fn hopeless<T>(&self, value: T) {}\n\
            #[teardown]\n\
            fn close(&self) {}\n\
        }",
    ),
    (
        "recovery_half_a_method",
        "service",
        "",
        "impl Counter {\n\
            #[setup]\n\
            fn new() -> Self { Self }\n\
            #[doc(method)]\n\
            #[method(retries = 3)]\n\
            fn next(&mut self) -> u64 { self. }\n\
        }",
    ),
    (
        "recovery_half_a_service",
        "service",
        "",
        "#[allow(dead_code)]\nunsafe impl Counter {\n\
            #[setup]\n\
            fn new() -> Self { Self }\n\
            #[doc(method)]\n\
            #[method(retries = 3)]\n\
            fn next(&mut self, by: ) -> u64 { [method] }\n\
            #[teardown]\n\
            fn close(self) {}\n\
        }",
    ),
    (
        "service_with_all_kinds_of_items",
        "service",
        "",
        "impl Counter {\n\
            #![allow(dead_code)]\n\
            const FIRST: u64 = { 1 };\n\
            #[setup]\n\
            fn new() -> Self { Self }\n\
            #[method]\n\
            fn next(&mut self) -> u64 { Self::FIRST }\n\
            methods! { more }\n\
        }",
    ),
    (
        "entrypoint",
        "local_entrypoint",
        "",
        "/// Adds.\n///\n/// Slowly.\n#[allow(dead_code)]\nfn main() -> Result<(), String> { run() }",
    ),
    (
        "entrypoint_with_options",
        "local_entrypoint",
        "",
        "/// Adds.\n\
         pub(crate) async fn main(\n\
            plain: u64,\n\
            /// Told.\n\
            #[arg(default_value = \"3\")] told: u64,\n\
            #[arg(short, long)] short: bool,\n\
            #[arg(positional)] file: PathBuf,\n\
            #[command(flatten)] network: Network,\n\
            #[command(subcommand)] command: Option<Command>,\n\
         ) { run().await }",
    ),
    (
        "entrypoint_with_conditions",
        "local_entrypoint",
        "crate = ::my::runtime",
        "#[command(about = \"Adds\")]\n\
         fn main(#[cfg(unix)] #[allow(unused)] r#type: u64, version: std::vec::Vec<u8>) { run() }",
    ),
    (
        "on_start_of_another_runtime",
        "on_start",
        "crate = ::my::runtime",
        "fn logging() { log() }",
    ),
    (
        "test_of_another_runtime",
        "retry_runtime::test",
        "crate = ::my::runtime",
        "fn it_works() { work() }",
    ),
    (
        "on_start",
        "on_start",
        "",
        "/// Logs.\n#[cfg(unix)]\nfn logging() -> Result<(), String> { log() }",
    ),
    (
        "recovery_on_start",
        "on_start",
        "",
        "async fn logging(level: u64) { log(level).await }",
    ),
    (
        "recovery_entrypoint_of_tokio",
        "local_entrypoint",
        "",
        "fn main() {\n\
            let body = async { run().await };\n\
            #[allow(clippy::expect_used)]\n\
            { use tokio::runtime::Builder;\n\
              return Builder::new_multi_thread().enable_all().build().expect(\"Failed\").block_on(body); }\n\
        }",
    ),
    (
        "recovery_entrypoint",
        "local_entrypoint",
        "3",
        "/// Adds.\n#[function]\nfn main() { run() }",
    ),
    (
        "recovery_entrypoint_not_main",
        "local_entrypoint",
        "",
        "fn start() { run() }",
    ),
    (
        "recovery_entrypoint_with_self",
        "local_entrypoint",
        "",
        "const fn main(&self) { run() }",
    ),
    (
        "recovery_half_an_entrypoint",
        "local_entrypoint",
        "",
        "pub async fn main(a: ) { run() }",
    ),
    (
        "test",
        "retry_runtime::test",
        "",
        "#[should_panic]\nfn it_works() { work() }",
    ),
    (
        "async_test",
        "retry_runtime::test",
        "",
        "async fn it_works() -> Result<(), String> { work().await }",
    ),
];

fn path(name: &str) -> PathBuf {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("snapshots");
    directory.join(name).with_extension("rs")
}

/// Returns all cases, with the attribute in the second place.
fn cases() -> impl Iterator<Item = (&'static str, &'static str, &'static str, &'static str)> {
    let functions = CASES
        .iter()
        .map(|(name, options, item)| (*name, "function", *options, *item));
    functions.chain(OTHERS.iter().copied())
}

/// Returns an item and its expansion.
fn snapshot(attribute: &str, options: &str, item: &str) -> String {
    let parse = |text: &str| -> TokenStream { text.parse().expect("the case consists of tokens") };
    let expand = match attribute {
        "function" => crate::expand::function,
        "service" => crate::service::service,
        "local_entrypoint" => crate::entrypoint::local_entrypoint,
        "on_start" => crate::on_start::on_start,
        _ => crate::test::test,
    };
    let tokens = expand(parse(options), parse(item));
    let attribute = match options {
        "" => format!("#[{attribute}]"),
        options => format!("#[{attribute}({options})]"),
    };
    let written: String = attribute
        .lines()
        .chain(item.lines())
        .map(|line| format!("// {line}\n"))
        .collect();
    // Half-typed code stays so, and cannot be formatted.
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
    for (name, attribute, options, item) in cases() {
        let is = snapshot(attribute, options, item);
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
        let is_a_case = cases().any(|(name, ..)| path(name) == file);
        assert!(is_a_case, "{} has no case", file.display());
    }
}
