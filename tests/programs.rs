//! The examples, as programs to be started.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The root of the repository.
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

/// Builds the examples once, and says where one of them is.
///
/// # Panics
///
/// If they do not build.
#[must_use]
pub fn example(name: &str) -> Command {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let directory = BUILT.get_or_init(|| {
        // Next to the directory of this test's own program, and of the same profile.
        let this = std::env::current_exe().expect("this program");
        let target = this.ancestors().nth(2).expect("a target directory");
        let profile = match target.file_name().and_then(|name| name.to_str()) {
            Some("debug") => "dev",
            other => other.expect("the name of a profile"),
        };
        let status = Command::new(env!("CARGO"))
            .args(["build", "--quiet", "--package", "retry-example*"])
            .args(["--examples", "--profile", profile])
            .current_dir(root())
            .status()
            .expect("cargo");
        assert!(status.success());
        target.join("examples")
    });
    Command::new(directory.join(name))
}
