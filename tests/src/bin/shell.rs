//! A shell with one job: runs a program in the foreground of a terminal, in a process group of its own. It
//! prints the program's process ID, and how the program has ended.

use std::fs::File;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::Command;

use rustix::process::{Pid, WaitOptions};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [kind, terminal, program, arguments @ ..] = &arguments[..] else {
        panic!("the kind of shell, a terminal, and a program with its arguments");
    };
    if kind != "none" {
        rustix::process::setsid().expect("it leads no process group");
    }
    if kind == "adopting" {
        let own = rustix::process::getpid();
        rustix::process::set_child_subreaper(Some(own)).expect("any process may");
    }
    // The first terminal that the leader of a session opens becomes the session's.
    let terminal = File::options().read(true).write(true).open(terminal);
    let terminal = terminal.expect("a terminal");
    let copy = || terminal.try_clone().expect("a copy of a descriptor");
    let mut job = if kind == "none" {
        // The program leads a session of its own.
        let mut setsid = Command::new("setsid");
        setsid.arg("--ctty").arg(program);
        setsid
    } else {
        let mut job = Command::new(program);
        job.process_group(0);
        job
    };
    job.args(arguments)
        .stdin(copy())
        .stdout(copy())
        .stderr(copy());
    let mut job = job.spawn().expect("the program can be started");
    if kind != "none" {
        let group = Pid::from_child(&job);
        rustix::termios::tcsetpgrp(&terminal, group).expect("its own terminal");
    }
    println!("{}", job.id());
    let status = job.wait().expect("a child");
    println!("{:?} {:?}", status.code(), status.signal());
    // This process has adopted the processes that a killed program has left, if there are any.
    while rustix::process::wait(WaitOptions::empty()).is_ok() {}
}
