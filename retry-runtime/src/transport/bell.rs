//! The socket between parent and worker, by which one wakes the other.

use std::os::fd::AsFd;

use rustix::net::{RecvFlags, SendFlags};

/// Wakes the other side. It need not be known whether it is still there: who notices that it is
/// not looks at the socket's other direction.
pub(crate) fn ring(socket: impl AsFd) {
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    // A full socket is one that has been rung already.
    let _ = rustix::net::send(socket, &[0], flags);
}

/// What a side that was woken finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// It was rung, perhaps more than once.
    Ring,
    /// It was not.
    Nothing,
    /// The other side is gone, or will say nothing any more.
    End,
}

/// Waits until the other side rings.
pub(crate) fn wait(socket: impl AsFd) -> Heard {
    receive(socket, RecvFlags::empty())
}

/// Looks whether the other side has rung.
pub(crate) fn look(socket: impl AsFd) -> Heard {
    receive(socket, RecvFlags::DONTWAIT)
}

fn receive(socket: impl AsFd, flags: RecvFlags) -> Heard {
    match rustix::net::recv(socket, &mut [0u8; 64], flags) {
        Ok((0, _)) => Heard::End,
        Ok(_) => Heard::Ring,
        Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => Heard::Nothing,
        Err(_) => Heard::End,
    }
}
