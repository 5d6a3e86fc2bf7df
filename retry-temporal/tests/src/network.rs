//! Hosts of a network, as namespaces of the kernel: each has its own processes, its own name and its own network
//! interface, which a bridge connects with those of the others.
//!
//! The namespaces have no names, and the bridge is in one of its own. So networks do not meet each other, and the
//! kernel removes all of a network when its processes have ended, which end with the test.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};

use retry_tests::Ledger;
use retry_tests::machines::{is_gone_in, kill_program, program_of};

/// A bridge in a network namespace of its own.
pub struct Network {
    bridge: Keeper,
    hosts: u8,
}

impl Network {
    /// Creates a network without hosts.
    #[must_use]
    pub fn new() -> Self {
        assert!(
            rustix::process::geteuid().is_root(),
            "this test makes hosts of namespaces, and needs to be run by root"
        );
        assert!(
            Command::new("ip").arg("-V").output().is_ok(),
            "this test makes hosts of namespaces, and needs the program ip of Debian's package iproute2"
        );
        Self {
            bridge: Keeper::start(
                &["--net"],
                "ip link add bridge type bridge && ip link set bridge up",
            ),
            hosts: 0,
        }
    }

    /// Adds a host.
    pub fn host(&mut self, name: &'static str) -> Host {
        self.hosts += 1;
        let address = format!("10.0.0.{}", self.hosts);
        // The first process of a host adopts orphans, and does not wait for any: the kernel does so if it ignores
        // their ends.
        let keeper = Keeper::start(
            &[
                "--net",
                "--uts",
                "--pid",
                "--fork",
                "--kill-child",
                "--mount-proc",
            ],
            &format!("trap '' CHLD; echo {name} >/proc/sys/kernel/hostname && ip link set lo up"),
        );
        let host = Host {
            name,
            address,
            ledger: Ledger::new(),
            keeper,
            bridge: self.bridge.pid,
        };
        let init = host.keeper.pid;
        host.at_bridge(&format!(
            "ip link add {name} type veth peer eth0 netns {init} && ip link set {name} master bridge up"
        ));
        host.sh(&format!(
            "ip address add {}/24 dev eth0 && ip link set eth0 up",
            host.address
        ));
        assert!(!host.is_gone(1), "the processes of {name} cannot be seen");
        host
    }
}

impl Default for Network {
    fn default() -> Self {
        Self::new()
    }
}

/// A host with processes, a name and a network interface of its own. All of that ends when this is dropped.
pub struct Host {
    /// The name of the host.
    pub name: &'static str,
    /// The address of the host in its network.
    pub address: String,
    /// The ledger of the functions that run on the host.
    pub ledger: Ledger,
    keeper: Keeper,
    bridge: u32,
}

impl Host {
    /// Returns a program as one that runs on this host. It ends with the returned command's process.
    #[must_use]
    pub fn command(&self, program: &Command) -> Command {
        let mut command = self.enter();
        command
            .args(["setpriv", "--pdeathsig", "KILL", "--"])
            .arg(program.get_program())
            .args(program.get_args())
            .stdin(Stdio::null());
        for (name, value) in program.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command
    }

    /// Takes the host from the network: nothing that it sends arrives, and nothing arrives at it.
    pub fn cut(&self) {
        self.at_bridge(&format!("ip link set {} down", self.name));
    }

    /// Connects the host with the network again.
    pub fn heal(&self) {
        self.at_bridge(&format!("ip link set {} up", self.name));
    }

    /// Ends the host at once, with all of its processes and without a word to the others.
    pub fn kill(&mut self) {
        self.cut();
        self.keeper.end();
    }

    /// Returns whether a process of this host, by its number on the host, has ended.
    #[must_use]
    pub fn is_gone(&self, pid: u32) -> bool {
        is_gone_in(&format!("/proc/{}/root/proc", self.keeper.pid), pid)
    }

    /// Kills a process of this host, by its number on the host.
    pub fn kill_process(&self, pid: u32) {
        self.sh(&format!("kill -KILL {pid}"));
    }

    /// Runs a line of shell on the host.
    fn sh(&self, line: &str) {
        run(self.enter().args(["sh", "-c", line]));
    }

    fn at_bridge(&self, line: &str) {
        let namespace = format!("--net=/proc/{}/ns/net", self.bridge);
        run(Command::new("nsenter").args([&namespace, "--", "sh", "-c", line]));
    }

    fn enter(&self) -> Command {
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL", "--", "nsenter"])
            .args(["--target", &self.keeper.pid.to_string()])
            .args(["--net", "--uts", "--pid", "--mount", "--"]);
        command
    }
}

fn run(command: &mut Command) {
    let ended = command.stdin(Stdio::null()).output().unwrap();
    let errors = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success(), "{command:?}: {errors}");
}

/// A process that keeps namespaces, and does nothing else. It ends with the test, whatever becomes of that.
struct Keeper {
    child: Child,
    pid: u32,
}

impl Keeper {
    /// Starts a process in new namespaces, which begins with a line of shell.
    fn start(namespaces: &[&str], line: &str) -> Self {
        let mut child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--", "unshare"])
            .args(namespaces)
            .args([
                "--",
                "sh",
                "-c",
                &format!("{line} && echo ready && exec cat"),
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("setpriv is a program");
        let mut ready = String::new();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        lines.read_line(&mut ready).unwrap();
        // Nothing that it says at its end is of interest.
        let mut errors = child.stderr.take().unwrap();
        if ready != "ready\n" {
            let mut reason = String::new();
            let _ = errors.read_to_string(&mut reason);
            panic!("the namespaces cannot be made: {reason}");
        }
        Self {
            pid: program_of(&child),
            child,
        }
    }

    fn end(&mut self) {
        kill_program(&mut self.child, self.pid);
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.end();
    }
}
