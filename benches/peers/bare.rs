//! The bare peer: blocking reads and writes on a Unix socket, without any encoding.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use rustix::net::sockopt;

use crate::roles::{self, Ended};

pub(crate) const ROLE: &str = "--as=bare";

/// The size of the socket's buffers: more than this is not faster.
const BUFFER: usize = 4 * 1024 * 1024;

/// The memory in which the bare peer receives answers.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Answers {
    /// All answers share one buffer, which is allocated at the start.
    InOnePlace,
    /// Each answer has a buffer of its own, as a receiver that keeps it needs.
    InTheirOwn,
}

/// A process that sends each message of a fixed size back once it has received all of it.
pub(crate) struct Bare {
    socket: UnixStream,
    back: Vec<u8>,
    _process: Ended,
}

impl Bare {
    pub(crate) fn start(size: usize) -> Self {
        Self::answering(size, size)
    }

    /// Starts a process that answers messages of one size with messages of another one.
    pub(crate) fn answering(size: usize, answer: usize) -> Self {
        let (socket, process) = roles::start(ROLE, &format!("{size}/{answer}"));
        enlarge(&socket);
        Self {
            socket,
            back: vec![0; answer],
            _process: process,
        }
    }

    pub(crate) fn round_trip(&mut self, bytes: &[u8]) {
        self.trip(bytes, Answers::InOnePlace);
    }

    pub(crate) fn trip(&mut self, bytes: &[u8], answers: Answers) {
        self.socket.write_all(bytes).expect("the peer listens");
        self.take_in(answers);
    }

    fn take_in(&mut self, answers: Answers) {
        if answers == Answers::InTheirOwn {
            self.back = Vec::with_capacity(self.back.len());
            let size = self.back.capacity() as u64;
            let answer = (&mut self.socket).take(size).read_to_end(&mut self.back);
            assert_eq!(answer.expect("the peer answers") as u64, size);
        } else {
            let answer = self.socket.read_exact(&mut self.back);
            answer.expect("the peer answers");
        }
    }

    /// Sends the bytes this many times while it receives as many.
    pub(crate) fn stream(&mut self, bytes: &[u8], times: usize, answers: Answers) {
        let mut writing = self.socket.try_clone().expect("a descriptor");
        std::thread::scope(|scope| {
            scope.spawn(move || {
                for _ in 0..times {
                    writing.write_all(bytes).expect("the peer listens");
                }
            });
            for _ in 0..times {
                self.take_in(answers);
            }
        });
    }
}

fn enlarge(socket: &UnixStream) {
    // Only root may exceed the system's limit; a size within the limit is always set.
    let _ = sockopt::set_socket_send_buffer_size(socket, BUFFER);
    let _ = sockopt::set_socket_recv_buffer_size(socket, BUFFER);
    let _ = sockopt::set_socket_send_buffer_size_force(socket, BUFFER);
    let _ = sockopt::set_socket_recv_buffer_size_force(socket, BUFFER);
}

pub(crate) fn serve(mut socket: UnixStream) {
    enlarge(&socket);
    let sizes = std::env::args().nth(2).expect("the sizes of messages");
    let sizes = sizes.split_once('/').expect("two sizes");
    let size = |text: &str| text.parse().expect("a size");
    let (size, answer): (usize, usize) = (size(sizes.0), size(sizes.1));
    let mut bytes = vec![0; size.max(answer)];
    while socket.read_exact(&mut bytes[..size]).is_ok()
        && socket.write_all(&bytes[..answer]).is_ok()
    {}
}
