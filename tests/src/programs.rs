//! The examples, as programs that tests start.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

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

/// Returns the command that runs an example, after making sure that the examples are built.
///
/// # Panics
///
/// If they do not build.
#[must_use]
pub fn example(name: &str) -> Command {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let directory = BUILT.get_or_init(|| {
        // The directory of this test's own program is next to that of the examples, in the folder of a profile.
        let this = std::env::current_exe().expect("this program");
        let target = this.ancestors().nth(2).expect("a target directory");
        let profile = match target.file_name().and_then(|name| name.to_str()) {
            Some("debug") => "dev",
            other => other.expect("the name of a profile"),
        };
        // The whole workspace, as in `cargo test --workspace`, which has built them already: with fewer
        // packages their dependencies would have other features, and be built again.
        let status = Command::new(env!("CARGO"))
            .args(["build", "--quiet", "--workspace", "--examples"])
            .args(["--locked", "--profile", profile])
            .current_dir(root())
            .status()
            .expect("cargo");
        assert!(status.success());
        target.join("examples")
    });
    Command::new(directory.join(name))
}
