//! A process that is to become a worker, from its start to its orders.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Weak};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustix::process::{Pid, PidfdFlags};

use super::children;
use super::sweep::Family;
use crate::config::Config;
use crate::engine::depth;
use crate::entry;
use crate::lineage::{self, Token};
use crate::transport::{Board, DEPTH_VARIABLE, Transport, WORKER_VARIABLE, kill_group};

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
    /// What its descendants are known by.
    pub(super) token: Token,
}

/// What a worker shares with its parent, next to the socket.
pub(super) struct Equipment {
    pub(super) board: Board,
    pub(super) board_file: OwnedFd,
    /// The connection for nested calls.
    pub(super) nested: OwnedFd,
    pub(super) their_nested: OwnedFd,
}

impl Equipment {
    fn new(transport: Transport) -> io::Result<Self> {
        let (board, board_file) = match Board::create(transport) {
            // Without rings it takes a small part of that.
            Err(_) if transport == Transport::Rings => Board::create(Transport::Socket)?,
            created => created?,
        };
        board.touch();
        let (nested, their_nested) = connection()?;
        rustix::io::ioctl_fionbio(&nested, true)?;
        Ok(Self {
            board,
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
        let mut child = command(config)?
            .env(WORKER_VARIABLE, std::process::id().to_string())
            .env(DEPTH_VARIABLE, (depth() + 1).to_string())
            .env(lineage::VARIABLE, token.variable())
            // Handed over as standard input, which keeps the fast way of starting a process open.
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()?;
        // Made while the process loads its program, which takes longer.
        match open(child.id()).and_then(|pidfd| Ok((pidfd, Equipment::new(config.transport)?))) {
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

/// The program that is running, also where its file has been replaced or deleted.
fn command(config: &Config) -> io::Result<Command> {
    let arguments = entry::worker_arguments()
        .ok_or_else(|| io::Error::other("this process may not start workers"))?;
    let this = "/proc/self/exe";
    let mut command = match &config.program {
        Some(program) => Command::new(program),
        None if std::fs::symlink_metadata(this).is_ok() => Command::new(this),
        None => Command::new(std::env::current_exe()?),
    };
    for (name, value) in &config.environment {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    if let Some(directory) = &config.directory {
        command.current_dir(directory);
    }
    if let Some(name) = std::env::args_os().next() {
        command.arg0(name);
    }
    command.args(arguments);
    Ok(command)
}

/// A descriptor of a child that was not waited for.
fn open(pid: u32) -> io::Result<OwnedFd> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or(io::ErrorKind::InvalidData)?;
    Ok(rustix::process::pidfd_open(pid, PidfdFlags::empty())?)
}

fn connection() -> rustix::io::Result<(OwnedFd, OwnedFd)> {
    rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )
}
