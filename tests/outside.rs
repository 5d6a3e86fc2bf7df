//! A crate of its own, outside the workspace, as a user would make it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use retry_tests::fixture_outside;

/// A whole crate is built.
const LIMIT: Duration = Duration::from_secs(600);

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .canonicalize()
        .unwrap()
}

/// The first program in the README.
fn readme_program() -> String {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    readme
        .split("```rust")
        .skip(1)
        .filter_map(|block| block.split_once('\n')?.1.split("```").next())
        .find(|block| block.contains("fn main("))
        .expect("the README has a program")
        .to_owned()
}

/// The blocks of a page that begin with these words.
fn blocks(page: &str, language: &str) -> Vec<String> {
    let page = std::fs::read_to_string(root().join(page)).unwrap();
    let fence = format!("```{language}\n");
    page.split(&fence)
        .skip(1)
        .filter_map(|block| Some(block.split_once("```")?.0.to_owned()))
        .collect()
}

/// Makes a crate of these files and lets cargo do something with it.
fn cargo(name: &str, manifest: &str, files: &[(String, String)], arguments: &[&str]) -> Output {
    let directory = tempfile::tempdir().unwrap();
    let manifest = format!(
        "[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2021\"\n\n\
         {manifest}\n\n[workspace]\n"
    );
    std::fs::write(directory.path().join("Cargo.toml"), manifest).unwrap();
    std::fs::copy(
        root().join("Cargo.lock"),
        directory.path().join("Cargo.lock"),
    )
    .unwrap();
    for (path, text) in files {
        let path = directory.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    Command::new(env!("CARGO"))
        .args(arguments)
        .current_dir(directory.path())
        .env(
            "CARGO_TARGET_DIR",
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(name),
        )
        .env_remove("RUSTFLAGS")
        .output()
        .unwrap()
}

fn run(name: &str, main: &str, manifest_tail: &str, arguments: &[&str]) -> Output {
    let runtime = root().join("retry-runtime");
    let manifest = format!(
        "[dependencies]\nretry-runtime = {{ path = {runtime:?} }}\n\
         serde = {{ version = \"1\", features = [\"derive\"] }}\nthiserror = \"2\"\n\n\
         {manifest_tail}"
    );
    let main = ("src/main.rs".to_owned(), main.to_owned());
    let arguments = [&["run", "--quiet", "--"], arguments].concat();
    cargo(name, &manifest, &[main], &arguments)
}

#[test]
fn the_readmes_program_builds_and_runs_in_a_crate_of_its_own() {
    fixture_outside(LIMIT, || {
        let input = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(input.path(), "12\n\n30\n").unwrap();
        let path = input.path().to_str().unwrap();
        let output = run("outside", &readme_program(), "", &["--path", path]);
        let text = String::from_utf8_lossy(&output.stdout);
        let complaints = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{text}{complaints}");
        assert_eq!(text, "42\n", "{complaints}");
        assert!(complaints.contains("skipped line 1"), "{complaints}");
    });
}

#[test]
fn the_tests_of_the_guide_pass_in_a_crate_of_their_own() {
    fixture_outside(LIMIT, || {
        let page = "docs/guide/testing.md";
        let runtime = root().join("retry-runtime");
        let manifest = blocks(page, "toml").concat();
        assert_eq!(manifest.matches("path = \"..\"").count(), 2);
        let manifest = manifest.replace("\"..\"", &format!("{runtime:?}"));
        let tests = blocks(page, "rust,test_harness");
        assert_eq!(tests.len(), 5);
        let expected: usize = tests
            .iter()
            .map(|text| text.matches("test]\n").count())
            .sum();
        let mut files = vec![("src/lib.rs".to_owned(), String::new())];
        for (number, text) in tests.into_iter().enumerate() {
            files.push((format!("tests/page_{number}.rs"), text));
        }
        let output = cargo("guide", &manifest, &files, &["test"]);
        let text = String::from_utf8_lossy(&output.stdout);
        let complaints = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{text}{complaints}");
        assert_eq!(text.matches(" ... ok\n").count(), expected, "{text}");
    });
}

const ABORTING: &str = r#"
use retry_runtime::{function, CallError};

#[function]
fn checked(number: u64) -> u64 {
    assert!(number != 3, "three is refused");
    number
}

fn main() {
    retry_runtime::init();
    for result in checked.map(0..6) {
        match result {
            Ok(number) => println!("{number}"),
            Err(CallError::Panicked(panic, _)) => println!("panicked: {}", panic.message()),
            Err(other) => println!("{other:?}"),
        }
    }
}
"#;

#[test]
fn a_panic_is_the_same_where_panics_abort() {
    fixture_outside(LIMIT, || {
        let tail = "[profile.dev]\npanic = \"abort\"\n";
        let output = run("aborting", ABORTING, tail, &[]);
        let text = String::from_utf8_lossy(&output.stdout);
        assert_eq!(
            text,
            "0\n1\n2\npanicked: three is refused\n4\n5\n",
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    });
}
