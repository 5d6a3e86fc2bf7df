//! A process that is to become a worker, from its start to its orders.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Weak};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{
    Pid, PidfdFlags, WaitId, WaitIdOptions, WaitOptions, WaitStatus, waitid, waitpid,
};

use super::executable;
use super::sweep::Family;
use crate::config::Config;
use crate::sys::group::kill_group;
use crate::sys::lineage::{self, Token};
use crate::sys::{self, attributes, children};
use crate::wire::handshake::Greeting;
use crate::wire::launch::depth;
use crate::wire::{ControlBlock, DEPTH_VARIABLE, KEY_VARIABLE, Transport, WORKER_VARIABLE};

/// A process of the workers' program that does not know yet what it will serve. Whoever has one
/// makes a worker of it or [ends](Self::end) it: it does not end by itself before its parent does.
pub(super) struct Process {
    pub(super) child: Child,
    /// What is readable when it has ended.
    pub(super) pidfd: OwnedFd,
    /// Where it waits for its orders.
    pub(super) socket: OwnedFd,
    /// What it will be given with them.
    pub(super) equipment: Equipment,
    /// Marks its descendants.
    pub(super) token: Token,
}

/// What a worker shares with its parent, next to the socket.
pub(super) struct Equipment {
    pub(super) control: ControlBlock,
    pub(super) board_file: OwnedFd,
    /// The connection for nested calls.
    pub(super) nested: OwnedFd,
    pub(super) their_nested: OwnedFd,
}

impl Equipment {
    fn new(transport: Transport) -> io::Result<Self> {
        let (control, board_file) = match ControlBlock::create(transport) {
            // Without rings it takes a small part of that.
            Err(_) if transport == Transport::Rings => ControlBlock::create(Transport::Socket)?,
            created => created?,
        };
        control.touch();
        let (nested, their_nested) = connection()?;
        rustix::io::ioctl_fionbio(&nested, true)?;
        Ok(Self {
            control,
            board_file,
            nested,
            their_nested,
        })
    }
}

impl Process {
    pub(super) fn start(config: &Config) -> io::Result<Self> {
        let (socket, theirs) = connection()?;
        let token = Token::new();
        let greeting = Greeting::new();
        greeting.send(&socket)?;
        let own = [
            (WORKER_VARIABLE, std::process::id().to_string().into()),
            (KEY_VARIABLE, greeting.key_text().into()),
            (DEPTH_VARIABLE, (depth() + 1).to_string().into()),
            (lineage::VARIABLE, token.variable()),
        ];
        let program = sys::Program {
            environment: environment(config, own),
            directory: config.directory.as_ref().map(OsString::from),
            ..executable::of_workers(config)?
        };
        let mut child = Child::start(&program, theirs)?;
        // Made while the process loads its program, which takes longer.
        match open(child.id).and_then(|pidfd| Ok((pidfd, Equipment::new(config.transport)?))) {
            Ok((pidfd, equipment)) => Ok(Self {
                child,
                pidfd,
                socket,
                equipment,
                token,
            }),
            Err(error) => {
                kill_group(child.id());
                let _ = child.wait();
                Err(error)
            }
        }
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has ended, by itself or by whoever killed it.
    pub(super) fn has_ended(&self) -> bool {
        let mut files = [PollFd::new(&self.pidfd, PollFlags::IN)];
        poll(&mut files, Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
    }

    /// Kills it, with what its start-up code may have started.
    pub(super) fn kill(&self) {
        children::kill_rest(self.pid(), kill_group);
    }

    /// Kills it and waits until it is gone.
    pub(super) fn end(mut self) {
        self.kill();
        let _ = self.child.wait();
        let family = Family {
            engine: Weak::new(),
            function: "",
            worker: self.pid(),
            token: self.token,
            cgroup: None,
            ends: AtomicBool::new(false),
        };
        Arc::new(family).end(None);
    }
}

/// A child of this process, with the reading ends of its output streams.
pub(super) struct Child {
    id: Pid,
    pub(super) stdout: Option<OwnedFd>,
    pub(super) stderr: Option<OwnedFd>,
    /// Its number may be another process's.
    reaped: bool,
}

impl Child {
    /// Starts a program with what it reads as standard input.
    fn start(program: &sys::Program, stdin: OwnedFd) -> io::Result<Self> {
        let (stdout, their_stdout) = pipe_with(PipeFlags::CLOEXEC)?;
        let (stderr, their_stderr) = pipe_with(PipeFlags::CLOEXEC)?;
        attributes::adopt();
        let id = sys::spawn(program, [stdin, their_stdout, their_stderr])?;
        Ok(Self {
            id,
            stdout: Some(stdout),
            stderr: Some(stderr),
            reaped: false,
        })
    }

    pub(super) fn id(&self) -> u32 {
        self.id.as_raw_nonzero().get().unsigned_abs()
    }

    /// Waits until it has ended, and gives its number back. How it has ended is told once.
    pub(super) fn wait(&mut self) -> Option<WaitStatus> {
        if self.reaped {
            return None;
        }
        loop {
            match waitpid(Some(self.id), WaitOptions::empty()) {
                Err(Errno::INTR) => {}
                waited => {
                    // An error says that it was not kept.
                    self.reaped = true;
                    return waited.ok().flatten().map(|(_, status)| status);
                }
            }
        }
    }
}

/// The variables of a worker: those of this process as they are now, those of the runtime, and ours.
fn environment<const N: usize>(
    config: &Config,
    own: [(&str, OsString); N],
) -> Vec<(OsString, OsString)> {
    let mut variables: BTreeMap<OsString, OsString> = std::env::vars_os().collect();
    for (name, value) in &config.environment {
        match value {
            Some(value) => variables.insert(name.clone(), value.clone()),
            None => variables.remove(name),
        };
    }
    for (name, value) in own {
        variables.insert(name.into(), value);
    }
    variables.into_iter().collect()
}

/// A descriptor of a child that was not waited for: it is ready when the child has ended.
fn open(pid: Pid) -> io::Result<OwnedFd> {
    match rustix::process::pidfd_open(pid, PidfdFlags::empty()) {
        // Tools that run programs, and filters of system calls, may not know it.
        Err(Errno::NOSYS | Errno::PERM) => watch(pid),
        opened => Ok(opened?),
    }
}

/// Watches the child from a thread, which leaves it to be waited for.
fn watch(pid: Pid) -> io::Result<OwnedFd> {
    let (ended, end) = pipe_with(PipeFlags::CLOEXEC)?;
    std::thread::Builder::new()
        .name("retry-wait".to_owned())
        .stack_size(128 * 1024)
        .spawn(move || {
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
            while waitid(WaitId::Pid(pid), options).err() == Some(Errno::INTR) {}
            // Closed, which the other end notices.
            drop(end);
        })?;
    Ok(ended)
}

fn connection() -> rustix::io::Result<(OwnedFd, OwnedFd)> {
    rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )
}
