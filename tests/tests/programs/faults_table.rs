//! The tables in the documents name only existing tests. That of faults names all tests that were written for it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use retry_tests::root;

/// Returns the file of a module of one of the suites.
fn file_of(module: &str) -> Option<PathBuf> {
    let path = Path::new(&module.replace("::", "/")).with_extension("rs");
    ["workers", "programs"]
        .map(|suite| root().join("tests/tests").join(suite).join(&path))
        .into_iter()
        .find(|file| file.exists())
}

/// Returns the names of the tests in the file of a module.
fn tests_in(module: &str) -> BTreeSet<String> {
    let file = file_of(module).unwrap_or_else(|| panic!("there is no module {module}"));
    let text = std::fs::read_to_string(file).unwrap();
    let mut names = BTreeSet::new();
    let mut attributed = false;
    for line in text.lines() {
        if line.starts_with("#[retry_runtime::test]") || line.starts_with("#[test]") {
            attributed = true;
        } else if let Some((_, rest)) = line.split_once("fn ")
            && std::mem::take(&mut attributed)
        {
            names.insert(rest.split('(').next().unwrap().to_owned());
        }
    }
    names
}

/// Returns the tests that the tables of a document name, as module and name.
fn named_in(text: &str) -> BTreeSet<(&str, &str)> {
    let rows = text.lines().filter(|line| line.starts_with("| "));
    rows.flat_map(|row| row.split('`'))
        .filter_map(|code| code.rsplit_once("::"))
        .filter(|(module, _)| {
            module
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte == b'_' || byte == b':')
        })
        .collect()
}

fn assert_exist(named: &BTreeSet<(&str, &str)>) {
    for (module, test) in named {
        assert!(tests_in(module).contains(*test), "{module} has no {test}");
    }
}

#[test]
fn the_page_about_what_a_run_shows_names_existing_tests() {
    let page = std::fs::read_to_string(root().join("docs/guide/what-you-see.md")).unwrap();
    let named = named_in(&page);
    assert!(named.len() > 30);
    assert_exist(&named);
}

#[test]
fn the_table_names_existing_tests_and_all_of_its_own() {
    let table = std::fs::read_to_string(root().join("docs/faults.md")).unwrap();
    let named = named_in(&table);
    assert!(named.len() > 60);
    assert_exist(&named);
    let folder = root().join("tests/tests/workers/faults");
    for file in std::fs::read_dir(folder).unwrap() {
        let file = file.unwrap().path();
        let module = format!("faults::{}", file.file_stem().unwrap().display());
        for test in tests_in(&module) {
            assert!(
                named.contains(&(module.as_str(), test.as_str())),
                "{module}::{test} is not in the table"
            );
        }
    }
}
