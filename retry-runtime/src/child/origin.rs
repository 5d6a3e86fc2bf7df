//! Determines whether this process was started as a worker.
//!
//! The parent writes a [`Greeting`] into the worker's standard input before it starts the process. A process
//! that reads the greeting is the worker, whatever its environment and its parent are: a script in between
//! may have changed both. Reading removes the greeting, so only one process becomes that worker.
//!
//! A process without a greeting was started as a worker if the environment says so, unless a worker started
//! it: child processes of a worker inherit its environment. Each worker therefore binds its connection to an
//! abstract socket address derived from a key in its environment. The kernel allows each address once, so a
//! process that finds the address in use was started by that worker.

use std::fs::File;
use std::io;
use std::sync::Arc;

use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SocketAddrUnix, SocketFlags, SocketType};

use super::ParentLink;
use crate::sys;
use crate::wire::handshake::Greeting;
use crate::wire::{KEY_VARIABLE, WORKER_VARIABLE};

/// The role of this process.
pub(crate) enum Origin {
    /// An independent program.
    Program,
    /// A worker.
    Worker(ParentLink),
    /// Started as a worker, but unable to serve for this reason.
    Unfit(String),
}

/// Takes the greeting off standard input. Leaves any other input unread.
fn take_greeting() -> Result<Greeting, String> {
    let receive = |flags| {
        let mut bytes = [0; Greeting::LENGTH];
        let flags = flags | RecvFlags::DONTWAIT;
        rustix::net::recv(rustix::stdio::stdin(), &mut bytes, flags)
            .map(|(received, _)| Greeting::decode(&bytes[..received.min(Greeting::LENGTH)]))
    };
    let problem = match receive(RecvFlags::PEEK) {
        Ok(Some(_)) => match receive(RecvFlags::empty()) {
            Ok(Some(greeting)) => return Ok(greeting),
            _ => "another process has taken it over",
        },
        Ok(None) | Err(Errno::AGAIN) => "something else has read from it",
        Err(Errno::BADF) => "it is closed",
        Err(Errno::NOTSOCK) => "it is something else",
        Err(error) => return Err(format!("standard input cannot be read: {error}")),
    };
    Err(format!(
        "standard input is not the connection to the parent any more: {problem}"
    ))
}

impl Origin {
    pub(crate) fn find() -> Self {
        match take_greeting() {
            Ok(greeting) => match ParentLink::new(greeting) {
                Ok(link) => Self::Worker(link),
                Err(problem) => Self::Unfit(problem),
            },
            Err(problem) => {
                let key = std::env::var(KEY_VARIABLE).unwrap_or_default();
                let key = u64::from_str_radix(&key, 16).ok();
                match key.filter(|_| std::env::var_os(WORKER_VARIABLE).is_some()) {
                    Some(key) if !is_taken(key) => Self::Unfit(problem),
                    _ => Self::Program,
                }
            }
        }
    }
}

impl ParentLink {
    fn new(greeting: Greeting) -> Result<Self, String> {
        // The protocol never uses descriptors 0 to 2: they belong to user code.
        let socket = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)
            .map_err(|error| format!("there is no descriptor for the connection: {error}"))?;
        // If this fails, processes that this worker starts cannot tell that they are not workers.
        let _ = address(greeting.key).and_then(|address| rustix::net::bind(&socket, &address));
        empty_stdin().map_err(|error| {
            format!("there is nothing to put in the place of standard input: {error}")
        })?;
        let parent = sys::maker_of(&socket);
        Ok(Self {
            socket: Arc::new(socket),
            parent,
        })
    }
}

/// Replaces standard input with a file that is at its end.
fn empty_stdin() -> io::Result<()> {
    match File::open("/dev/null") {
        Ok(null) => rustix::stdio::dup2_stdin(&null)?,
        // Without device files, the read end of a pipe that has no writer serves the same purpose.
        Err(_) => rustix::stdio::dup2_stdin(rustix::pipe::pipe()?.0)?,
    }
    Ok(())
}

/// Returns the socket address to which the worker with this key binds its connection.
fn address(key: u64) -> rustix::io::Result<SocketAddrUnix> {
    SocketAddrUnix::new_abstract_name(format!("retry-worker-{key:016x}").as_bytes())
}

/// Returns whether a worker with this key is alive.
fn is_taken(key: u64) -> bool {
    let (family, kind) = (AddressFamily::UNIX, SocketType::STREAM);
    let bound = rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC, None)
        .and_then(|socket| rustix::net::bind(&socket, &address(key)?));
    bound == Err(Errno::ADDRINUSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_taken_as_long_as_its_socket_is_open() {
        let key = Greeting::new().key;
        let (worker, _parent) = rustix::net::socketpair(
            AddressFamily::UNIX,
            SocketType::STREAM,
            SocketFlags::CLOEXEC,
            None,
        )
        .unwrap();
        assert!(!is_taken(key));
        rustix::net::bind(&worker, &address(key).unwrap()).unwrap();
        assert!(is_taken(key));
        drop(worker);
        assert!(!is_taken(key));
    }
}
