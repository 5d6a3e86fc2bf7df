//! Reads into uninitialised memory, waits for events, and asks a socket for its maker.

use std::ffi::c_int;
use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use bytes::BufMut;
use rustix::event::epoll::{self, Event, EventData, EventFlags};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags};
use rustix::time::Timespec;

/// Reads at most `want` bytes and appends them to a buffer.
pub(crate) fn read_into(
    file: impl AsFd,
    buffer: &mut bytes::BytesMut,
    want: usize,
) -> rustix::io::Result<usize> {
    buffer.reserve(want);
    let (read, _) = rustix::io::read(file, &mut buffer.spare_capacity_mut()[..want])?;
    let read = read.len();
    // SAFETY: rustix has proved that so many bytes after the old ones are initialised.
    unsafe { buffer.set_len(buffer.len() + read) };
    Ok(read)
}

/// Receives at most `most` bytes without blocking and appends them to a buffer.
pub(crate) fn receive_into(
    socket: impl AsFd,
    buffer: &mut impl BufMut,
    most: usize,
) -> rustix::io::Result<usize> {
    let room = buffer.chunk_mut();
    let length = room.len().min(most);
    // SAFETY: nothing but the received bytes is written to the room, and these are initialised.
    let room = unsafe { &mut room.as_uninit_slice_mut()[..length] };
    let ((received, _), _) = rustix::net::recv(socket, room, RecvFlags::DONTWAIT)?;
    let received = received.len();
    // SAFETY: rustix has proved that so many bytes of the room are initialised.
    unsafe { buffer.advance_mut(received) };
    Ok(received)
}

/// Receives at most as many bytes as `room` has, and the file that comes with them, if there is one: `None` for one that
/// this process has no descriptor for.
pub(crate) fn receive_with_file(
    socket: impl AsFd,
    room: &mut [u8],
    files: &mut impl Extend<Option<OwnedFd>>,
) -> rustix::io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut parts = [IoSliceMut::new(room)];
    let received = rustix::net::recvmsg(socket, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let mut file = None;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(mut received) = message {
            file = received.next();
        }
    }
    if file.is_some() || received.flags.contains(ReturnFlags::CTRUNC) {
        files.extend([file]);
    }
    Ok(received.bytes)
}

/// Waits for events until the timeout expires.
pub(crate) fn wait_for_events(
    epoll: &OwnedFd,
    events: &mut [Event],
    timeout: Option<&Timespec>,
) -> rustix::io::Result<usize> {
    match epoll::wait(epoll, &mut *events, timeout) {
        // Emulators and system call filters may only know the older call, whose timeouts have a resolution of
        // milliseconds.
        Err(Errno::NOSYS | Errno::PERM) => {}
        waited => return waited,
    }
    poll(&mut [PollFd::new(epoll, PollFlags::IN)], timeout)?;
    let mut ready = [libc::epoll_event { events: 0, u64: 0 }; 64];
    let most = c_int::try_from(events.len().min(ready.len())).unwrap_or(0);
    // SAFETY: there is room for as many events as the call is told.
    let count = unsafe { libc::epoll_wait(epoll.as_raw_fd(), ready.as_mut_ptr(), most, 0) };
    let count = usize::try_from(count).unwrap_or(0);
    for (event, ready) in events.iter_mut().zip(&ready[..count]) {
        *event = Event {
            flags: EventFlags::from_bits_retain(ready.events),
            data: EventData::new_u64(ready.u64),
        };
    }
    Ok(count)
}

/// Returns the pid of the process that has created a connection, in the pid namespace of this process, or 0
/// if the process has no pid there.
pub(crate) fn maker_of(connection: impl AsFd) -> u32 {
    let mut maker = libc::ucred {
        pid: 0,
        uid: 0,
        gid: 0,
    };
    let mut length = size_of_val(&maker) as libc::socklen_t;
    // SAFETY: the pointers are to the credentials, which have room for as many bytes as the length says, and
    // to the length; both live until after the call.
    let _ = unsafe {
        libc::getsockopt(
            connection.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut maker).cast(),
            &raw mut length,
        )
    };
    u32::try_from(maker.pid).unwrap_or(0)
}
