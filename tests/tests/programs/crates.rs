//! Crates outside the workspace, as users create them.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use retry_tests::{fixture_outside, root};

/// Includes building crates.
const LIMIT: Duration = Duration::from_secs(600);

/// The package of the README.
const NUMBERS: &str = "numbers";

/// The package whose panics abort.
const ABORTS: &str = "aborting";

/// Returns the first program in the README.
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

/// Returns the code blocks of a page whose info string begins with this text.
fn blocks(page: &str, language: &str) -> Vec<String> {
    let page = std::fs::read_to_string(root().join(page)).unwrap();
    let fence = format!("```{language}\n");
    page.split(&fence)
        .skip(1)
        .filter_map(|block| Some(block.split_once("```")?.0.to_owned()))
        .collect()
}

/// Makes a command build in a directory that all runs share, so that the dependencies of a package are not rebuilt.
/// Cargo locks such a directory: with that of this workspace, other tests would wait to build their examples.
fn shares_the_builds<'a>(command: &'a mut Command, package: &str) -> &'a mut Command {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(package);
    command
        .env("CARGO_TARGET_DIR", directory)
        .env("CARGO_PROFILE_DEV_DEBUG", "0")
        .env("CARGO_INCREMENTAL", "0")
        .env_remove("RUSTFLAGS")
}

/// Removes the build artefacts of a package whose directory changes from run to run.
fn remove_builds(directory: &Path, package: &str) {
    let status = shares_the_builds(&mut Command::new(env!("CARGO")), package)
        .args(["clean", "--quiet", "--offline", "--package", package])
        .current_dir(directory)
        .status()
        .unwrap();
    assert!(status.success());
}

/// Runs a page's commands in a shell in the root of the repository, with another home directory. Returns the
/// output of both streams, and whether the commands succeeded.
fn shell(home: &Path, commands: &str) -> (String, bool) {
    let program = Path::new(env!("CARGO"));
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let first = program.parent().unwrap().to_owned();
    let paths = std::env::join_paths([first].into_iter().chain(std::env::split_paths(&paths)));
    let cargo_home = std::env::var_os("CARGO_HOME").map_or_else(
        || Path::new(&std::env::var_os("HOME").unwrap()).join(".cargo"),
        PathBuf::from,
    );
    let output = shares_the_builds(&mut Command::new("sh"), NUMBERS)
        .args(["-e", "-c", &format!("exec 2>&1\n{commands}")])
        .current_dir(root())
        .env("HOME", home)
        .env("PWD", root())
        .env("PATH", paths.unwrap())
        .env("CARGO_HOME", cargo_home)
        .env("CARGO_NET_OFFLINE", "true")
        .env("CARGO_TERM_QUIET", "true")
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    (text, output.status.success())
}

/// Returns the README's commands that create a package, with the versions of this workspace.
fn new_package() -> String {
    let commands = blocks("README.md", "sh").remove(0);
    let enters = "cd ~/numbers\n";
    assert!(commands.contains(enters), "{commands}");
    let lock = root().join("Cargo.lock");
    commands.replace(enters, &format!("{enters}cp {lock:?} .\n"))
}

/// Returns the lines of an output without what differs from run to run: numbers, times, the id of the run, the order
/// in which the program and its status lines are printed, and lines that a program prints only if it takes long.
fn masked(text: &str) -> Vec<String> {
    let mask = |word: &str| {
        let is_id = word.len() == 13 && word.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if is_id && word.starts_with('1') {
            return "RUN".to_owned();
        }
        let mut plain = String::new();
        for letter in word.chars() {
            match letter {
                '0'..='9' | '.' if plain.ends_with('#') => {}
                '0'..='9' => plain.push('#'),
                other => plain.push(other),
            }
        }
        ["ns", "µs", "ms"].into_iter().fold(plain, |plain, unit| {
            plain.replace(&format!("#{unit}"), "#s")
        })
    };
    let line = |line: &str| {
        line.split_whitespace()
            .map(mask)
            .collect::<Vec<_>>()
            .join(" ")
    };
    let is_of_slow = |line: &String| {
        let slow = ["Running parse over", "waiting for worker"];
        slow.iter().any(|begin| line.starts_with(begin))
    };
    let mut lines: Vec<_> = text.lines().map(line).collect();
    lines.retain(|line| !is_of_slow(line));
    lines.sort();
    lines
}

#[test]
fn the_pages_program_and_tests_work_in_a_new_crate() {
    fixture_outside(LIMIT, || {
        let home = tempfile::tempdir().unwrap();
        let (text, made) = shell(home.path(), &new_package());
        assert!(made, "{text}");
        let package = home.path().join("numbers");
        std::fs::write(package.join("src/main.rs"), readme_program()).unwrap();

        // The page states the output of the first run.
        let page = std::fs::read_to_string(root().join("README.md")).unwrap();
        let after = page.split_once(&readme_program()).unwrap().1;
        let (commands, after) = after
            .split_once("```sh\n")
            .unwrap()
            .1
            .split_once("```")
            .unwrap();
        let promised = after.split_once("```text\n").unwrap().1;
        let promised = promised.split_once("```").unwrap().0;
        let in_package = |commands: &str| shell(home.path(), &format!("cd ~/numbers\n{commands}"));
        let (text, succeeded) = in_package(commands);
        assert!(succeeded, "{text}");
        assert_eq!(masked(&text), masked(promised), "{text}");

        let (text, succeeded) = in_package("cargo run -- --path missing.txt");
        assert!(!succeeded, "{text}");
        assert!(text.contains("missing.txt: No such file"), "{text}");

        // The guide continues with the same package.
        let guide = "docs/guide/testing.md";
        let (text, added) = in_package(&blocks(guide, "sh").concat());
        assert!(added, "{text}");
        let tests = blocks(guide, "rust,test_harness");
        assert_eq!(tests.len(), 5);
        let expected: usize = tests
            .iter()
            .map(|text| text.matches("test]\n").count())
            .sum();
        let directory = package.join("tests");
        std::fs::create_dir(&directory).unwrap();
        for (number, text) in tests.into_iter().enumerate() {
            std::fs::write(directory.join(format!("page_{number}.rs")), text).unwrap();
        }
        // Not quiet: the names of the tests are counted.
        let (text, succeeded) = in_package("CARGO_TERM_QUIET=false cargo test");
        assert!(succeeded, "{text}");
        assert_eq!(text.matches(" ... ok\n").count(), expected, "{text}");
        remove_builds(&package, NUMBERS);
    });
}

const ABORTING: &str = r##"
use std::time::Duration;

use retry_runtime::{function, CallError};

#[function]
fn checked(number: u64) -> u64 {
    match number {
        3 => panic!("three is refused"),
        4 => std::panic::panic_any(4_u8),
        5 => panic!("{}", "five".repeat(50_000)),
        6 => {
            let thread = std::thread::spawn(|| panic!("six is refused by a thread"));
            thread.join().unwrap()
        }
        7 => {
            let none: Option<u64> = None;
            none.unwrap()
        }
        _ => number,
    }
}

fn replaces_the_hook() -> u64 {
    std::panic::set_hook(Box::new(|info| eprintln!("{info}")));
    0
}

#[function(setup = replaces_the_hook)]
fn hooked(_state: &u64) -> u64 {
    panic!("under a hook")
}

fn panicking() -> u64 {
    panic!("in the set-up")
}

#[function(setup = panicking)]
fn unready(state: &u64) -> u64 {
    *state
}

#[function(concurrency = 3, max_workers = 1)]
async fn together(number: u64) -> u64 {
    let wait = Duration::from_millis(if number == 1 { 100 } else { 300 });
    let end = std::time::Instant::now() + wait;
    while std::time::Instant::now() < end {
        Yield(false).await;
    }
    assert!(number != 1, "one of three");
    number
}

struct Yield(bool);

impl std::future::Future for Yield {
    type Output = ();

    fn poll(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<()> {
        if std::mem::replace(&mut self.0, true) {
            return std::task::Poll::Ready(());
        }
        context.waker().wake_by_ref();
        std::task::Poll::Pending
    }
}

fn show<E: std::fmt::Debug>(result: Result<u64, CallError<E>>) {
    match result {
        Ok(number) => println!("{number}"),
        Err(CallError::Panicked(panic, context)) => {
            let message: String = panic.message().chars().take(60).collect();
            let file = panic.location().and_then(|location| location.split(':').next());
            let attempts = context.attempts().len();
            println!("panicked {attempts} time, {}: {message}", file.unwrap_or("nowhere"));
        }
        Err(CallError::Startup(startup, _)) => println!("{startup}"),
        Err(other) => println!("{other:?}"),
    }
}

fn main() {
    retry_runtime::init();
    checked.map(0..9).into_iter().for_each(show);
    show(hooked.remote().wait());
    show(unready.remote().wait());
    together.map(0..3).into_iter().for_each(show);
}
"##;

#[test]
fn a_panic_is_the_same_where_panics_abort() {
    fixture_outside(LIMIT, || {
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str| directory.path().join(name);
        // Disable the features: they are irrelevant here and would have to be built for this crate.
        let manifest = format!(
            "[package]\nname = \"{ABORTS}\"\nversion = \"0.1.0\"\nedition = \"2021\"\n\n\
             [dependencies]\nretry-runtime = {{ path = {:?}, default-features = false }}\n\n\
             [profile.dev]\npanic = \"abort\"\n\n[workspace]\n",
            root().join("retry-runtime")
        );
        std::fs::write(file("Cargo.toml"), manifest).unwrap();
        std::fs::copy(root().join("Cargo.lock"), file("Cargo.lock")).unwrap();
        std::fs::create_dir(file("src")).unwrap();
        std::fs::write(file("src/main.rs"), ABORTING).unwrap();
        let output = shares_the_builds(&mut Command::new(env!("CARGO")), ABORTS)
            .args(["run", "--quiet", "--offline"])
            .current_dir(directory.path())
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let five = "five".repeat(15);
        let expected = [
            "0",
            "1",
            "2",
            "panicked 1 time, src/main.rs: three is refused",
            "panicked 1 time, src/main.rs: the payload is not text, but 4 of type `u8`",
            &format!("panicked 1 time, src/main.rs: {five}"),
            "panicked 1 time, src/main.rs: six is refused by a thread",
            "panicked 1 time, src/main.rs: called `Option::unwrap()` on a `None` value",
            "8",
            "panicked 1 time, src/main.rs: under a hook",
            "setup failed: panicked: in the set-up (src/main.rs:35:5)",
            "0",
            "panicked 1 time, src/main.rs: one of three",
            "2",
        ];
        assert_eq!(
            text.lines().collect::<Vec<_>>(),
            expected,
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        remove_builds(directory.path(), ABORTS);
    });
}
