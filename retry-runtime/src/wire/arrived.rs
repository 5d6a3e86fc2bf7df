//! What has arrived on the connection for nested calls: bytes, and the files that come with messages.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::os::fd::OwnedFd;

use bytes::BytesMut;

use super::message;
use crate::codec;
use crate::sys;

/// The number of bytes read at once.
const READ: usize = 64 * 1024;

/// The maximum number of files whose messages have not arrived. The kernel gives a file to the reader together with
/// the first byte of its message.
const FILES: usize = 16;

thread_local! {
    /// The kernel needs memory that is initialised, where files may arrive.
    static ROOM: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// What was read and not yet taken.
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
        ROOM.with_borrow_mut(|room| {
            room.resize(READ, 0);
            let read = sys::receive_with_file(socket, room, &mut self.files)?;
            self.bytes.extend_from_slice(&room[..read]);
            Ok(read)
        })
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
        message::take(&mut self.bytes, largest_head, limit)
    }

    /// Takes the file that comes with the message that was taken last.
    ///
    /// # Errors
    ///
    /// If there is none, which is a breach of the protocol.
    pub(crate) fn take_file(&mut self) -> Result<ReceivedFile, String> {
        let file = self.files.pop_front().ok_or("a message without its file")?;
        Ok(file.ok_or_else(|| "no file descriptor is left (ulimit -n)".to_owned()))
    }
}

/// A file, or why it could not be received.
pub(crate) type ReceivedFile = Result<OwnedFd, String>;
