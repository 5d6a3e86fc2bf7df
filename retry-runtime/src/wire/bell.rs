//! The bell: bytes on the socket between parent and worker, by which one side wakes the other.

use std::os::fd::AsFd;

use rustix::net::{RecvFlags, SendFlags};

/// Wakes the other side. Returns false if the descriptor is no longer a socket because something in this
/// process has closed it. The death of the other side is not reported here; it is detected elsewhere.
pub(crate) fn ring(socket: impl AsFd) -> bool {
    use rustix::io::Errno;
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    loop {
        match rustix::net::send(&socket, &[0], flags) {
            Err(Errno::BADF | Errno::NOTSOCK) => return false,
            // The kernel has no memory for the byte right now. Retry, because the other side is asleep.
            Err(Errno::INTR | Errno::NOBUFS | Errno::NOMEM) => std::thread::yield_now(),
            // If the socket is full, it already holds a wake-up.
            Ok(_) | Err(_) => return true,
        }
    }
}

/// The state in which a woken side finds its socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// The other side has rung, perhaps more than once.
    Ring,
    /// Frames have arrived. Only where the socket carries them.
    Frames,
    /// Neither.
    Nothing,
    /// The other side is gone, or will send nothing more.
    End,
}

/// Checks whether the other side has rung, and consumes the ring.
pub(crate) fn look(socket: impl AsFd) -> Heard {
    match rustix::net::recv(socket, &mut [0u8; 64], RecvFlags::DONTWAIT) {
        Ok((0, _)) => Heard::End,
        Ok(_) => Heard::Ring,
        Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => Heard::Nothing,
        Err(_) => Heard::End,
    }
}
