//! Programs as machines: agents that serve calls, and the program that makes them, which go through an engine.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStderr, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::{Ledger, descendants, eventually};

/// A program, with the settings under which it is started as an agent and as the caller.
pub struct Machines<E> {
    /// The engine of the test, if it belongs to these machines alone.
    pub engine: E,
    /// The value of `RETRY_ENGINE`.
    pub address: String,
    /// The ledger in which functions record that they have begun.
    pub ledger: Ledger,
    program: &'static str,
    variables: Vec<(&'static str, String)>,
}

impl<E> Machines<E> {
    /// Creates machines that run the program at a path.
    #[must_use]
    pub fn new(program: &'static str, address: String, engine: E) -> Self {
        Self {
            engine,
            address,
            ledger: Ledger::new(),
            program,
            variables: vec![("RETRY_HOST_TIMEOUT", "2s".to_owned())],
        }
    }

    /// Sets an environment variable of all programs that are started from now on.
    pub fn set(&mut self, name: &'static str, value: &str) {
        self.variables.push((name, value.to_owned()));
    }

    /// Returns the program, which is not started yet.
    #[must_use]
    pub fn program(&self) -> Command {
        let mut command = Command::new(self.program);
        command
            .env("RETRY_ENGINE", &self.address)
            .env("LEDGER", self.ledger.path())
            .envs(self.variables.iter().cloned())
            .stdin(Stdio::null());
        command
    }

    /// Starts an agent of all functions.
    #[must_use]
    pub fn agent(&self) -> Agent {
        let mut command = self.program();
        command.env("RETRY_SERVE", "all");
        Agent::start(command)
    }

    /// Returns the program as the caller, which is not started yet.
    #[must_use]
    pub fn call(&self, arguments: &[&str]) -> Command {
        let mut command = self.program();
        command.args(arguments);
        command
    }

    /// Starts the caller, whose output is read at its end.
    #[must_use]
    pub fn start(&self, arguments: &[&str]) -> Child {
        let mut command = self.call(arguments);
        let command = command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap()
    }

    /// Runs the caller, and returns what it prints.
    #[must_use]
    pub fn run(&self, arguments: &[&str]) -> String {
        output(self.call(arguments).output().unwrap())
    }
}

/// Returns what a program has printed, which must have ended well.
#[must_use]
pub fn output(output: Output) -> String {
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{:?}: {errors}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

/// Returns what the caller prints of a map with these values.
pub fn numbered(values: impl IntoIterator<Item = u64>) -> String {
    let line = |(index, value)| format!("{index} {value}\n");
    values.into_iter().enumerate().map(line).collect()
}

/// Checks that programs get the results of calls that others have spawned, and cancel them.
///
/// # Panics
///
/// If they do not.
pub fn assert_attaches<E>(world: &Machines<E>) {
    let spawned = world.call(&["spawned", "7", "9"]).output().unwrap();
    let told = String::from_utf8(spawned.stderr.clone()).unwrap();
    let printed = output(spawned);
    let [slow, fails]: [&str; 2] = printed.lines().collect::<Vec<_>>().try_into().unwrap();
    for (name, id) in [("slow", slow), ("fails", fails)] {
        let line = format!("{name} ({id}) goes on; `{name}.attach(id)` returns its result\n");
        assert!(told.contains(&line), "{told}");
    }
    // The result is kept for those that come later.
    for _ in 0..2 {
        assert_eq!(world.run(&["attached", slow]), "7\n");
    }
    let failed = "fails failed after 4 attempts: attempt 4 on 9 [failed, failed, failed, failed]";
    assert_eq!(
        world.run(&["attached_failed", fails]),
        format!("error: {failed}\n")
    );
    let other = world.run(&["attached_square", slow]);
    let is_other = format!("{slow} is a call of `slow`, not of `square`");
    assert!(other.contains(&is_other), "{other}");
    let unknown = world.run(&["attached", &format!("{slow}000")]);
    assert!(unknown.contains("does not know"), "{unknown}");
    assert_eq!(world.run(&["attached_twice", "5"]), "5\n5\n5\n");
    let begun = Instant::now();
    let later = world.run(&["spawned_for_later", "6"]);
    assert!(!world.ledger.executions().contains_key(&6));
    assert_eq!(world.run(&["attached", later.trim_end()]), "6\n");
    assert!(begun.elapsed() >= Duration::from_secs(2));
    let executions = world.ledger.executions();
    assert_eq!((executions[&7], executions[&6], executions[&5]), (1, 1, 1));
    let spawned = world.run(&["spawned_in_vain", "8"]);
    eventually("it has begun", Duration::from_secs(20), || {
        world.ledger.executions().contains_key(&8)
    });
    let mut attached = world.call(&["attached_cancelled", spawned.trim_end()]);
    let attached = attached.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut attached = attached.stderr(Stdio::piped()).spawn().unwrap();
    attached.stdin.take().unwrap().write_all(b"\n").unwrap();
    let cancelled = output(attached.wait_with_output().unwrap());
    assert!(cancelled.contains("cancelled"), "{cancelled}");
}

/// Returns whether a process has ended. Its parent may not have waited for it yet.
#[must_use]
pub fn is_gone(pid: u32) -> bool {
    is_gone_in("/proc", pid)
}

/// Returns whether a process has ended, as shown by the `/proc` of a namespace of processes.
#[must_use]
pub fn is_gone_in(proc: &str, pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("{proc}/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ")
        .is_none_or(|(_, fields)| fields.starts_with(['Z', 'X']))
}

/// Returns the process of a program that runs: the child itself, or the child of that if it only waits for a program
/// in another namespace of processes.
#[must_use]
pub fn program_of(child: &Child) -> u32 {
    let pid = child.id();
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    if !["nsenter", "unshare"].contains(&name.trim_end()) {
        return pid;
    }
    let inner = descendants().into_iter().find(|one| one.parent == pid);
    inner.expect("it has a child").pid
}

/// Kills the process of a program, unless it has ended, and waits for the child that it is or that waits for it.
///
/// # Panics
///
/// If the child does not belong to this process.
pub fn kill_program(child: &mut Child, pid: u32) {
    if child.try_wait().unwrap().is_none() {
        let _ = kill_process(Pid::from_raw(pid.cast_signed()).unwrap(), Signal::KILL);
        child.wait().unwrap();
    }
}

/// Sends a signal to a process.
///
/// # Panics
///
/// If there is no such process.
pub fn signal_process(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(pid.cast_signed()).unwrap();
    kill_process(pid, signal).unwrap();
}

/// Returns the processes that have executed something, in the order in which they began.
#[must_use]
pub fn processes_in(ledger: &Ledger) -> Vec<u32> {
    let mut pids = Vec::new();
    for entry in ledger.entries() {
        if !pids.contains(&entry.pid) {
            pids.push(entry.pid);
        }
    }
    pids
}

/// Checks what the caller prints of a map in which one input has lost each machine that had it, alone at last.
///
/// # Panics
///
/// If another input has failed, or this one for another reason.
pub fn assert_only_lost(printed: &str, lost: usize) {
    for (number, line) in printed.lines().enumerate() {
        if number == lost {
            assert!(
                line.contains("each machine that had the call was lost before it answered")
                    && line.contains("its machine was lost, its machine was lost"),
                "{line}"
            );
        } else {
            assert_eq!(line, format!("{number} {number}"));
        }
    }
}

/// Checks that calls went on in other processes than these, which did nothing any more then.
///
/// # Panics
///
/// If they did not.
pub fn assert_went_elsewhere(ledger: &Ledger, before: &[u32]) {
    let entries = ledger.entries();
    let elsewhere = entries.iter().position(|one| !before.contains(&one.pid));
    let after = &entries[elsewhere.expect("it runs elsewhere")..];
    assert!(after.iter().all(|one| !before.contains(&one.pid)));
}

/// An agent. It is killed when it is dropped.
pub struct Agent {
    child: Child,
    /// The process of the agent itself.
    pid: u32,
    lines: BufReader<ChildStderr>,
    /// The name that the agent has told.
    pub name: String,
}

impl Agent {
    /// Stops the workers that the agent has now, so that their calls do not end.
    pub fn stop_workers(&self) {
        let all = descendants().into_iter();
        for worker in all.filter(|process| process.parent == self.pid) {
            signal_process(worker.pid, Signal::STOP);
        }
    }

    /// Starts an agent, and waits until it serves.
    #[must_use]
    pub fn start(mut command: Command) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        lines.read_line(&mut line).unwrap();
        assert!(line.starts_with("serving "), "{line}");
        let name = line.trim_end().rsplit_once(" as ").unwrap().1.to_owned();
        Self {
            pid: program_of(&child),
            child,
            lines,
            name,
        }
    }

    /// Waits for the next line on standard error.
    pub fn next_line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        line
    }

    /// Sends a signal to the agent, such as one that stops it or lets it continue.
    ///
    /// # Panics
    ///
    /// If it has ended.
    pub fn signal(&self, signal: Signal) {
        signal_process(self.pid, signal);
    }

    /// Returns whether the agent has ended.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Ends the agent in order, and returns what it has printed meanwhile.
    pub fn end(mut self) -> String {
        self.signal(Signal::TERM);
        let mut printed = String::new();
        while self.lines.read_line(&mut printed).unwrap() > 0 {}
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{status:?}: {printed}");
        printed
    }

    /// Kills the agent, unless it has ended.
    pub fn kill(&mut self) {
        kill_program(&mut self.child, self.pid);
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.kill();
    }
}
