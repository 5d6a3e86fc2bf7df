//! A real Temporal server.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Lines};
use std::net::TcpListener;
use std::process::{Child, ChildStdout, Command, Stdio};

use retry_tests::machines::{kill_program, program_of};

use crate::Host;

/// The variable with the path of the server.
const SERVER: &str = "TEMPORAL_TEST_SERVER";

/// Lets a server end the polls of agents that drain. This is not the default.
const ENDS_POLLS: [&str; 2] = [
    "--dynamic-config-value",
    "frontend.enableCancelWorkerPollsOnShutdown=true",
];

/// The port of a server on a host of its own.
const PORT: u16 = 7233;

/// A server that keeps everything in memory, unless it is told otherwise. It ends with the test, whatever becomes of
/// that.
pub struct Server {
    child: Child,
    /// The process of the server itself.
    pid: u32,
    /// Kept, since a server ends that cannot write to it.
    _lines: Lines<BufReader<ChildStdout>>,
    place: String,
}

impl Server {
    /// Starts a server in this network namespace.
    #[must_use]
    pub fn start() -> Self {
        Self::start_with(free_port(), &ENDS_POLLS)
    }

    /// Starts a server at a port, with options instead of the usual ones.
    #[must_use]
    pub fn start_with(port: u16, options: &[&str]) -> Self {
        let mut command = Command::new("setpriv");
        let program = program("127.0.0.1", port, options);
        command
            .args(["--pdeathsig", "KILL", "--"])
            .arg(program.get_program())
            .args(program.get_args());
        Self::launch(command, &format!("127.0.0.1:{port}"))
    }

    /// Starts a server on a host, with options in addition to the usual ones.
    #[must_use]
    pub fn start_on(host: &Host, options: &[&str]) -> Self {
        // Its own services do not reach each other at any other address than this and the one of loopback.
        let mut program = program("0.0.0.0", PORT, &ENDS_POLLS);
        program.args(options);
        Self::launch(host.command(&program), &Self::place_on(host))
    }

    fn launch(mut command: Command, place: &str) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("setpriv and the server are programs");
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let up = lines
            .by_ref()
            .map_while(Result::ok)
            .find(|line| line.contains("Server:"));
        assert!(up.is_some(), "the server does not start");
        Self {
            pid: program_of(&child),
            child,
            _lines: lines,
            place: place.to_owned(),
        }
    }

    /// Returns the address for `RETRY_ENGINE`.
    #[must_use]
    pub fn address(&self) -> String {
        address(&self.place)
    }

    /// Returns the host and the port.
    #[must_use]
    pub fn place(&self) -> &str {
        &self.place
    }

    /// Returns the host and the port of a server on a host, whether or not it has been started.
    #[must_use]
    pub fn place_on(host: &Host) -> String {
        format!("{}:{PORT}", host.address)
    }

    /// Returns the address of a server on a host, whether or not it has been started.
    #[must_use]
    pub fn address_on(host: &Host) -> String {
        address(&Self::place_on(host))
    }

    /// Returns what the server says about a call, in JSON.
    #[must_use]
    pub fn describe(&self, id: &str) -> String {
        let mut command = Command::new(path());
        command.args(["activity", "describe", "--output", "json"]);
        command.args(["--activity-id", id, "--address", &self.place]);
        let described = command.output().unwrap();
        let errors = String::from_utf8_lossy(&described.stderr);
        assert!(described.status.success(), "{errors}");
        String::from_utf8(described.stdout).unwrap()
    }

    /// Returns how many calls a server on a host has been given.
    #[must_use]
    pub fn activities_on(host: &Host) -> usize {
        let mut command = Command::new(path());
        command
            .args(["activity", "count", "--address"])
            .arg(Self::place_on(host));
        let counted = host.command(&command).output().unwrap();
        let text = String::from_utf8_lossy(&counted.stdout);
        let number = text.split_whitespace().find_map(|word| word.parse().ok());
        number.unwrap_or_else(|| panic!("{text}{}", String::from_utf8_lossy(&counted.stderr)))
    }

    /// Kills the server, and waits until it is gone.
    pub fn kill(&mut self) {
        kill_program(&mut self.child, self.pid);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

fn address(place: &str) -> String {
    format!("temporal://{place}/default")
}

fn program(ip: &str, port: u16, options: &[&str]) -> Command {
    let mut command = Command::new(path());
    command
        .args(["server", "start-dev", "--headless", "--log-level", "error"])
        .args(["--ip", ip, "--port", &port.to_string()])
        .args(options);
    command
}

/// Returns the path of Temporal's command line, which has the server in it.
fn path() -> OsString {
    std::env::var_os(SERVER).unwrap_or_else(|| {
        panic!(
            "{SERVER} is not set: `retry-temporal/tests/run` gets the server and runs the tests, and any \
             `temporal` of version 1.9.1 or newer of Temporal's command line will do"
        )
    })
}

/// Returns a port on which nothing listens.
#[must_use]
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}
