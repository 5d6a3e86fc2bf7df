//! One direction of a connection: bytes through the socket that parent and worker have anyway.
//!
//! What was written lies with the kernel, so that it is there whole after the writer's death. The
//! kernel wakes whoever waits, so nobody says that it sleeps and no [bell](super::bell) is rung.
//!
//! The parent never waits for the other side. A worker does: it waits for calls, and for room for
//! its answers, which the parent takes in also while it has no room for calls itself.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use bytes::BufMut;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};

use super::bell::Heard;
use super::ring::{CAPACITY, Corrupt};
use super::write_queue;
use crate::sys;

/// The side that writes.
pub(crate) struct Writer {
    socket: Arc<OwnedFd>,
    /// Whether it waits until the reader has made room.
    waits: bool,
}

impl Writer {
    pub(crate) fn new(socket: Arc<OwnedFd>, waits: bool) -> Self {
        Self { socket, waits }
    }

    /// Writes as many of the bytes as there is room for, and says how many: all, if it waits. They
    /// are seen at once.
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
                // Nobody will read them: the worker is gone, which its process tells.
                Err(_) => Ok(bytes.len()),
            };
        }
    }

    /// Writes all of both parts. An error is that nobody is there to read them.
    pub(crate) fn write_all(&self, first: &[u8], second: &[u8]) -> Result<(), Corrupt> {
        write_queue::send_all(&self.socket, first, second).map_err(|_| Corrupt)
    }
}

/// The side that reads.
pub(crate) struct Reader {
    socket: Arc<OwnedFd>,
}

impl Reader {
    pub(crate) fn new(socket: Arc<OwnedFd>) -> Self {
        Self { socket }
    }

    /// Whether there is nothing to read.
    pub(crate) fn is_empty(&self) -> bool {
        look(&self.socket) != Heard::Frames
    }

    /// How many bytes are there to be read. There may be more, of which nothing is said yet: room
    /// is made for them, and how many there are is the other side's choice.
    pub(crate) fn available(&self) -> usize {
        self.unread().min(CAPACITY)
    }

    /// How many bytes are there, however many these are.
    pub(crate) fn unread(&self) -> usize {
        let unread = rustix::io::ioctl_fionread(&self.socket).unwrap_or_default();
        usize::try_from(unread).unwrap_or(usize::MAX)
    }

    /// Reads what is there to the end of a buffer, but no more than `most` bytes, and says how many
    /// that were.
    pub(crate) fn read_into(&self, buffer: &mut impl BufMut, most: usize) -> usize {
        let mut read = 0;
        while read < most {
            match sys::receive_into(&self.socket, buffer, most - read) {
                Err(Errno::INTR) => {}
                // The end shows where it is looked for.
                Ok(0) | Err(_) => break,
                Ok(more) => read += more,
            }
        }
        read
    }

    /// Whether nothing more will come.
    pub(crate) fn is_closed(&self) -> bool {
        look(&self.socket) == Heard::End
    }

    /// Whether the other side is gone, or the socket is none any more: something in this process
    /// has closed it. Who ends a connection in order is still there.
    pub(crate) fn is_lost(&self) -> bool {
        !trouble(&self.socket).is_empty()
    }

    /// Waits until something has come or nothing more will, or for no reason.
    pub(crate) fn sleep(&self, timeout: Option<Duration>) {
        let mut files = [PollFd::new(&self.socket, PollFlags::IN)];
        // An interruption, the end of the time: all the same.
        let _ = poll(&mut files, timeout.map(sys::timespec).as_ref());
    }
}

/// Whether the other side is gone.
pub(crate) fn is_hung_up(socket: impl AsFd) -> bool {
    trouble(socket).contains(PollFlags::HUP)
}

/// What is reported although nobody has asked for it.
fn trouble(socket: impl AsFd) -> PollFlags {
    let mut files = [PollFd::new(&socket, PollFlags::empty())];
    match poll(&mut files, Some(&Timespec::default())) {
        Ok(_) | Err(Errno::INTR) => files[0].revents(),
        Err(_) => PollFlags::ERR,
    }
}

/// Looks whether there is something to read, which stays there.
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

    /// The parent's ends, and the worker's.
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
    fn what_was_written_is_there_after_the_writer_is_gone() {
        let [(calls, answers), (worker, unread)] = pair();
        // A call that it has not read makes its end a reset, which hides nothing of what it said.
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
    fn the_parent_does_not_wait_for_room_and_the_worker_does() {
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
        // While it has no room itself it takes in what the worker says.
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
    fn an_end_in_order_is_told_from_one_without_notice() {
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
    fn who_writes_to_nobody_is_told_if_it_waits() {
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
