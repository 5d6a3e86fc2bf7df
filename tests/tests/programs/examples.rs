//! The examples, run the way a new user would.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use retry_tests::{example, fixture_outside, root};

/// The examples may have to be built first.
const LIMIT: Duration = Duration::from_secs(600);

fn lines(output: &Output) -> Vec<String> {
    String::from_utf8(output.stdout.clone())
        .unwrap()
        .lines()
        .map(str::to_owned)
        .collect()
}

#[test]
fn failures_and_retries_shows_the_page() {
    fixture_outside(LIMIT, || {
        let output = example("failures_and_retries").output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        for expected in [
            "matched SquareError::Odd(1)",
            "got 4",
            "succeeded on attempt 3",
            "never_good failed after 6 attempts",
            "attempt 6 came ",
            "the worker exited with code 3 before it was ready",
            "survived SIGKILL",
            "survived SIGSEGV",
            "survived abort",
            "survived exit 0",
            "8 workers of this function crashed within 60s",
        ] {
            assert!(text.contains(expected), "{expected:?} is not in:\n{text}");
        }
        // The delay is one second; a busy machine may begin the attempt later.
        let (_, delay) = text.split_once("attempt 6 came ").unwrap();
        let delay: f64 = delay.split(' ').next().unwrap().parse().unwrap();
        assert!((1.0..10.0).contains(&delay), "{delay} s");
        assert!(output.status.success());
    });
}

/// Returns the lines that `sha256sum` prints for the same files.
fn sha256sum(files: &[PathBuf]) -> Vec<String> {
    let mut lines = Vec::new();
    for files in files.chunks(500) {
        let output = Command::new("sha256sum").args(files).output().unwrap();
        lines.extend(
            String::from_utf8(output.stdout)
                .unwrap()
                .lines()
                .map(str::to_owned),
        );
    }
    lines.sort();
    lines
}

/// Collects all files below a directory, except in directories with a name to skip.
fn files_below(directory: &Path, skip: &[&str], found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.is_symlink() {
            if !skip.iter().any(|name| path.ends_with(name)) {
                files_below(&path, skip, found);
            }
        } else if path.is_file() && !path.is_symlink() {
            found.push(path);
        }
    }
}

#[test]
fn hash_tree_agrees_with_sha256sum_about_the_repository() {
    fixture_outside(LIMIT, || {
        // Hash the whole repository, including `.git`; only files that are being built right now change
        // meanwhile.
        let sums = || {
            let mut files = Vec::new();
            files_below(&root(), &["target"], &mut files);
            let has = |name: &str| {
                files
                    .iter()
                    .any(|file| file.iter().any(|part| part == name))
            };
            assert!(has("Cargo.lock") && !has("target"));
            assert_eq!(has(".git"), root().join(".git").exists());
            sha256sum(&files)
        };
        let before = sums();
        let output = example("hash_tree")
            .arg("--root")
            .arg(root())
            .args(["--skip", "target"])
            .output()
            .unwrap();
        // An editor or another git process may have changed a file meanwhile; such files are not compared.
        let after = sums();
        let path = |line: &str| line.split_once("  ").unwrap().1.to_owned();
        let of = |lines: &[String]| lines.iter().cloned().collect::<HashSet<_>>();
        let changed: HashSet<String> = of(&before)
            .symmetric_difference(&of(&after))
            .map(|line| path(line))
            .collect();
        let unchanged = |mut lines: Vec<String>| {
            lines.retain(|line| !changed.contains(&path(line)));
            lines.sort();
            lines
        };
        assert_eq!(unchanged(lines(&output)), unchanged(before));
        let complaints = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success() || !changed.is_empty(),
            "{complaints}"
        );
    });
}

#[test]
fn hash_tree_leaves_out_directories() {
    fixture_outside(LIMIT, || {
        let tree = tempfile::tempdir().unwrap();
        let root = tree.path().join("target");
        for path in ["a/x", "target/x", "a/target/x", "b/skipped/x", "target2/x"] {
            let path = root.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, path.as_os_str().as_encoded_bytes()).unwrap();
        }
        // A file of that name is not a directory and must not be skipped.
        std::fs::write(root.join("b/target"), "a file").unwrap();
        let output = example("hash_tree")
            .arg("--root")
            .arg(&root)
            .args(["--skip", "target", "--skip", "skipped"])
            .output()
            .unwrap();
        let mut hashed = lines(&output);
        hashed.sort();
        let kept = ["a/x", "b/target", "target2/x"].map(|path| root.join(path));
        assert_eq!(hashed, sha256sum(&kept));
        assert!(output.status.success());
    });
}

#[test]
fn hash_tree_survives_crashes_and_names_the_files() {
    fixture_outside(LIMIT, || {
        let tree = tempfile::tempdir().unwrap();
        let mut good = Vec::new();
        for number in 0..300u32 {
            let directory = tree.path().join(format!("d{}", number % 7));
            std::fs::create_dir_all(&directory).unwrap();
            let path = directory.join(format!("f{number}"));
            std::fs::write(&path, vec![b'x'; (number * 997) as usize]).unwrap();
            if number % 100 != 50 {
                good.push(path);
            }
        }
        std::os::unix::fs::symlink("nowhere", tree.path().join("link")).unwrap();
        let output = example("hash_tree")
            .arg("--root")
            .arg(tree.path())
            .args(["--crash", "f50", "--crash", "f150", "--crash", "f250"])
            .output()
            .unwrap();
        let mut hashed = lines(&output);
        hashed.sort();
        assert_eq!(hashed, sha256sum(&good));
        let complaints = String::from_utf8_lossy(&output.stderr);
        for name in ["f50", "f150", "f250"] {
            assert!(
                complaints.contains(&format!("{name}: crashed 3 times: SIGABRT (abort)")),
                "{complaints}"
            );
        }
        assert!(
            complaints.contains("link: it is not a regular file"),
            "{complaints}"
        );
        assert_eq!(output.status.code(), Some(1));
    });
}

#[test]
fn a_file_that_cannot_be_opened_is_named() {
    fixture_outside(LIMIT, || {
        let inside_a_file = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml/x");
        for (name, option) in [("hash_tree", "--root"), ("search", "--text-file")] {
            let output = example(name)
                .arg(option)
                .arg(&inside_a_file)
                .output()
                .unwrap();
            let complaints = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(1), "{complaints}");
            let named = inside_a_file.parent().unwrap().to_str().unwrap();
            assert!(complaints.contains(named), "{complaints}");
        }
    });
}

#[test]
fn a_program_explains_its_arguments() {
    fixture_outside(LIMIT, || {
        let help = example("hash_tree").arg("--help").output().unwrap();
        let text = String::from_utf8_lossy(&help.stdout);
        assert!(text.contains("Hash every file below a directory"), "{text}");
        assert!(text.contains("--root <ROOT>"), "{text}");
        assert!(text.contains("The directory"), "{text}");
        let last = text.trim_end().lines().last();
        let variables =
            "RETRY_* variables set timeouts, workers and progress: RETRY_CONFIG=print lists them";
        assert_eq!(last, Some(variables), "{text}");
        let wrong = example("hash_tree").arg("--rot").output().unwrap();
        assert_eq!(wrong.status.code(), Some(2));
    });
}

/// Runs an example and checks that it prints these lines in this order.
fn shows(name: &str, expected: &[&str]) -> Vec<String> {
    let output = example(name).output().unwrap();
    let complaints = String::from_utf8_lossy(&output.stderr);
    let lines = lines(&output);
    let mut rest = lines.iter();
    for expected in expected {
        assert!(
            rest.any(|line| line.trim_start() == *expected),
            "{expected:?} does not come, or not in this order, in {lines:#?}\n{complaints}"
        );
    }
    assert!(output.status.success(), "{complaints}");
    complaints.lines().map(str::to_owned).collect()
}

#[test]
fn lookup_table_loads_once_per_worker_and_closes_it() {
    fixture_outside(LIMIT, || {
        let complaints = shows(
            "lookup_table",
            &[
                "H2O: 18.015 g/mol",
                "C6H12O6: 180.156 g/mol",
                "Fe2O3: 159.687 g/mol",
                "Xy: there is no element Xy",
                "C8H10N4O2: 194.194 g/mol",
                "2000 alkanes, the heaviest 28056 g/mol",
            ],
        );
        let loaded = |line: &&String| *line == "molar_mass: loaded 92 elements";
        let loaded = complaints.iter().filter(loaded).count();
        assert!((1..=2).contains(&loaded), "{complaints:?}");
        let look_ups: Vec<u32> = complaints
            .iter()
            .filter_map(|line| line.strip_prefix("molar_mass: closed after "))
            .map(|line| line.strip_suffix(" look-ups").unwrap().parse().unwrap())
            .collect();
        // A worker that is not ready yet when the program ends is killed.
        assert!((1..=loaded).contains(&look_ups.len()), "{complaints:?}");
        assert_eq!(look_ups.iter().sum::<u32>(), 4012);
    });
}

#[test]
fn limits_shows_each_limit() {
    fixture_outside(LIMIT, || {
        shows(
            "limits",
            &[
                "1. endless timed out: an attempt ran longer than its timeout of 200ms",
                "tidies_up: asked to stop: temporary files removed",
                "2. tidies_up timed out: an attempt ran longer than its timeout of 200ms",
                "3. within the limit: Some(20)",
                "out of memory in 3 attempts",
                "4. nine calls in 3 processes",
                "twelve calls that leak in more than one: true",
            ],
        );
    });
}

#[test]
fn cancellation_shows_the_ways_to_end_a_call() {
    fixture_outside(LIMIT, || {
        shows(
            "cancellation",
            &[
                "cancelled by its caller",
                "given up",
                "-3 is negative, the rest is cancelled",
                "5. what does not listen is killed",
                "at once: true",
                "the other one goes on: Some(300)",
            ],
        );
        // Lines of a worker keep their order, and may come anywhere between the lines of the program.
        shows(
            "cancellation",
            &[
                "count: a counter counts",
                "count: a counter was asked to stop",
                "count: another counter counts",
                "count: another counter was asked to stop",
            ],
        );
        shows(
            "cancellation",
            &["detached: ran, although nobody waits for it"],
        );
    });
}

#[test]
fn nested_counts_primes_and_sorts() {
    fixture_outside(LIMIT, || {
        shows(
            "nested",
            &[
                "1229 primes in 0..10000",
                "1033 primes in 10000..20000",
                "983 primes in 20000..30000",
                "958 primes in 30000..40000",
                "930 primes in 40000..50000",
                "2000 numbers sorted: true",
            ],
        );
    });
}

#[test]
fn concurrency_fetches_many_pages_with_one_worker() {
    fixture_outside(LIMIT, || {
        shows(
            "concurrency",
            &[
                "40 pages by 1 worker",
                "faster than the 4 s of one after the other: true",
            ],
        );
    });
}

#[test]
fn batching_gives_each_caller_its_own_result() {
    fixture_outside(LIMIT, || {
        shows(
            "batching",
            &[
                "customer 500 cannot order for 0 cents",
                "999 orders inserted, at most 50 at once",
                "alone: a batch of 1",
            ],
        );
    });
}

#[test]
fn runtimes_have_settings_and_an_end_of_their_own() {
    fixture_outside(LIMIT, || {
        shows(
            "runtimes",
            &[
                "Hello, Ada",
                "Bonjour, Ada",
                "the short call: Some(200)",
                "abandoned: 1 call",
                "the long call: sleeps was cancelled: the runtime was shut down",
                "rejected",
                "the other one still does: true",
            ],
        );
    });
}

#[test]
fn retry_control_shows_which_failures_are_tried_again() {
    fixture_outside(LIMIT, || {
        shows(
            "retry_control",
            &[
                "1. a schedule: [100ms, 200ms, 400ms, 800ms, 1s, 1s]",
                "4 x: read failed after 4 attempts: the file is being written",
                "1 x: read failed: the file is not ours",
                "1 x, with pauses: false: fetch failed: not found",
                "3 x, with pauses: true: fetch failed after 3 attempts: busy, come back in 200ms",
                "3 x, with pauses: false: fetch failed after 3 attempts: connection reset",
                "1 x: fetch failed: connection reset",
                "2 x: fetch failed after 2 attempts: connection reset",
            ],
        );
    });
}

#[test]
fn embedding_gets_the_same_results_in_each_way() {
    fixture_outside(LIMIT, || {
        let mut example = example("embedding");
        let output = example
            .args(["--calls", "6"])
            .env("EMBEDDING_ROWS", "4096")
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        let lines = lines(&output);
        for way in ["sent with each call", "loaded by each", "shared by all"] {
            assert!(lines.iter().any(|line| line.starts_with(way)), "{lines:?}");
        }
        let last = lines.last().map(String::as_str);
        assert_eq!(last, Some("the results are those of this process"));
    });
}

#[test]
fn search_agrees_with_awk() {
    fixture_outside(LIMIT, || {
        let directory = tempfile::tempdir().unwrap();
        let text = directory.path().join("text");
        let output = example("search")
            .env("RETRY_STATUS", "none")
            .arg("--text-file")
            .arg(&text)
            .args(["--lines", "1000"])
            .output()
            .unwrap();
        let complaints = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{complaints}");
        let lines = lines(&output);

        // Lines that contain both words; short words are not in the index.
        let words: Vec<&str> = lines
            .iter()
            .filter_map(|line| line.split_once(": ")?.0.split_once(' '))
            .map(|(_, second)| second)
            .take(12)
            .collect();
        assert_eq!(words.len(), 12);
        let awk = Command::new("awk")
            .args(["-v", &format!("words={}", words.join(" "))])
            .arg(
                r#"
                { delete has; for (i = 1; i <= NF; i++) if (length($i) >= 3) has[$i] = 1
                  for (a in has) for (b in has)
                      found[a " " b] = found[a " " b] (found[a " " b] ? ", " : "") NR }
                END { n = split(words, word)
                  for (i = 1; i <= n; i++) for (j = 1; j <= n; j++)
                      print word[i] " " word[j] ": [" found[word[i] " " word[j]] "]" }"#,
            )
            .arg(&text)
            .output()
            .unwrap();
        let expected = String::from_utf8(awk.stdout).unwrap();
        let expected: Vec<&str> = expected.lines().collect();
        assert_eq!(expected.len(), 144);
        assert!(expected.iter().filter(|line| line.ends_with("[]")).count() < 72);
        assert_eq!(lines[..144], expected[..]);

        let grep = Command::new("grep")
            .args(["-c", "-w", "heron"])
            .arg(&text)
            .output()
            .unwrap();
        let count = String::from_utf8(grep.stdout).unwrap();
        let missing = text.with_extension("missing");
        let missing = format!(
            "error: {}: No such file or directory (os error 2)",
            missing.display()
        );
        assert_eq!(
            lines[144..],
            [
                &format!("heron is on {} lines", count.trim()),
                "of is on 0 lines",
                "error: there is nothing to look for",
                "error: \"Amber\" is not a word",
                &missing,
            ]
        );

        // 144 queries and 2 refused ones, by at most two workers, each of which indexed the text once.
        let after = |text: &str| {
            complaints
                .lines()
                .filter(|line| line.contains(text))
                .count()
        };
        assert!((1..=2).contains(&after("indexed 10 words")), "{complaints}");
        let answered = complaints.lines().filter_map(|line| {
            let (count, _) = line.rsplit_once(": ")?.1.split_once(" queries to ")?;
            count.parse::<u32>().ok()
        });
        assert_eq!(answered.sum::<u32>(), 146, "{complaints}");
    });
}

/// `cargo test` also runs this example's own tests.
#[test]
fn tested_runs_as_a_program_too() {
    fixture_outside(LIMIT, || {
        shows(
            "tested",
            &["Survey { mean: Some(155), unknown: [200], silent: [] }"],
        );
    });
}
