//! Buffers what the connection for nested calls has received: bytes, and the files that come with messages.

use std::cell::Cell;
use std::collections::VecDeque;
use std::os::fd::OwnedFd;

use bytes::BytesMut;

use super::message;
use crate::codec;
use crate::sys;

/// The number of bytes read at once.
const READ: usize = 64 * 1024;

/// From this size on, the memory of a message is not used for the next one.
const LARGE: usize = 1024 * 1024;

/// The maximum number of files whose messages have not arrived. The kernel gives a file to the reader together with
/// the first byte of its message.
const FILES: usize = 16;

thread_local! {
    /// The kernel needs memory that is initialised, where files may arrive.
    static ROOM: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// The bytes and files that were read and not yet taken.
#[derive(Default)]
pub(crate) struct Arrived {
    bytes: BytesMut,
    files: VecDeque<Option<OwnedFd>>,
}

impl Arrived {
    /// Reads more, of which `limit` bounds what is read at once. Returns the number of bytes, zero at the end of the
    /// connection.
    pub(crate) fn read(&mut self, socket: &OwnedFd, limit: usize) -> rustix::io::Result<usize> {
        let want = message::wanted(&self.bytes, READ, limit.max(READ));
        if want > READ {
            // These bytes belong to one message, of which only the first one may take a file along.
            return sys::read_into(socket, &mut self.bytes, want);
        }
        // A thread that ends may have none any more.
        let mut room = ROOM.try_with(Cell::take).unwrap_or_default();
        room.resize(READ, 0);
        let read = sys::receive_with_file(socket, &mut room, &mut self.files);
        if let Ok(read) = read {
            self.bytes.extend_from_slice(&room[..read]);
        }
        let _ = ROOM.try_with(|kept| kept.set(room));
        read
    }

    /// Takes a whole message from the front, if there is one.
    pub(crate) fn take<H: codec::Wire>(
        &mut self,
        largest_head: usize,
        limit: usize,
    ) -> Result<Option<(H, bytes::Bytes)>, String> {
        if self.files.len() > FILES {
            return Err("files without messages".to_owned());
        }
        let taken = message::take(&mut self.bytes, largest_head, limit)?;
        if let Some((_, payload)) = &taken
            && payload.len() >= LARGE
        {
            // The memory is that of the message alone from now on, and is freed with it.
            self.bytes = BytesMut::from(&self.bytes[..]);
        }
        Ok(taken)
    }

    /// Takes the file that comes with the message that was taken last.
    ///
    /// # Errors
    ///
    /// If there is none, which is a breach of the protocol.
    pub(crate) fn take_file(&mut self) -> Result<ReceivedFile, String> {
        let file = self.files.pop_front().ok_or("a message without its file")?;
        Ok(file.ok_or_else(|| NO_DESCRIPTOR.to_owned()))
    }
}

/// The reason for which a file cannot be received where the process has too many already.
pub(crate) const NO_DESCRIPTOR: &str = "no file descriptor is left (ulimit -n)";

/// A file, or why it could not be received.
pub(crate) type ReceivedFile = Result<OwnedFd, String>;

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::sync::Arc;

    use bytes::Bytes;
    use rustix::net::{AddressFamily, SocketFlags, SocketType};
    use serde::{Deserialize, Serialize};

    use super::*;
    use crate::wire::write_queue::{WriteQueue, send_all};

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Head {
        number: u64,
        has_file: bool,
    }

    fn sockets() -> (OwnedFd, OwnedFd) {
        let (family, flags) = (AddressFamily::UNIX, SocketFlags::CLOEXEC);
        rustix::net::socketpair(family, SocketType::STREAM, flags, None).unwrap()
    }

    /// Returns a file that contains a number.
    fn file(number: u64) -> OwnedFd {
        let file = rustix::fs::memfd_create("test", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
        rustix::io::pwrite(&file, &number.to_le_bytes(), 0).unwrap();
        file
    }

    fn number_in(file: &OwnedFd) -> u64 {
        let mut bytes = [0; 8];
        rustix::io::pread(file, &mut bytes, 0).unwrap();
        u64::from_le_bytes(bytes)
    }

    /// However the kernel divides what is written, each message gets the file that was sent with it.
    #[test]
    fn each_message_has_its_own_file() {
        let seed = fastrand::u64(..);
        println!("seed {seed}");
        for waits in [false, true] {
            let (ours, theirs) = sockets();
            let writer = std::thread::spawn(move || {
                let mut random = fastrand::Rng::with_seed(seed);
                let mut queue = WriteQueue::default();
                for number in 0..2000 {
                    let has_file = random.u8(..4) == 0;
                    let size = match random.u8(..20) {
                        0 => random.usize(..300_000),
                        _ => random.usize(..100),
                    };
                    let payload = Bytes::from(vec![number as u8; size]);
                    let head = message::encode(&Head { number, has_file }, payload.len());
                    if waits {
                        let file = has_file.then(|| file(number));
                        let file = file.as_ref().map(AsFd::as_fd);
                        send_all(&ours, &head, &payload, file).unwrap();
                        continue;
                    }
                    if has_file {
                        let message = [&head[..], &payload].concat();
                        queue.push_with_file(&message, Arc::new(file(number)));
                    } else {
                        queue.push(&head, &payload);
                    }
                    while random.bool() && !queue.write_to(&ours).unwrap() {}
                }
                while !queue.write_to(&ours).unwrap() {
                    std::thread::yield_now();
                }
            });
            let mut arrived = Arrived::default();
            let mut next = 0;
            while arrived.read(&theirs, 1 << 20).unwrap() > 0 {
                while let Some((head, payload)) = arrived.take::<Head>(100, 1 << 20).unwrap() {
                    assert_eq!(head.number, next);
                    assert!(payload.iter().all(|byte| *byte == next as u8));
                    if head.has_file {
                        let file = arrived.take_file().unwrap().unwrap();
                        assert_eq!(number_in(&file), next);
                    }
                    next += 1;
                }
            }
            writer.join().unwrap();
            assert_eq!(next, 2000);
            assert!(arrived.files.is_empty());
        }
    }

    #[test]
    fn the_memory_of_a_large_message_is_freed_with_it() {
        let (ours, theirs) = sockets();
        let writer = std::thread::spawn(move || {
            for number in 0..3 {
                let payload = Bytes::from(vec![1; 2 * LARGE]);
                let has_file = false;
                let head = message::encode(&Head { number, has_file }, payload.len());
                send_all(&ours, &head, &payload, None).unwrap();
            }
        });
        let mut arrived = Arrived::default();
        let mut next = 0;
        while arrived.read(&theirs, 4 * LARGE).unwrap() > 0 {
            while let Some((head, payload)) = arrived.take::<Head>(100, 4 * LARGE).unwrap() {
                assert_eq!((head.number, payload.len()), (next, 2 * LARGE));
                drop(payload);
                assert!(arrived.bytes.capacity() < LARGE);
                next += 1;
            }
        }
        writer.join().unwrap();
        assert_eq!(next, 3);
    }

    /// Files without messages, messages without files and other bytes are errors, and nothing else happens.
    #[test]
    fn files_and_bytes_in_any_order_never_panic() {
        let seed = fastrand::u64(..);
        println!("seed {seed}");
        let mut random = fastrand::Rng::with_seed(seed);
        for _ in 0..300 {
            let (ours, theirs) = sockets();
            for number in 0..random.u64(..40) {
                let has_file = random.bool();
                let mut bytes = message::encode(&Head { number, has_file }, 0);
                if random.u8(..8) == 0 {
                    random.fill(&mut bytes);
                }
                let file = random.bool().then(|| file(number));
                let file = file.as_ref().map(AsFd::as_fd);
                let end = random.usize(1..=bytes.len());
                send_all(&ours, &bytes[..end], &[], file).unwrap();
            }
            drop(ours);
            let mut arrived = Arrived::default();
            'connection: while arrived.read(&theirs, 1 << 20).is_ok_and(|read| read > 0) {
                loop {
                    match arrived.take::<Head>(100, 1000) {
                        Ok(Some((head, _))) if head.has_file => {
                            if arrived.take_file().is_err() {
                                break 'connection;
                            }
                        }
                        Ok(Some(_)) => {}
                        Ok(None) => break,
                        Err(_) => break 'connection,
                    }
                }
                assert!(arrived.files.len() <= FILES + 1);
            }
        }
    }
}
