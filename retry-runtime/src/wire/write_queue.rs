//! A queue of bytes for a destination that may be full.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};

/// Payloads up to this size, in bytes, are copied next to their headers; larger ones are held by reference.
const COPIED: usize = 8 * 1024;

/// The maximum number of parts passed to one system call.
const PARTS: usize = 16;

/// Bytes in the order in which they are to be written.
#[derive(Default)]
pub(crate) struct WriteQueue {
    done: VecDeque<Bytes>,
    /// Files, each with the position of the byte that takes it along.
    files: VecDeque<(u64, Arc<OwnedFd>)>,
    /// The numbers of bytes that were ever pushed and written: positions count from the first one.
    pushed: u64,
    written: u64,
    /// The last part, to which small pieces are still appended.
    open: BytesMut,
}

impl WriteQueue {
    pub(crate) fn is_empty(&self) -> bool {
        self.done.is_empty() && self.open.is_empty()
    }

    /// Returns the number of queued bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.open.len() + self.done.iter().map(Bytes::len).sum::<usize>()
    }

    /// Appends a message that a file comes with. Only sockets take files along.
    pub(crate) fn push_with_file(&mut self, message: &[u8], file: Arc<OwnedFd>) {
        self.files.push_back((self.pushed, file));
        self.push(message, &Bytes::new());
    }

    pub(crate) fn push(&mut self, header: &[u8], payload: &Bytes) {
        self.pushed += (header.len() + payload.len()) as u64;
        self.open.extend_from_slice(header);
        if payload.len() <= COPIED {
            self.open.extend_from_slice(payload);
        } else {
            let open = self.open.split().freeze();
            self.done.push_back(open);
            self.done.push_back(payload.clone());
        }
    }

    /// Returns the next bytes to write.
    pub(crate) fn front(&mut self) -> Option<&Bytes> {
        if self.done.is_empty() && !self.open.is_empty() {
            let open = self.open.split().freeze();
            self.done.push_back(open);
        }
        self.done.front()
    }

    /// Removes bytes that have been written from the front.
    pub(crate) fn advance(&mut self, mut written: usize) {
        self.written += written as u64;
        while written > 0 {
            let Some(part) = self.done.front_mut() else {
                break;
            };
            let step = written.min(part.len());
            part.advance(step);
            written -= step;
            if part.is_empty() {
                self.done.pop_front();
            }
        }
    }

    /// Writes as much as the socket accepts. Returns true if the queue is now empty.
    pub(crate) fn write_to(&mut self, socket: impl AsFd) -> io::Result<bool> {
        loop {
            if !self.open.is_empty() {
                let open = self.open.split().freeze();
                self.done.push_back(open);
            }
            if self.done.is_empty() {
                return Ok(true);
            }
            let mut files = self.files.iter();
            let mut next = files.next();
            let file = next.filter(|(position, _)| *position == self.written);
            if file.is_some() {
                next = files.next();
            }
            // A call takes one file along: what goes with the next one is written by the next call.
            let mut most = next.map_or(u64::MAX, |(position, _)| position - self.written);
            let parts: Vec<IoSlice<'_>> = self
                .done
                .iter()
                .take(PARTS)
                .map_while(|part| {
                    let length =
                        usize::try_from(most).map_or(part.len(), |most| most.min(part.len()));
                    most -= length as u64;
                    (length > 0).then(|| IoSlice::new(&part[..length]))
                })
                .collect();
            let descriptor = file.map(|(_, file)| [file.as_fd()]);
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            if let Some(descriptor) = &descriptor {
                control.push(SendAncillaryMessage::ScmRights(descriptor));
            }
            let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
            let written = match rustix::net::sendmsg(&socket, &parts, &mut control, flags) {
                Ok(written) => written,
                // The other side has yet to take in many files.
                Err(Errno::AGAIN | Errno::TOOMANYREFS) => return Ok(false),
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            };
            if descriptor.is_some() {
                self.files.pop_front();
            }
            self.advance(written);
        }
    }
}

/// Writes both parts to a blocking socket. A file goes along with the first byte.
pub(crate) fn send_all(
    socket: impl AsFd,
    mut first: &[u8],
    mut second: &[u8],
    mut file: Option<BorrowedFd<'_>>,
) -> rustix::io::Result<()> {
    while !first.is_empty() || !second.is_empty() {
        let parts = [IoSlice::new(first), IoSlice::new(second)];
        let descriptor = file.map(|file| [file]);
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if let Some(descriptor) = &descriptor {
            control.push(SendAncillaryMessage::ScmRights(descriptor));
        }
        match rustix::net::sendmsg(&socket, &parts, &mut control, SendFlags::NOSIGNAL) {
            Ok(sent) => {
                file = None;
                let of_first = sent.min(first.len());
                first = &first[of_first..];
                second = &second[sent - of_first..];
            }
            Err(Errno::INTR) => {}
            // The kernel has no memory for it right now, or the other side has yet to take in many files.
            Err(Errno::NOBUFS | Errno::NOMEM | Errno::TOOMANYREFS) => std::thread::yield_now(),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
