//! The connection to one worker, which the I/O thread and the threads that wait for answers share.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

use super::Pool;
use super::receive::ReceiveSide;
use super::sources::{SOCKET, Writable};
use crate::scheduler::WorkerKey;
use crate::wait::AnswerSource;
use crate::wire::bell::Heard;
use crate::wire::ring::Parker;
use crate::wire::{bell, socket};

/// Where a worker's answers arrive. The I/O thread looks there when the worker wakes it; who
/// waits for an answer may look for it there itself, which wakes nobody.
pub(crate) struct WorkerConnection {
    pub(crate) key: WorkerKey,
    pub(crate) socket: Arc<OwnedFd>,
    receiver: Mutex<ReceiveSide>,
    /// How many threads wait for the peer.
    wanted: AtomicUsize,
    /// Whether calls wait for room on their way to the worker.
    full: AtomicBool,
    /// Where a thread sleeps that waits for an answer; nowhere if frames come through the socket.
    pub(super) parker: Option<Parker>,
    /// Whether there is one.
    occupied: AtomicBool,
    /// What tells that the socket has room.
    writable: Writable,
}

impl WorkerConnection {
    pub(super) fn new(socket: Arc<OwnedFd>, receiver: ReceiveSide, writable: Writable) -> Self {
        Self {
            key: receiver.key,
            socket,
            parker: receiver.reader.parker(),
            writable,
            receiver: Mutex::new(receiver),
            wanted: AtomicUsize::new(0),
            full: AtomicBool::new(false),
            occupied: AtomicBool::new(false),
        }
    }

    /// The peer, as soon as whoever looks for answers there lets go of it.
    pub(super) fn receiver(&self) -> MutexGuard<'_, ReceiveSide> {
        if let Some(receiver) = self.try_receiver() {
            return receiver;
        }
        let _wanted = self.want();
        self.receiver.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has whoever looks for answers let go of the peer.
    pub(super) fn want(&self) -> Wanted<'_> {
        self.wanted.fetch_add(1, Ordering::Relaxed);
        Wanted(self)
    }

    /// The peer, unless somebody looks for answers there already.
    pub(super) fn try_receiver(&self) -> Option<MutexGuard<'_, ReceiveSide>> {
        match self.receiver.try_lock() {
            Ok(receiver) => Some(receiver),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// Whether another thread waits for the peer.
    pub(super) fn is_wanted(&self) -> bool {
        self.wanted.load(Ordering::Relaxed) > 0
    }

    /// Lets one thread at a time sleep here.
    pub(super) fn try_register_waiter(&self) -> bool {
        !self.occupied.swap(true, Ordering::AcqRel)
    }

    /// Whether a thread sleeps here, or is about to.
    pub(super) fn has_waiter(&self) -> bool {
        self.occupied.load(Ordering::Acquire)
    }

    /// An exchange and not a store: whoever is refused before it has spared the bell before what comes
    /// after it.
    pub(super) fn unregister_waiter(&self) {
        self.occupied.swap(false, Ordering::AcqRel);
    }

    pub(super) fn is_full(&self) -> bool {
        self.full.load(Ordering::Relaxed)
    }

    /// Goes on with calls that wait for room; whether some of that was sent.
    pub(super) fn sends_on(&self, pool: Pool<'_>) -> bool {
        self.is_full() && pool.engine.step(|core, _| core.flush(self.key))
    }

    /// To be called under the engine's lock.
    pub(crate) fn set_full(&self, full: bool) {
        if full != self.is_full() {
            self.full.store(full, Ordering::Relaxed);
            self.watch_room();
        }
    }

    /// Has the I/O thread go on writing when the socket has room, while that is waited for. To be
    /// called under the engine's lock.
    pub(super) fn watch_room(&self) {
        if self.parker.is_none() {
            let (worker, full) = (self.key.id, self.is_full());
            self.writable.set(&self.socket, worker, SOCKET, full);
        }
    }

    /// What the worker has said through the socket. Frames are left there.
    pub(super) fn hear(&self) -> Heard {
        match self.parker {
            Some(_) => bell::look(&self.socket),
            None => socket::look(&self.socket),
        }
    }
}

impl AnswerSource for WorkerConnection {
    fn will_be_polled(&self) {
        if let Some(parker) = &self.parker {
            parker.announce_poll();
        }
    }

    fn unpark(&self) {
        if let Some(parker) = &self.parker {
            parker.unpark();
        }
    }
}

/// As long as this is there a thread waits for a peer.
pub(super) struct Wanted<'a>(&'a WorkerConnection);

impl Drop for Wanted<'_> {
    fn drop(&mut self) {
        self.0.wanted.fetch_sub(1, Ordering::Relaxed);
    }
}
