//! Imports point one way: `docs/architecture.md` lists the modules that each module may use.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The modules that each module may use; each module is listed above the modules that may use it.
type Layers = Vec<(String, Vec<String>)>;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn architecture() -> String {
    fs::read_to_string(root().join("docs/architecture.md")).unwrap()
}

/// Reads the code block of layers with this info string.
fn layers(text: &str, info: &str) -> Layers {
    let opening = format!("\n```{info}\n");
    let (_, rest) = text.split_once(&opening).expect("there is the block");
    let (block, _) = rest.split_once("\n```").expect("it ends");
    let line = |line: &str| {
        let (module, uses) = line.split_once(':').expect("a module and what it may use");
        let uses = uses.split_whitespace().map(str::to_owned).collect();
        (module.to_owned(), uses)
    };
    block.lines().map(line).collect()
}

/// Returns the sources below a folder, relative to it.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path.strip_prefix(folder).unwrap().to_owned());
            }
        }
    }
    found.sort();
    found
}

/// Returns whether a file contains only tests.
fn is_test(path: &Path) -> bool {
    let names = ["tests", "model", "cases", "snapshots"];
    path.with_extension("")
        .iter()
        .any(|part| names.iter().any(|name| part == *name))
}

/// Returns the top-level module of the crate that a file belongs to.
fn module(path: &Path) -> String {
    let first = path.iter().next().expect("a name").to_str().unwrap();
    first.trim_end_matches(".rs").to_owned()
}

/// Returns the names that follow `crate::`, with their lines, except in comments and tests.
fn imports(source: &str) -> Vec<(usize, String)> {
    // A module of tests that is in a file of its own may be declared anywhere.
    let is_inline = |(at, found): &(usize, &str)| {
        let line = source[at + found.len()..].lines().next();
        line.is_some_and(|line| line.ends_with('{'))
    };
    let mut tests = source.match_indices("\n#[cfg(test)]\nmod ");
    let end = tests.find(is_inline).map_or(source.len(), |(at, _)| at);
    let code = &source[..end];
    let without_comment = |line: &str| line.split("//").next().unwrap().to_owned();
    let code = code
        .lines()
        .map(without_comment)
        .collect::<Vec<_>>()
        .join("\n");
    let mut found = Vec::new();
    for (at, prefix) in code.match_indices("crate::") {
        let (before, rest) = (&code[..at], &code[at + prefix.len()..]);
        // `$crate` appears in macros, which may be expanded anywhere.
        if before.ends_with(|last: char| last.is_alphanumeric() || "_$".contains(last)) {
            continue;
        }
        let mut line = before.matches('\n').count() + 1;
        // `use crate::{a::b, c};`
        let several = rest.strip_prefix('{');
        let mut depth = 0;
        let mut starts = true;
        let mut name = String::new();
        for letter in several.unwrap_or(rest).chars() {
            match letter {
                _ if depth == 0 && starts && (letter.is_alphanumeric() || letter == '_') => {
                    name.push(letter);
                    continue;
                }
                '\n' => line += 1,
                ' ' => {}
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            if !name.is_empty() {
                found.push((line, std::mem::take(&mut name)));
                starts = false;
            }
            if several.is_none() || depth < 0 {
                break;
            }
            starts |= depth == 0 && letter == ',';
        }
    }
    found
}

/// Returns the imports of a crate that its layers do not allow.
fn backward(folder: &str, layers: &Layers, exempt: &[&str]) -> Vec<String> {
    let src = root().join(folder);
    let allowed: BTreeMap<_, _> = layers.iter().cloned().collect();
    let mut wrong = Vec::new();
    for path in sources(&src) {
        let from = module(&path);
        if exempt.contains(&from.as_str()) || is_test(&path) {
            continue;
        }
        let Some(uses) = allowed.get(&from) else {
            wrong.push(format!("{folder}/{}: no layer has it", path.display()));
            continue;
        };
        let source = fs::read_to_string(src.join(&path)).unwrap();
        for (line, name) in imports(&source) {
            // An exported macro is at the root, regardless of the module that defines it.
            if name.starts_with("__") {
                continue;
            }
            // A name that is not a module is defined at the root.
            let is_module = allowed.contains_key(&name);
            let to = if is_module { name.as_str() } else { "lib" };
            if to != from && !uses.iter().any(|used| used == to) {
                let path = path.display();
                wrong.push(format!(
                    "{folder}/{path}:{line}: {from} uses {to} (`{name}`)"
                ));
            }
        }
    }
    wrong
}

fn check(folder: &str, info: &str, exempt: &[&str]) {
    let layers = layers(&architecture(), info);
    for (place, (module, uses)) in layers.iter().enumerate() {
        for used in uses {
            let below = layers[..place].iter().any(|(other, _)| other == used);
            assert!(
                below,
                "{module} may use {used}, which does not stand above it"
            );
        }
    }
    let wrong = backward(folder, &layers, exempt);
    assert!(wrong.is_empty(), "backward imports:\n{}", wrong.join("\n"));
}

#[test]
fn the_modules_of_the_runtime_import_one_way() {
    check("retry-runtime/src", "layers", &["lib", "doc"]);
}

#[test]
fn the_modules_of_the_macros_import_one_way() {
    check("retry-macros/src", "layers retry-macros", &["lib"]);
}

#[test]
fn a_backward_import_is_found_with_its_line() {
    let source = "use crate::sys;\n// use crate::program;\nuse crate::{\n    codec::{self, A}, \n Options};\nfn f() { crate::engine::g() }\n";
    let found: Vec<_> = imports(source);
    let expected = [(1, "sys"), (4, "codec"), (5, "Options"), (6, "engine")]
        .map(|(line, name)| (line, name.to_owned()));
    assert_eq!(found, expected);
    // The engine may use the scheduler, but not vice versa.
    let mut layers = layers(&architecture(), "layers");
    assert!(backward("retry-runtime/src", &layers, &["lib", "doc"]).is_empty());
    let (_, uses) = layers
        .iter_mut()
        .find(|(module, _)| module == "local")
        .unwrap();
    uses.retain(|used| used != "scheduler");
    let wrong = backward("retry-runtime/src", &layers, &["lib", "doc"]);
    assert!(
        wrong
            .iter()
            .any(|one| one.starts_with("retry-runtime/src/local.rs:")),
        "{wrong:?}"
    );
}

/// Returns the files that a table of the architecture lists for a folder.
fn listed<'a>(text: &'a str, folder: &str) -> Vec<&'a str> {
    let header = format!("| file of `{folder}` | responsibility |\n");
    let (_, table) = text
        .split_once(&header)
        .unwrap_or_else(|| panic!("there is no table of {folder}"));
    let rows = table.lines().take_while(|line| line.starts_with('|'));
    let cells = rows.filter_map(|row| row.split('|').nth(1));
    cells
        .flat_map(|cell| cell.split('`').skip(1).step_by(2))
        .filter(|name| name.ends_with(".rs"))
        .collect()
}

#[test]
fn the_file_index_is_complete() {
    let text = architecture();
    for folder in [
        "retry-runtime/src",
        "retry-macros/src",
        "retry-syntax/src",
        "retry-temporal/src",
    ] {
        let files: Vec<String> = sources(&root().join(folder))
            .iter()
            .map(|path| path.display().to_string())
            .filter(|path| !path.contains("/tests"))
            .collect();
        let listed = listed(&text, folder);
        for file in &files {
            assert!(listed.contains(&&**file), "{folder}/{file} is not listed");
        }
        for name in listed {
            let exists = files.iter().any(|file| file == name);
            assert!(exists, "{folder}/{name} is listed and does not exist");
        }
    }
}
