//! Checks the environment when a program starts: an invalid variable is the user's mistake, and is reported
//! once instead of with each call.

use std::fmt::Write as _;
use std::io::Write as _;

use super::{Config, warnings};
use crate::api::spec::{Annotation, FunctionSpec};

/// Exit code of a program that was started with an invalid variable: the code of a wrong command line.
const USAGE: i32 = 2;

/// Reports invalid variables, or lists the settings if the user asks for that, and ends the program after
/// either. Otherwise does nothing.
pub(crate) fn begin(functions: impl FnOnce() -> Vec<(Annotation, &'static FunctionSpec)>) {
    let (config, problems) = Config::read(|name| std::env::var_os(name));
    let is_asked = config.reads("RETRY_CONFIG");
    if problems.is_empty() && !is_asked {
        return;
    }
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    let mut complaints = String::new();
    for warning in warnings(names) {
        let _ = writeln!(complaints, "warning: {warning}");
    }
    for problem in &problems {
        let _ = writeln!(complaints, "error: {problem}");
    }
    // The streams may be closed. The exit code says the same.
    let _ = std::io::stderr().write_all(complaints.as_bytes());
    if !problems.is_empty() {
        std::process::exit(USAGE);
    }
    let mut list = config.list("default runtime", &functions());
    list.push_str(
        "\nThe settings of `Runtime::builder()` and of a call take precedence over these.\n",
    );
    // This goes to standard output as the text of `--help` does: it is all that the user asks for.
    let mut stdout = std::io::stdout().lock();
    let written = stdout
        .write_all(list.as_bytes())
        .and_then(|()| stdout.flush());
    match written {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            let _ = writeln!(
                std::io::stderr(),
                "error: the settings cannot be printed: {error}"
            );
            std::process::exit(1)
        }
        // A reader such as `head` has seen what it wanted.
        _ => std::process::exit(0),
    }
}
