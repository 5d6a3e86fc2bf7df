//! The bytes of the frames in one direction, whichever way they take: through a [ring], or through
//! the [socket]. Nothing above this knows which.
//!
//! Rings are what workers have. The socket takes their place where there is no memory for them,
//! and is what they are compared with in tests.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use bytes::BufMut;

use super::bell::{self, Heard};
use super::ring::{self, Corrupt, Parker, Sleep, Sleeper};
use super::socket;

/// The side that writes.
pub(crate) enum Writer {
    Ring(ring::Writer),
    Socket(socket::Writer),
}

impl Writer {
    /// Writes as many of the bytes as there is room for, and says how many. They need not be seen
    /// before they are [published](Self::publish).
    #[inline]
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<usize, Corrupt> {
        match self {
            Self::Ring(ring) => ring.write(bytes),
            Self::Socket(socket) => socket.write(bytes),
        }
    }

    /// Whether it is certain that so many bytes can be written at once, without being seen.
    #[inline]
    pub(crate) fn fits(&mut self, bytes: usize) -> Result<bool, Corrupt> {
        match self {
            Self::Ring(ring) => ring.fits(bytes),
            Self::Socket(_) => Ok(false),
        }
    }

    /// Writes a header and what follows it if there is room for both; whether there was. To be
    /// called by a worker only.
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

    /// Shows what was written, and wakes the reader if it sleeps. True if that takes the bell.
    #[inline]
    pub(crate) fn publish(&mut self) -> bool {
        match self {
            Self::Ring(ring) => ring.publish(),
            Self::Socket(_) => false,
        }
    }

    /// Shows what was written, without a look at whether the reader sleeps.
    #[inline]
    pub(crate) fn show(&mut self) {
        if let Self::Ring(ring) = self {
            ring.show();
        }
    }

    /// What wakes the reader, for another thread; `None` where the kernel does.
    pub(crate) fn sleeper(&self) -> Option<Sleeper> {
        match self {
            Self::Ring(ring) => Some(ring.sleeper()),
            Self::Socket(_) => None,
        }
    }

    /// Says that nothing more will be written. The end of the socket, which is up to the caller,
    /// says so as well.
    pub(crate) fn close(&mut self) {
        if let Self::Ring(ring) = self {
            let _ = ring.close();
        }
    }

    /// Says that room is waited for. False if there is some: then nobody will wake this side.
    #[inline]
    pub(crate) fn waits_for_room(&mut self, how: Sleep) -> Result<bool, Corrupt> {
        match self {
            Self::Ring(ring) => ring.waits_for_room(how),
            // What room there is the kernel tells as soon as it is asked.
            Self::Socket(_) => Ok(true),
        }
    }

    /// Whether the reader has made room. To be called by a worker only, as the next one.
    #[inline]
    pub(crate) fn has_room(&mut self) -> Result<bool, Corrupt> {
        match self {
            Self::Ring(ring) => ring.has_room(),
            // It waits where it writes.
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

/// The side that reads.
pub(crate) enum Reader {
    Ring(ring::Reader),
    Socket(socket::Reader),
}

impl Reader {
    /// Whether there is nothing to read.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        match self {
            Self::Ring(ring) => ring.is_empty(),
            Self::Socket(socket) => socket.is_empty(),
        }
    }

    /// How many bytes are there to be read: no more than fit into a ring.
    #[inline]
    pub(crate) fn available(&self) -> Result<usize, Corrupt> {
        match self {
            Self::Ring(ring) => ring.available(),
            Self::Socket(socket) => Ok(socket.available()),
        }
    }

    /// How many bytes there may be from a writer that is dead.
    pub(crate) fn left_behind(&self) -> usize {
        match self {
            Self::Ring(_) => ring::CAPACITY,
            Self::Socket(socket) => socket.unread(),
        }
    }

    /// Copies what is there to the end of a buffer, but no more than `most` bytes, and says how
    /// many that were. To be followed by a look at [`wakes`](Self::wakes).
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

    /// Wakes the writer if it waits for room. True if that takes the bell.
    #[inline]
    pub(crate) fn wakes(&self) -> bool {
        match self {
            Self::Ring(ring) => ring.wakes(),
            Self::Socket(_) => false,
        }
    }

    /// Whether nothing more will be written.
    pub(crate) fn is_closed(&self) -> bool {
        match self {
            Self::Ring(ring) => ring.is_closed(),
            Self::Socket(socket) => socket.is_closed(),
        }
    }

    /// Whether it is closed because the other side is gone, where that shows here.
    pub(crate) fn is_lost(&self) -> bool {
        match self {
            Self::Ring(_) => false,
            Self::Socket(socket) => socket.is_lost(),
        }
    }

    /// Takes note of what the other side has said through the socket, but for frames.
    pub(crate) fn hear(&self, socket: &OwnedFd) -> Heard {
        match self {
            Self::Ring(_) => bell::look(socket),
            Self::Socket(_) => socket::look(socket),
        }
    }

    /// Says that this side is about to sleep. False if there is something to read: then nobody
    /// need wake it. Who depends on it looks for [the end](Self::is_closed) as well.
    #[inline]
    pub(crate) fn sleeps(&self, how: Sleep) -> bool {
        match self {
            Self::Ring(ring) => ring.sleeps(how),
            Self::Socket(socket) => socket.is_empty(),
        }
    }

    /// Sleeps, if it has said so, until there is something to read or nothing more will be, until
    /// somebody [rouses](Self::bed) it, or for no reason.
    pub(crate) fn sleep(&self, timeout: Option<Duration>) {
        match self {
            Self::Ring(ring) => ring.sleep(timeout),
            Self::Socket(socket) => socket.sleep(timeout),
        }
    }

    /// Where this side sleeps, for others to see; `None` where only the kernel can wake it.
    pub(crate) fn parker(&self) -> Option<Parker> {
        match self {
            Self::Ring(ring) => Some(ring.parker()),
            Self::Socket(_) => None,
        }
    }

    /// Says that this side looks for itself.
    #[inline]
    pub(crate) fn disarm(&self) {
        if let Self::Ring(ring) = self {
            ring.disarm();
        }
    }
}

/// Both ends of a side that waits for no room: the parent's.
pub(crate) fn parent_ends(socket: &Arc<OwnedFd>) -> (Writer, Reader) {
    // What a worker sends out of band is a byte like any other. It would else be reported as there
    // to be read again and again, and never be read. A kernel that knows no such bytes has none.
    let _ = rustix::net::sockopt::set_socket_oobinline(socket, true);
    ends(socket, false)
}

/// Both ends of a side that waits for room: the worker's.
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

    use super::super::frame::{self, ANSWER_HEADER, AnswerHeader, Kind};
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

    /// What comes until the end or a breach, as the parent takes it in: tickets and payloads.
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
            let _ = reader.wakes();
            loop {
                if let Some(values) = frame::take_short(&mut frames) {
                    let mut ticket = taken.last().map_or(0, |(ticket, _)| *ticket);
                    let values: Vec<_> = match values {
                        Payload::One(value) => vec![value],
                        Payload::Several(values) => values.collect(),
                    };
                    taken.extend(values.into_iter().map(|value| {
                        ticket = ticket.wrapping_add(1);
                        (ticket, value.to_vec())
                    }));
                    continue;
                }
                match AnswerHeader::take(&mut frames, LIMIT) {
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

    /// The same answers, of all sizes, come out of both streams.
    #[test]
    fn whichever_way_they_take_the_same_answers_arrive() {
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

    /// A worker may write anything to its socket, in any pieces and with descriptors, and end at
    /// any byte: it is a message or a breach, and nobody panics or makes room for more than comes.
    #[test]
    fn whatever_a_worker_writes_to_its_socket_is_a_message_or_a_breach() {
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
