//! The table of faults names tests that exist, and all those that were written for it.

use std::collections::BTreeSet;
use std::path::Path;

use retry_tests::root;

/// The tests in a file.
fn tests_in(file: &Path) -> BTreeSet<String> {
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

#[test]
fn the_table_names_tests_that_exist_and_all_those_of_its_own() {
    let table = std::fs::read_to_string(root().join("docs/faults.md")).unwrap();
    let rows = table.lines().filter(|line| line.starts_with("| "));
    let named: BTreeSet<(&str, &str)> = rows
        .flat_map(|row| row.split('`'))
        .filter_map(|code| code.split_once("::"))
        .filter(|(file, _)| {
            file.bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte == b'_')
        })
        .collect();
    assert!(named.len() > 60);
    for (file, test) in &named {
        let file = root().join("tests").join(file).with_extension("rs");
        assert!(
            tests_in(&file).contains(*test),
            "{} has no {test}",
            file.display()
        );
    }
    for file in [
        "concurrency",
        "dead_workers",
        "life_cycle",
        "memory",
        "output",
        "time",
    ] {
        let file = format!("faults_{file}");
        for test in tests_in(&root().join("tests").join(&file).with_extension("rs")) {
            assert!(
                named.contains(&(file.as_str(), test.as_str())),
                "{file}::{test} is not in the table"
            );
        }
    }
}
