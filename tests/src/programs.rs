//! The examples as programs, for tests to start.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Returns the root of the repository.
///
/// # Panics
///
/// If the directory does not exist.
#[must_use]
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .canonicalize()
        .expect("the repository")
}

/// Builds an example if necessary and returns the command that runs it.
///
/// # Panics
///
/// If the example does not build.
#[must_use]
pub fn example(name: &str) -> Command {
    // The test's own program is in a directory next to the examples, in the folder of a profile.
    let this = std::env::current_exe().expect("this program");
    let target = this.ancestors().nth(2).expect("a target directory");
    let profile = match target.file_name().and_then(|name| name.to_str()) {
        Some("debug") => "dev",
        other => other.expect("the name of a profile"),
    };
    // Use the features of the whole workspace, which `cargo test --workspace` has already built. With the
    // features of one package, cargo would rebuild its dependencies.
    let status = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--locked", "--workspace"])
        .args(["--example", name, "--profile", profile])
        .current_dir(root())
        .status()
        .expect("cargo");
    assert!(status.success());
    Command::new(target.join("examples").join(name))
}
