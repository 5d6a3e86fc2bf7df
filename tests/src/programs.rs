//! The examples, as programs that tests start.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Returns the root of the repository.
///
/// # Panics
///
/// If it is gone.
#[must_use]
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .canonicalize()
        .expect("the repository")
}

/// Returns the command that runs an example, after making sure that the example is built.
///
/// # Panics
///
/// If it does not build.
#[must_use]
pub fn example(name: &str) -> Command {
    // The directory of this test's own program is next to that of the examples, in the folder of a profile.
    let this = std::env::current_exe().expect("this program");
    let target = this.ancestors().nth(2).expect("a target directory");
    let profile = match target.file_name().and_then(|name| name.to_str()) {
        Some("debug") => "dev",
        other => other.expect("the name of a profile"),
    };
    // With the features of the whole workspace, as `cargo test --workspace` has built it already. With those
    // of one package its dependencies would be built again.
    let status = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--locked", "--workspace"])
        .args(["--example", name, "--profile", profile])
        .current_dir(root())
        .status()
        .expect("cargo");
    assert!(status.success());
    Command::new(target.join("examples").join(name))
}
