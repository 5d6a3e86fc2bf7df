//! The examples, run as a newcomer would.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;
use std::time::Duration;

use retry_tests::fixture_outside;

/// The examples may have to be built first.
const LIMIT: Duration = Duration::from_secs(600);

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .canonicalize()
        .unwrap()
}

/// Builds the examples once, and says where one of them is.
fn example(name: &str) -> Command {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let directory = BUILT.get_or_init(|| {
        // Next to the directory of this test's own program, and of the same profile.
        let this = std::env::current_exe().unwrap();
        let target = this.parent().unwrap().parent().unwrap();
        let profile = match target.file_name().unwrap().to_str().unwrap() {
            "debug" => "dev",
            other => other,
        };
        let status = Command::new(env!("CARGO"))
            .args(["build", "--quiet", "--package", "retry-examples"])
            .args(["--examples", "--profile", profile])
            .current_dir(root())
            .status()
            .unwrap();
        assert!(status.success());
        target.join("examples")
    });
    Command::new(directory.join(name))
}

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
            "attempt 6 came 1.0 s after attempt 5 had failed",
            "the worker exited with code 3 before it was ready",
            "survived SIGKILL",
            "survived SIGSEGV",
            "survived abort",
            "survived exit 0",
            "8 workers of this function crashed within 60s",
        ] {
            assert!(text.contains(expected), "{expected:?} is not in:\n{text}");
        }
        assert!(output.status.success());
    });
}

/// What `sha256sum` says about the same files.
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

/// All files below a directory, without directories of a name that is to be skipped.
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
fn hash_tree_says_of_the_repository_what_sha256sum_says() {
    fixture_outside(LIMIT, || {
        // All of it, `.git` included; only what is being built right now changes meanwhile.
        let mut files = Vec::new();
        files_below(&root(), &["target"], &mut files);
        let has = |name: &str| {
            files
                .iter()
                .any(|file| file.iter().any(|part| part == name))
        };
        assert!(has("Cargo.lock") && !has("target"));
        assert_eq!(has(".git"), root().join(".git").exists());
        let output = example("hash_tree")
            .arg("--root")
            .arg(root())
            .args(["--skip", "target"])
            .output()
            .unwrap();
        let mut hashed = lines(&output);
        hashed.sort();
        assert_eq!(hashed, sha256sum(&files));
        let complaints = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{complaints}");
    });
}

#[test]
fn hash_tree_leaves_out_the_directories_it_is_told_to() {
    fixture_outside(LIMIT, || {
        let tree = tempfile::tempdir().unwrap();
        let root = tree.path().join("target");
        for path in ["a/x", "target/x", "a/target/x", "b/skipped/x", "target2/x"] {
            let path = root.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, path.as_os_str().as_encoded_bytes()).unwrap();
        }
        // A file of that name is no directory.
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
fn a_program_explains_its_arguments() {
    fixture_outside(LIMIT, || {
        let help = example("hash_tree").arg("--help").output().unwrap();
        let text = String::from_utf8_lossy(&help.stdout);
        assert!(text.contains("Hash every file below a directory"), "{text}");
        assert!(text.contains("--root <ROOT>"), "{text}");
        assert!(text.contains("The directory"), "{text}");
        let wrong = example("hash_tree").arg("--rot").output().unwrap();
        assert_eq!(wrong.status.code(), Some(2));
        let stray = example("failures_and_retries")
            .arg("stray")
            .output()
            .unwrap();
        assert_eq!(stray.status.code(), Some(2));
    });
}
