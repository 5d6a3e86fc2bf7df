//! The socket between parent and worker, by which one wakes the other.

use std::os::fd::AsFd;

use rustix::net::{RecvFlags, SendFlags};

/// Wakes the other side. False if the socket is none any more: something in this process has
/// closed it. That the other side is gone shows elsewhere.
pub(crate) fn ring(socket: impl AsFd) -> bool {
    use rustix::io::Errno;
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    loop {
        match rustix::net::send(&socket, &[0], flags) {
            Err(Errno::BADF | Errno::NOTSOCK) => return false,
            // The kernel has no memory for it right now, and the other side sleeps.
            Err(Errno::INTR | Errno::NOBUFS | Errno::NOMEM) => std::thread::yield_now(),
            // A full socket is one that has been rung already.
            Ok(_) | Err(_) => return true,
        }
    }
}

/// What a side that was woken finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// It was rung, perhaps more than once.
    Ring,
    /// There are frames, where these come through the socket.
    Frames,
    /// Neither.
    Nothing,
    /// The other side is gone, or will say nothing any more.
    End,
}

/// Looks whether the other side has rung.
pub(crate) fn look(socket: impl AsFd) -> Heard {
    match rustix::net::recv(socket, &mut [0u8; 64], RecvFlags::DONTWAIT) {
        Ok((0, _)) => Heard::End,
        Ok(_) => Heard::Ring,
        Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => Heard::Nothing,
        Err(_) => Heard::End,
    }
}
