//! Starts the run as a child, and checks that nothing outlives it.

use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use crate::arguments::Arguments;
use crate::ledger::DIRECTORY;
use crate::system;

/// Time within which the processes of the run must disappear after it.
const SETTLED: Duration = Duration::from_secs(5);

pub fn supervise(arguments: &Arguments) -> ExitCode {
    let directory = std::env::temp_dir().join(format!("soak-{}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("a directory for the ledger");
    let mut command = Command::new("/proc/self/exe");
    command
        .args(arguments.words())
        .env(DIRECTORY, &directory)
        // The workers print much. The library still reads and splits their output.
        .env("RETRY_OUTPUT", "none")
        .env("RETRY_SEED", arguments.seed.to_string())
        // Without these settings the allocator adapts to large messages and keeps their memory.
        .env(
            "GLIBC_TUNABLES",
            "glibc.malloc.mmap_threshold=131072:glibc.malloc.trim_threshold=131072",
        );
    if let Some(user) = arguments.user {
        std::os::unix::fs::chown(&directory, Some(user), None).expect("root may");
        command.uid(user);
    }
    let status = command.status().expect("this program can be started");

    let variable = format!("{DIRECTORY}={}", directory.display());
    let until = Instant::now() + SETTLED;
    let mut left = system::processes_with(&variable);
    while !left.is_empty() && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(20));
        left = system::processes_with(&variable);
    }
    for process in &left {
        eprintln!("VIOLATION: a process outlived the run: {process:?}");
        system::signal_if(process.pid, rustix::process::Signal::KILL, |pid| {
            system::has_variable(pid, &variable)
        });
    }
    let _ = std::fs::remove_dir_all(&directory);
    if status.success() && left.is_empty() {
        return ExitCode::SUCCESS;
    }
    eprintln!(
        "soak failed with seed {}: the run ended with {status}",
        arguments.seed
    );
    ExitCode::FAILURE
}
