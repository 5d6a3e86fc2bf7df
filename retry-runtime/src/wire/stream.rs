//! One direction of frames, through either transport: a [ring], or the [socket]. The layers above do not know
//! which.
//!
//! Workers normally use rings. The socket takes their place where no shared memory can be had for them, and
//! tests compare the two.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use bytes::BufMut;

use super::Corrupt;
use super::bell::{self, Heard};
use super::ring::{self, Mapped};
use super::socket;
use crate::wait::end::{End, Sleep};

/// The writing side.
pub(crate) enum Writer {
    Ring(ring::Writer),
    Socket(socket::Writer),
}

impl Writer {
    /// Writes as many of the bytes as there is room for and returns their number. The reader may see them
    /// only once they are [published](Self::publish).
    #[inline]
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<usize, Corrupt> {
        match self {
            Self::Ring(ring) => ring.write(bytes),
            Self::Socket(socket) => socket.write(bytes),
        }
    }

    /// Returns whether `bytes` bytes are certain to be written at once without becoming visible.
    #[inline]
    pub(crate) fn fits(&mut self, bytes: usize) -> Result<bool, Corrupt> {
        match self {
            Self::Ring(ring) => ring.fits(bytes),
            Self::Socket(_) => Ok(false),
        }
    }

    /// Writes a header and a payload if there is room for both. Returns whether there was. For workers only.
    #[inline]
    pub(crate) fn write_whole<const H: usize>(
        &mut self,
        header: &[u8; H],
        payload: &[u8],
    ) -> Result<bool, Corrupt> {
        match self {
            Self::Ring(ring) => ring.write_whole(header, payload),
            Self::Socket(socket) => socket.write_all(header, payload).map(|()| true),
        }
    }

    /// Publishes the written bytes and wakes the reader if it sleeps. Returns true if the caller must ring
    /// the bell.
    #[inline]
    pub(crate) fn publish(&mut self) -> bool {
        match self {
            Self::Ring(ring) => ring.publish(),
            Self::Socket(_) => false,
        }
    }

    /// Publishes the written bytes without checking whether the reader sleeps.
    #[inline]
    pub(crate) fn show(&mut self) {
        if let Self::Ring(ring) = self {
            ring.show();
        }
    }

    /// Returns the reader's end, with which another thread can wake the reader, or `None` where the kernel
    /// wakes it.
    pub(crate) fn reader_end(&self) -> Option<End<Mapped>> {
        match self {
            Self::Ring(ring) => Some(ring.reader_end()),
            Self::Socket(_) => None,
        }
    }

    /// Marks the stream as closed. Closing the socket, which is up to the caller, has the same meaning.
    pub(crate) fn close(&mut self) {
        if let Self::Ring(ring) = self {
            let _ = ring.close();
        }
    }

    /// Announces that the writer waits for room. Returns false if there is room: then the reader will not
    /// wake the writer.
    #[inline]
    pub(crate) fn try_arm(&mut self, how: Sleep) -> Result<bool, Corrupt> {
        match self {
            Self::Ring(ring) => ring.try_arm(how),
            // The kernel reports room as soon as it is polled for it.
            Self::Socket(_) => Ok(true),
        }
    }

    /// Returns whether the reader has made room. For workers only, as is the next method.
    #[inline]
    pub(crate) fn has_room(&mut self) -> Result<bool, Corrupt> {
        match self {
            Self::Ring(ring) => ring.has_room(),
            // A worker's write to the socket blocks until there is room.
            Self::Socket(_) => Ok(true),
        }
    }

    /// Sleeps until the reader has made room.
    pub(crate) fn sleep_for_room(&mut self) -> Result<(), Corrupt> {
        match self {
            Self::Ring(ring) => ring.sleep_for_room(),
            Self::Socket(_) => Ok(()),
        }
    }
}

/// The reading side.
pub(crate) enum Reader {
    Ring(ring::Reader),
    Socket(socket::Reader),
}

impl Reader {
    /// Returns whether there is nothing to read.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        match self {
            Self::Ring(ring) => ring.is_empty(),
            Self::Socket(socket) => socket.is_empty(),
        }
    }

    /// Returns the number of bytes that can be read: at most the capacity of a ring.
    #[inline]
    pub(crate) fn available(&self) -> Result<usize, Corrupt> {
        match self {
            Self::Ring(ring) => ring.available(),
            Self::Socket(socket) => Ok(socket.available()),
        }
    }

    /// Returns an upper bound on the bytes that a dead writer has left.
    pub(crate) fn left_behind(&self) -> usize {
        match self {
            Self::Ring(_) => ring::CAPACITY,
            Self::Socket(socket) => socket.unread(),
        }
    }

    /// Reads at most `most` of the available bytes, appends them to a buffer and returns their number. The
    /// caller must call [`wake_writer`](Self::wake_writer) afterwards.
    #[inline]
    pub(crate) fn read_into(
        &mut self,
        buffer: &mut impl BufMut,
        most: usize,
    ) -> Result<usize, Corrupt> {
        match self {
            Self::Ring(ring) => ring.read_into(buffer, most),
            Self::Socket(socket) => Ok(socket.read_into(buffer, most)),
        }
    }

    /// Wakes the writer if it waits for room. Returns true if the caller must ring the bell.
    #[inline]
    pub(crate) fn wake_writer(&self) -> bool {
        match self {
            Self::Ring(ring) => ring.wake_writer(),
            Self::Socket(_) => false,
        }
    }

    /// Returns whether nothing more will be written.
    pub(crate) fn is_closed(&self) -> bool {
        match self {
            Self::Ring(ring) => ring.is_closed(),
            Self::Socket(socket) => socket.is_closed(),
        }
    }

    /// Returns whether the stream is closed because the other side is gone, where the transport shows that.
    pub(crate) fn is_lost(&self) -> bool {
        match self {
            Self::Ring(_) => false,
            Self::Socket(socket) => socket.is_lost(),
        }
    }

    /// Consumes what the other side has signalled through the socket, except for frames, and returns what it
    /// was.
    pub(crate) fn hear(&self, socket: &OwnedFd) -> Heard {
        match self {
            Self::Ring(_) => bell::look(socket),
            Self::Socket(_) => socket::look(socket),
        }
    }

    /// Announces that the reader is about to sleep. Returns false if there is something to read: then the
    /// writer need not wake the reader. A caller that depends on the end of the stream must check
    /// [`is_closed`](Self::is_closed) as well.
    #[inline]
    pub(crate) fn try_arm(&self, how: Sleep) -> bool {
        match self {
            Self::Ring(ring) => ring.try_arm(how),
            Self::Socket(socket) => socket.is_empty(),
        }
    }

    /// Sleeps, if [`try_arm`](Self::try_arm) has announced it, until there is something to read, the stream
    /// ends, another thread calls [`End::unpark`], or the timeout expires. May return spuriously.
    pub(crate) fn sleep(&self, timeout: Option<Duration>) {
        match self {
            Self::Ring(ring) => ring.end().park(timeout),
            Self::Socket(socket) => socket.sleep(timeout),
        }
    }

    /// Returns the place where the reader sleeps, for use by other threads, or `None` where only the kernel
    /// can wake it.
    pub(crate) fn end(&self) -> Option<End<Mapped>> {
        match self {
            Self::Ring(ring) => Some(ring.end().clone()),
            Self::Socket(_) => None,
        }
    }

    /// Withdraws the announcement of sleep: the reader polls.
    #[inline]
    pub(crate) fn disarm(&self) {
        if let Self::Ring(ring) = self {
            ring.end().disarm();
        }
    }
}

/// Returns both ends for a side that never blocks on room: the parent.
pub(crate) fn parent_ends(socket: &Arc<OwnedFd>) -> (Writer, Reader) {
    // Treat out-of-band bytes from a worker like any others. Otherwise the kernel would report them as
    // readable again and again, and no read would return them. A kernel that does not support them never has
    // any.
    let _ = rustix::net::sockopt::set_socket_oobinline(socket, true);
    ends(socket, false)
}

/// Returns both ends for a side that blocks until there is room: a worker.
pub(crate) fn worker_ends(socket: &Arc<OwnedFd>) -> (Writer, Reader) {
    ends(socket, true)
}

fn ends(socket: &Arc<OwnedFd>, waits: bool) -> (Writer, Reader) {
    (
        Writer::Socket(socket::Writer::new(Arc::clone(socket), waits)),
        Reader::Socket(socket::Reader::new(Arc::clone(socket))),
    )
}

#[cfg(test)]
mod tests {
    use std::io::IoSlice;
    use std::mem::MaybeUninit;
    use std::os::fd::AsFd;

    use rustix::net::{
        AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags,
        SocketType,
    };

    use super::super::frame::{ANSWER_HEADER, AnswerHeader, Kind};
    use super::super::frame_reader::FrameReader;
    use super::super::{ControlBlock, Transport};
    use super::*;
    use crate::codec::payload::Payload;

    const LIMIT: usize = 3 * 1024 * 1024;

    fn sockets() -> (Arc<OwnedFd>, Arc<OwnedFd>) {
        let (family, flags) = (AddressFamily::UNIX, SocketFlags::CLOEXEC);
        let pair = rustix::net::socketpair(family, SocketType::STREAM, flags, None).unwrap();
        (Arc::new(pair.0), Arc::new(pair.1))
    }

    /// Takes in frames until the end of the stream or a breach of the protocol, as the parent does. Returns
    /// tickets and payloads.
    fn take_in(reader: &mut Reader, mut over: impl FnMut() -> bool) -> Vec<(u64, Vec<u8>)> {
        let mut frames = FrameReader::default();
        let mut taken: Vec<(u64, Vec<u8>)> = Vec::new();
        loop {
            let ended = over();
            if reader.is_empty() {
                if ended {
                    return taken;
                }
                std::thread::yield_now();
                continue;
            }
            let read = frames.read(reader, ANSWER_HEADER, LIMIT, LIMIT);
            assert!(read.unwrap() <= ring::CAPACITY);
            let _ = reader.wake_writer();
            loop {
                if let Some(values) = frames.take_short() {
                    let mut ticket = taken.last().map_or(0, |(ticket, _)| *ticket);
                    let values: Vec<_> = match values {
                        Payload::Several(values) => values.collect(),
                        one => vec![one.into_one()],
                    };
                    taken.extend(values.into_iter().map(|value| {
                        ticket = ticket.wrapping_add(1);
                        (ticket, value.to_vec())
                    }));
                    continue;
                }
                match frames.take_answer(LIMIT) {
                    Ok(Some((header, payload))) => {
                        assert_eq!(header.length as usize, payload.len());
                        taken.push((header.ticket, payload.to_vec()));
                    }
                    Ok(None) => break,
                    Err(_) => return taken,
                }
            }
        }
    }

    /// The same answers, of all sizes, come out of both transports.
    #[test]
    fn both_transports_deliver_the_same_answers() {
        let seed = fastrand::u64(..);
        println!("seed {seed}");
        let mut random = fastrand::Rng::with_seed(seed);
        let answers: Vec<Vec<u8>> = (0..400)
            .map(|_| {
                let length = match random.u8(..20) {
                    0 => random.usize(..LIMIT),
                    1..4 => random.usize(..100_000),
                    _ => random.usize(..100),
                };
                vec![random.u8(..); length]
            })
            .collect();
        for transport in [Transport::Rings, Transport::Socket] {
            let (control, file) = ControlBlock::create(transport).unwrap();
            let theirs = ControlBlock::map(&file, transport).unwrap();
            let (socket, other) = sockets();
            let (_calls, mut reader) = control.parent_ends(&socket);
            let sent = answers.clone();
            let worker = std::thread::spawn(move || {
                let (mut writer, _calls) = theirs.worker_ends(&other);
                for (ticket, payload) in (1..).zip(sent) {
                    let header = AnswerHeader {
                        length: u32::try_from(payload.len()).unwrap(),
                        kind: Kind::Ok,
                        used_up: false,
                        ticket,
                        duration: 0,
                    };
                    write(&mut writer, &header.encode());
                    write(&mut writer, &payload);
                    let _ = writer.publish();
                }
            });
            let expected: Vec<(u64, Vec<u8>)> = (1..).zip(answers.clone()).collect();
            assert!(take_in(&mut reader, || worker.is_finished()) == expected);
            worker.join().unwrap();
        }
    }

    fn write(writer: &mut Writer, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let written = writer
                .write(&bytes[..bytes.len().min(ring::PIECE)])
                .unwrap();
            bytes = &bytes[written..];
            if written == 0 {
                let _ = writer.publish();
                writer.sleep_for_room().unwrap();
            }
        }
    }

    /// A worker may write any bytes to its socket, in any pieces and with descriptors, and end at any byte.
    /// The parent takes them as messages or detects a breach; it never panics, and never allocates more than
    /// has arrived.
    #[test]
    fn arbitrary_bytes_on_the_socket_never_panic_the_parent() {
        let seed = fastrand::u64(..);
        println!("seed {seed}");
        let mut random = fastrand::Rng::with_seed(seed);
        for _ in 0..500 {
            let (socket, worker) = sockets();
            let (mut calls, mut reader) = parent_ends(&socket);
            for _ in 0..random.usize(..20) {
                let mut bytes = vec![0u8; random.usize(1..200)];
                random.fill(&mut bytes);
                if random.u8(..4) > 0 && bytes.len() > ANSWER_HEADER {
                    let header = AnswerHeader {
                        length: random.u32(..150),
                        kind: Kind::Ok,
                        used_up: random.bool(),
                        ticket: random.u64(..),
                        duration: random.u64(..),
                    };
                    bytes[..ANSWER_HEADER].copy_from_slice(&header.encode());
                }
                let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
                let mut control = SendAncillaryBuffer::new(&mut space);
                let files = [worker.as_fd()];
                if random.u8(..8) == 0 {
                    control.push(SendAncillaryMessage::ScmRights(&files));
                }
                let mut flags = SendFlags::DONTWAIT;
                if random.u8(..8) == 0 {
                    flags |= SendFlags::OOB;
                }
                let parts = [IoSlice::new(&bytes)];
                rustix::net::sendmsg(&worker, &parts, &mut control, flags).unwrap();
            }
            if random.bool() {
                drop(worker);
                calls.write(b"too late").unwrap();
            }
            let most = reader.left_behind();
            let taken = take_in(&mut reader, || true);
            assert!(
                taken
                    .iter()
                    .map(|(_, payload)| payload.len())
                    .sum::<usize>()
                    <= most
            );
        }
    }
}
