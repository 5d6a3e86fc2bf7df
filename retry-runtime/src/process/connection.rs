//! The connection to one worker, which the I/O thread and the threads that wait for answers share.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

use super::Pool;
use super::receive::ReceiveSide;
use super::sources::{SOCKET, Writable};
use crate::api::call_id::CallNumber;
use crate::local::link::Printed;
use crate::scheduler::WorkerKey;
use crate::wait::AnswerSource;
use crate::wait::end::End;
use crate::wire::bell::Heard;
use crate::wire::ring::Mapped;
use crate::wire::{bell, socket};

/// The connection on which a worker's answers arrive. The I/O thread looks there when the worker rings; a
/// thread that waits for an answer may look for it there itself, which saves a wake-up.
pub(crate) struct WorkerConnection {
    pub(crate) key: WorkerKey,
    pub(crate) socket: Arc<OwnedFd>,
    receiver: Mutex<ReceiveSide>,
    /// The number of threads that wait for the receive side.
    wanted: AtomicUsize,
    /// True while calls wait for room on their way to the worker.
    full: AtomicBool,
    /// The place where a waiting thread parks; `None` if frames come through the socket.
    pub(super) end: Option<End<Mapped>>,
    /// True while a waiter is registered: one that is parked at the ring, or about to park.
    has_waiter: AtomicBool,
    /// Makes the I/O thread notice when the socket has room.
    writable: Writable,
}

impl WorkerConnection {
    pub(super) fn new(socket: Arc<OwnedFd>, receiver: ReceiveSide, writable: Writable) -> Self {
        Self {
            key: receiver.key,
            socket,
            end: receiver.reader.end(),
            writable,
            receiver: Mutex::new(receiver),
            wanted: AtomicUsize::new(0),
            full: AtomicBool::new(false),
            has_waiter: AtomicBool::new(false),
        }
    }

    /// Locks the receive side. A thread that polls it lets go of it soon.
    pub(super) fn receiver(&self) -> MutexGuard<'_, ReceiveSide> {
        if let Some(receiver) = self.try_receiver() {
            return receiver;
        }
        let _wanted = self.want();
        self.receiver.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks the thread that polls the receive side to let go of it, as long as the result is kept.
    pub(super) fn want(&self) -> Wanted<'_> {
        self.wanted.fetch_add(1, Ordering::Relaxed);
        Wanted(self)
    }

    /// Locks the receive side, unless another thread holds it.
    pub(super) fn try_receiver(&self) -> Option<MutexGuard<'_, ReceiveSide>> {
        match self.receiver.try_lock() {
            Ok(receiver) => Some(receiver),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// Returns whether another thread waits for the receive side.
    pub(super) fn is_wanted(&self) -> bool {
        self.wanted.load(Ordering::Relaxed) > 0
    }

    /// Registers this thread as the one that parks at the ring, unless there is one already.
    pub(super) fn try_register_waiter(&self) -> bool {
        !self.has_waiter.swap(true, Ordering::AcqRel)
    }

    /// Returns whether a thread is parked at the ring, or about to park.
    pub(super) fn has_waiter(&self) -> bool {
        self.has_waiter.load(Ordering::Acquire)
    }

    /// Unregisters this thread. It has to have been registered.
    ///
    /// `swap`, not `store`: it must synchronise with the failed `swap` in `try_register_waiter`, so that
    /// a thread refused there is ordered before the next waiter.
    pub(super) fn unregister_waiter(&self) {
        self.has_waiter.swap(false, Ordering::AcqRel);
    }

    pub(super) fn is_full(&self) -> bool {
        self.full.load(Ordering::Relaxed)
    }

    /// Sends further calls that wait for room. Returns whether any of them were sent.
    pub(super) fn send_on(&self, pool: Pool<'_>) -> bool {
        self.is_full() && pool.engine.step(|core, _| core.flush(self.key))
    }

    /// Records whether calls wait for room. Called under the engine's lock.
    pub(crate) fn set_full(&self, full: bool) {
        if full != self.is_full() {
            self.full.store(full, Ordering::Relaxed);
            self.watch_room();
        }
    }

    /// Makes the I/O thread send further calls when the socket has room, as long as calls wait for that.
    /// Called under the engine's lock.
    pub(super) fn watch_room(&self) {
        if self.end.is_none() {
            let (worker, full) = (self.key.id, self.is_full());
            self.writable.set(&self.socket, worker, SOCKET, full);
        }
    }

    /// Returns what has arrived through the socket. Frames are left there.
    pub(super) fn hear(&self) -> Heard {
        match self.end {
            Some(_) => bell::look(&self.socket),
            None => socket::look(&self.socket),
        }
    }
}

impl Printed for WorkerConnection {
    fn last_line(&self) -> Option<(CallNumber, String)> {
        let receiver = self.receiver();
        let (call, line) = receiver.tail.last()?;
        Some((call, line.to_owned()))
    }
}

impl AnswerSource for WorkerConnection {
    fn announce_poll(&self) {
        if let Some(end) = &self.end {
            end.announce_poll();
        }
    }

    fn unpark(&self) {
        if let Some(end) = &self.end {
            end.unpark();
        }
    }
}

/// The request of a thread for the receive side, as long as it is kept.
pub(super) struct Wanted<'a>(&'a WorkerConnection);

impl Drop for Wanted<'_> {
    fn drop(&mut self) {
        self.0.wanted.fetch_sub(1, Ordering::Relaxed);
    }
}
