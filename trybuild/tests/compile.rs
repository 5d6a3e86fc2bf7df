//! Valid code compiles, and each invalid case produces an error that states how to fix it.

use std::path::{Path, PathBuf};
use std::process::Command;

/// All cases run in one call of cargo: `trybuild` batches them only where no case is expected to pass.
#[test]
fn cases_are_refused() {
    trybuild::TestCases::new().compile_fail("fail/*.rs");
}

/// The examples of this package are built with the workspace.
#[test]
fn examples_compile_and_run() {
    let this = std::env::current_exe().expect("this program");
    let target = this.ancestors().nth(2).expect("a target directory");
    let profile = match target.file_name().and_then(|name| name.to_str()) {
        Some("debug") => "dev",
        other => other.expect("the name of a profile"),
    };
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    // After `cargo test --workspace`, which has built the same, this has nothing left to build.
    let status = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--workspace", "--examples"])
        .args(["--locked", "--profile", profile])
        .current_dir(package)
        .status()
        .expect("cargo");
    assert!(status.success());
    for path in entries("examples") {
        let name = path.file_stem().expect("a name");
        let output = Command::new(target.join("examples").join(name))
            .output()
            .expect("the example was built");
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {text}", path.display());
    }
}

/// Returns the content of a folder.
fn entries(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let entries = std::fs::read_dir(folder).expect("there are cases");
    let mut paths: Vec<PathBuf> = entries
        .map(|entry| entry.expect("an entry").path())
        .collect();
    assert!(!paths.is_empty());
    paths.sort();
    paths
}

/// Returns the files of a folder that have this extension.
fn files(folder: &str, extension: &str) -> Vec<PathBuf> {
    let mut files = entries(folder);
    files.retain(|path| path.extension().is_some_and(|found| found == extension));
    assert!(!files.is_empty());
    files
}

/// Returns the compiler's output for each case, by file.
fn outputs() -> impl Iterator<Item = (PathBuf, String)> {
    files("fail", "stderr").into_iter().map(|path| {
        let text = std::fs::read_to_string(&path).expect("it can be read");
        (path, text)
    })
}

/// Returns the file and the sentence of each error that the cases produce.
fn messages() -> Vec<(String, String)> {
    let mut messages = Vec::new();
    for (path, text) in outputs() {
        // An error that begins in the compiler's own words may also continue in them.
        let first = text.lines().find(|line| line.starts_with("error"));
        let ours = text.lines().filter(|line| line.starts_with("error: "));
        for line in first
            .into_iter()
            .chain(ours.filter(|_| !text.contains("`trait`s or")))
        {
            let (_, message) = line.split_once(": ").expect("an error has a message");
            let message = message.trim_start_matches("evaluation panicked: ");
            messages.push((path.display().to_string(), message.to_owned()));
        }
    }
    messages
}

/// Returns the sentences of docs/errors.md, in which `…` matches any text.
fn documented() -> Vec<String> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/errors.md");
    let page = std::fs::read_to_string(page).expect("the page is there");
    page.split("```")
        .filter_map(|part| part.strip_prefix("text\n"))
        .flat_map(str::lines)
        .map(str::to_owned)
        .collect()
}

fn fits(message: &str, sentence: &str) -> bool {
    let mut parts = sentence.split('…');
    let Some(mut rest) = parts.next().and_then(|start| message.strip_prefix(start)) else {
        return false;
    };
    let mut parts = parts.peekable();
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        let Some(at) = rest.find(part) else {
            return false;
        };
        rest = &rest[at + part.len()..];
    }
    rest.is_empty()
}

#[test]
fn every_message_is_documented() {
    let documented = documented();
    for (file, message) in messages() {
        assert!(
            documented.iter().any(|sentence| fits(&message, sentence)),
            "{file}: docs/errors.md does not have: {message}"
        );
    }
}

#[test]
fn no_message_names_what_is_hidden() {
    let hidden = |text: &str| {
        let mut ends = text.match_indices("__").map(|(at, found)| at + found.len());
        let begins_a_name = |end| text[end..].starts_with(|next: char| next.is_alphanumeric());
        ends.any(begins_a_name) || text.contains("in this macro invocation")
    };
    for (file, text) in outputs() {
        assert!(!hidden(&text), "{}:\n{text}", file.display());
    }
}

/// Cases with one mistake each, in a function that is also called.
const ONE_MISTAKE: &[&str] = &[
    "associated_async_function",
    "associated_function",
    "associated_function_and_its_calls",
    "associated_function_of_a_trait",
    "axum_extractor_as_parameter",
    "backoff_coefficient_as_text",
    "batch_with_one_result_for_all",
    "channel_as_parameter",
    "entrypoint_and_a_function_of_one_name",
    "entrypoint_below_tokio_main",
    "entrypoint_command_without_parameters",
    "entrypoint_command_without_subcommand",
    "entrypoint_const",
    "entrypoint_crate_as_text",
    "entrypoint_extern",
    "entrypoint_flattens_another_struct",
    "entrypoint_options_without_flatten",
    "entrypoint_same_name_twice",
    "entrypoint_subcommand_of_another_enum",
    "entrypoint_takes_a_struct",
    "entrypoint_takes_a_vector_by_another_path",
    "entrypoint_takes_an_option_by_another_path",
    "entrypoint_takes_an_optional_struct",
    "entrypoint_takes_an_rc",
    "entrypoint_takes_vectors_of_vectors",
    "entrypoint_twice",
    "entrypoint_unsafe",
    "entrypoint_value_of_another_enum",
    "entrypoint_with_self",
    "error_without_a_text",
    "error_without_debug",
    "function_in_a_service",
    "function_in_a_trait",
    "function_in_an_extern_block",
    "function_with_a_path",
    "generic_and_its_calls",
    "impl_trait_inside_of_a_result",
    "iterator_as_result_and_its_calls",
    "map_over_single_values",
    "method_outside_of_an_impl",
    "name_is_a_constant",
    "on_start_and_function",
    "on_start_async",
    "on_start_error_without_a_text",
    "on_start_never_returns",
    "on_start_returns_a_value",
    "on_start_with_parameters",
    "only_serialize_is_derived",
    "option_of_a_reference",
    "parameter_is_a_text",
    "parameter_is_a_trait_object",
    "parameter_is_an_array_that_is_too_long",
    "parameter_is_self",
    "parameter_refers_to_a_trait_object",
    "remote_with_a_reference",
    "remote_with_another_type",
    "remote_with_too_few_arguments",
    "remote_with_too_many_arguments",
    "result_contains_a_never",
    "result_has_a_never_as_value",
    "result_has_an_error_without_a_size",
    "result_is_a_boxed_error",
    "result_is_a_boxed_error_with_a_lifetime",
    "result_is_a_reference",
    "result_is_a_slice",
    "result_is_left_to_the_compiler",
    "result_never_comes",
    "result_without_call_error",
    "result_without_its_error",
    "retries_called",
    "retries_list_short_key",
    "retries_list_unnamed",
    "service_map_over_another_type",
    "service_method_twice",
    "service_parameters_named_like_a_function",
    "service_remote_with_another_type",
    "service_setup_of_another_type",
    "service_setup_result_of_another_type",
    "service_with_setup_option_only",
    "setup_async_of_another_type",
    "setup_error_without_a_text",
    "setup_of_another_type",
    "setup_with_a_parameter",
    "setup_with_a_result_of_another_type",
    "setup_without_a_reference",
    "spawn_with_an_owned_text",
    "state_is_a_slice",
    "state_is_a_text",
    "state_is_a_trait_object",
    "teardown_async_with_result",
    "teardown_by_reference",
    "teardown_closure_of_another_type",
    "teardown_of_another_type",
    "teardown_with_result",
    "teardown_without_parameter",
    "test_const",
    "test_unsafe",
    "timeout_called",
    "tokio_main_above_entrypoint",
    "tokio_test_below_a_test",
    "vector_not_serialisable",
    "vector_of_references",
];

/// Excludes `stub_passed_to_an_iterator`: for an iterator that cannot be created, the compiler also reports
/// its missing methods.
#[test]
fn a_mistake_is_one_error_although_the_function_is_called() {
    let mut found = 0;
    for (file, text) in outputs() {
        let case = file.file_stem().and_then(|stem| stem.to_str());
        if !case.is_some_and(|case| ONE_MISTAKE.contains(&case)) {
            continue;
        }
        found += 1;
        let errors = text
            .lines()
            .filter(|line| line.starts_with("error"))
            .count();
        assert_eq!(errors, 1, "{}:\n{text}", file.display());
    }
    assert_eq!(found, ONE_MISTAKE.len());
}

#[test]
fn every_documented_message_has_a_case() {
    let messages = messages();
    for sentence in documented() {
        assert!(
            messages.iter().any(|(_, message)| fits(message, &sentence)),
            "no case in trybuild/fail says: {sentence}"
        );
    }
}

#[test]
fn a_sentence_fits_what_it_leaves_open() {
    assert!(fits("`a` is given twice", "`…` is given twice"));
    assert!(fits("unknown `a`, `b`: c", "unknown `…`, `…`: …"));
    assert!(!fits("`a` is given", "`…` is given twice"));
    assert!(!fits("is given twice", "is given"));
}
