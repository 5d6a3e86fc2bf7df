//! One direction of a connection as bytes on the socket between parent and worker.
//!
//! The kernel holds the written bytes, so they are complete even after the writer's death. The kernel also
//! wakes a waiting reader, so no side announces that it sleeps and no [bell](super::bell) is rung.
//!
//! The parent never blocks on the other side. A worker does: it waits for calls, and for room for its
//! answers. This cannot deadlock, because the parent takes in answers even while there is no room for its
//! calls.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use bytes::BufMut;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};

use super::Corrupt;
use super::bell::Heard;
use super::ring::CAPACITY;
use super::write_queue;
use crate::sys;

/// The writing side.
pub(crate) struct Writer {
    socket: Arc<OwnedFd>,
    /// Makes writes block until the reader has made room.
    waits: bool,
}

impl Writer {
    pub(crate) fn new(socket: Arc<OwnedFd>, waits: bool) -> Self {
        Self { socket, waits }
    }

    /// Writes as many of the bytes as there is room for and returns their number; a blocking writer writes
    /// all of them. The reader sees them at once.
    pub(crate) fn write(&self, bytes: &[u8]) -> Result<usize, Corrupt> {
        if self.waits {
            return self.write_all(bytes, &[]).map(|()| bytes.len());
        }
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        loop {
            return match rustix::net::send(&self.socket, bytes, flags) {
                Ok(written) => Ok(written),
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN | Errno::NOBUFS | Errno::NOMEM) => Ok(0),
                // No reader is left: the worker is gone. Its process reports that.
                Err(_) => Ok(bytes.len()),
            };
        }
    }

    /// Writes all of both parts. An error means that no reader is left.
    pub(crate) fn write_all(&self, first: &[u8], second: &[u8]) -> Result<(), Corrupt> {
        write_queue::send_all(&self.socket, first, second, None).map_err(|_| Corrupt)
    }
}

/// The reading side.
pub(crate) struct Reader {
    socket: Arc<OwnedFd>,
}

impl Reader {
    pub(crate) fn new(socket: Arc<OwnedFd>) -> Self {
        Self { socket }
    }

    /// Returns whether there is nothing to read.
    pub(crate) fn is_empty(&self) -> bool {
        look(&self.socket) != Heard::Frames
    }

    /// Returns how many bytes can be read, capped at the capacity of a ring. The caller allocates room for
    /// that many, and the actual number is the other side's choice, hence the cap.
    pub(crate) fn available(&self) -> usize {
        self.unread().min(CAPACITY)
    }

    /// Returns how many bytes can be read, without a cap.
    pub(crate) fn unread(&self) -> usize {
        let unread = rustix::io::ioctl_fionread(&self.socket).unwrap_or_default();
        usize::try_from(unread).unwrap_or(usize::MAX)
    }

    /// Reads at most `most` of the available bytes, appends them to a buffer and returns their number.
    pub(crate) fn read_into(&self, buffer: &mut impl BufMut, most: usize) -> usize {
        let mut read = 0;
        while read < most {
            match sys::receive_into(&self.socket, buffer, most - read) {
                Err(Errno::INTR) => {}
                // The end of the stream is reported by `is_closed`.
                Ok(0) | Err(_) => break,
                Ok(more) => read += more,
            }
        }
        read
    }

    /// Returns whether nothing more will arrive.
    pub(crate) fn is_closed(&self) -> bool {
        look(&self.socket) == Heard::End
    }

    /// Returns whether the other side is gone, or the descriptor is no longer a socket because something in
    /// this process has closed it. A side that has shut down its writing side in order is not lost.
    pub(crate) fn is_lost(&self) -> bool {
        !trouble(&self.socket).is_empty()
    }

    /// Waits until bytes arrive or the stream ends. May return spuriously.
    pub(crate) fn sleep(&self, timeout: Option<Duration>) {
        let mut files = [PollFd::new(&self.socket, PollFlags::IN)];
        // An interruption and a timeout need no distinction: the caller looks again.
        let _ = poll(&mut files, timeout.map(sys::timespec).as_ref());
    }
}

/// Returns whether the other side is gone.
pub(crate) fn is_hung_up(socket: impl AsFd) -> bool {
    trouble(socket).contains(PollFlags::HUP)
}

/// Returns the conditions that `poll` reports without being asked for them.
fn trouble(socket: impl AsFd) -> PollFlags {
    let mut files = [PollFd::new(&socket, PollFlags::empty())];
    match poll(&mut files, Some(&Timespec::default())) {
        Ok(_) | Err(Errno::INTR) => files[0].revents(),
        Err(_) => PollFlags::ERR,
    }
}

/// Checks whether there is something to read, without consuming it.
pub(crate) fn look(socket: impl AsFd) -> Heard {
    let flags = RecvFlags::DONTWAIT | RecvFlags::PEEK;
    match rustix::net::recv(socket, &mut [0u8; 1], flags) {
        Ok((0, _)) => Heard::End,
        Ok(_) => Heard::Frames,
        Err(Errno::AGAIN | Errno::INTR) => Heard::Nothing,
        Err(_) => Heard::End,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::{AddressFamily, Shutdown, SocketFlags, SocketType};

    /// Returns the parent's ends and the worker's ends.
    fn pair() -> [(Writer, Reader); 2] {
        let family = AddressFamily::UNIX;
        let flags = SocketFlags::CLOEXEC;
        let (one, other) =
            rustix::net::socketpair(family, SocketType::STREAM, flags, None).unwrap();
        [(one, false), (other, true)].map(|(socket, waits)| {
            let socket = Arc::new(socket);
            (Writer::new(Arc::clone(&socket), waits), Reader::new(socket))
        })
    }

    #[test]
    fn written_bytes_survive_the_writer() {
        let [(calls, answers), (worker, unread)] = pair();
        // A call that the worker has not read turns its end into a reset, which must not hide its answers.
        calls.write(b"a call").unwrap();
        worker.write_all(b"head", b"payload").unwrap();
        drop((worker, unread));
        assert!(!answers.is_closed());
        let mut bytes = Vec::new();
        assert_eq!(answers.unread(), 11);
        assert_eq!(answers.read_into(&mut bytes, usize::MAX), 11);
        assert_eq!(bytes, b"headpayload");
        assert!(answers.is_closed() && answers.is_lost());
    }

    #[test]
    fn the_worker_waits_for_room_and_the_parent_does_not() {
        let [(parent, from_worker), (worker, from_parent)] = pair();
        let bytes = vec![7; 64 * 1024];
        let mut sent = 0;
        loop {
            match parent.write(&bytes).unwrap() {
                0 => break,
                written => sent += written,
            }
        }
        let answering = std::thread::spawn(move || {
            for _ in 0..32 {
                worker.write_all(b"head", &vec![9; 64 * 1024]).unwrap();
            }
        });
        // The parent takes in answers while there is no room for its calls.
        let mut answers = Vec::new();
        while answers.len() < 32 * (4 + 64 * 1024) {
            from_worker.sleep(None);
            assert!(from_worker.available() <= CAPACITY);
            from_worker.read_into(&mut answers, 10_000);
        }
        answering.join().unwrap();
        assert!(from_worker.is_empty() && !from_worker.is_closed());
        let mut calls = Vec::new();
        assert_eq!(from_parent.unread(), sent);
        assert_eq!(from_parent.read_into(&mut calls, usize::MAX), sent);
        assert_eq!(parent.write(b"more"), Ok(4));
    }

    #[test]
    fn an_orderly_end_differs_from_a_lost_connection() {
        let [(parent, unread), (_worker, reader)] = pair();
        parent.write(b"last").unwrap();
        rustix::net::shutdown(&parent.socket, Shutdown::Write).unwrap();
        assert!(!reader.is_closed(), "there is something left to read");
        let mut bytes = Vec::new();
        assert_eq!(reader.read_into(&mut bytes, usize::MAX), 4);
        reader.sleep(None);
        assert!(reader.is_closed() && !reader.is_lost());
        drop((parent, unread));
        assert!(reader.is_closed() && reader.is_lost());
    }

    #[test]
    fn only_a_blocking_writer_learns_that_the_reader_is_gone() {
        let [(parent, from_worker), worker] = pair();
        drop(worker);
        assert_eq!(parent.write(b"call"), Ok(4));
        assert!(from_worker.is_closed());
        let [parent, (worker, from_parent)] = pair();
        drop(parent);
        assert_eq!(worker.write(b"answer"), Err(Corrupt));
        assert!(from_parent.is_lost());
    }
}
