//! A process that is to become a worker, from its start until it receives its orders.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Weak};

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
use crate::sys::{self, attributes, children, signals};
use crate::wire::handshake::Greeting;
use crate::wire::launch::depth;
use crate::wire::{ControlBlock, DEPTH_VARIABLE, KEY_VARIABLE, Transport, WORKER_VARIABLE};

/// A process of the workers' program that has not received its orders yet. The owner must make a worker of it
/// or [end](Self::end) it: it does not end by itself before its parent does.
pub(super) struct Process {
    pub(super) child: Child,
    /// Readable once the process has ended.
    pub(super) pidfd: OwnedFd,
    /// The socket on which the process waits for its orders.
    pub(super) socket: OwnedFd,
    /// The objects that the process is given with its orders.
    pub(super) equipment: Equipment,
    /// The mark of the process's descendants.
    pub(super) token: Token,
}

/// The objects that a worker shares with its parent besides the socket.
pub(super) struct Equipment {
    pub(super) control: ControlBlock,
    pub(super) control_file: OwnedFd,
    /// The parent's end of the connection for nested calls.
    pub(super) nested: OwnedFd,
    pub(super) their_nested: OwnedFd,
}

impl Equipment {
    fn new(transport: Transport) -> io::Result<Self> {
        let (control, control_file) = match ControlBlock::create(transport) {
            // Without rings, the control block takes only a small part of that memory.
            Err(_) if transport == Transport::Rings => ControlBlock::create(Transport::Socket)?,
            created => created?,
        };
        control.touch();
        let (nested, their_nested) = connection()?;
        rustix::io::ioctl_fionbio(&nested, true)?;
        Ok(Self {
            control,
            control_file,
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
        let worker_end = theirs.try_clone()?;
        let mut child = Child::start(&program, theirs)?;
        // Without it, the process is a worker like any other, unless its parent is killed while it is
        // suspended.
        let _ = signals::continue_at_hang_up(&worker_end, child.id);
        drop(worker_end);
        // These are created while the process loads its program, which takes longer.
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

    /// Returns whether the process has ended, for whatever reason.
    pub(super) fn has_ended(&self) -> bool {
        lineage::has_ended(&self.pidfd)
    }

    /// Kills the process and everything in its group that its start-up code has started.
    pub(super) fn kill(&self) {
        children::kill_rest(self.pid(), kill_group);
    }

    /// Kills the process and waits until it is gone.
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
    /// Set once the child has been waited for. Its pid may belong to another process from then on.
    reaped: bool,
}

impl Child {
    /// Starts a program with the given standard input.
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

    /// Waits until the child has ended, and releases its pid. Returns how it ended, but only the first time.
    pub(super) fn wait(&mut self) -> Option<WaitStatus> {
        if self.reaped {
            return None;
        }
        loop {
            match waitpid(Some(self.id), WaitOptions::empty()) {
                Err(Errno::INTR) => {}
                waited => {
                    // An error means that the kernel has not kept the exit status.
                    self.reaped = true;
                    return waited.ok().flatten().map(|(_, status)| status);
                }
            }
        }
    }
}

/// Returns the environment variables of a worker: those of this process as they are now, those configured for
/// the runtime, and the runtime's own.
fn environment<const N: usize>(
    config: &Config,
    own: [(&str, OsString); N],
) -> Vec<(OsString, OsString)> {
    let mut variables: BTreeMap<OsString, OsString> = std::env::vars_os().collect();
    // Another program that a function starts is no agent.
    variables.remove(OsStr::new("RETRY_SERVE"));
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

/// Opens a descriptor of a child that has not been waited for. It becomes readable when the child has ended.
fn open(pid: Pid) -> io::Result<OwnedFd> {
    match rustix::process::pidfd_open(pid, PidfdFlags::empty()) {
        // Emulators and system call filters may not support the call.
        Err(Errno::NOSYS | Errno::PERM) => watch(pid),
        opened => Ok(opened?),
    }
}

/// Watches the child from a thread, without reaping it.
fn watch(pid: Pid) -> io::Result<OwnedFd> {
    let (ended, end) = pipe_with(PipeFlags::CLOEXEC)?;
    std::thread::Builder::new()
        .name("retry-wait".to_owned())
        .stack_size(128 * 1024)
        .spawn(move || {
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
            while waitid(WaitId::Pid(pid), options).err() == Some(Errno::INTR) {}
            // Closing this end makes the other end readable.
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
