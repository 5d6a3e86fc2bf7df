//! The content of a shared value, and the processes that have it.

use std::any::Any;
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use serde::{Deserialize, Serialize};

use super::registry::{self, Made};
use crate::sys::{Mark, OwnedFd, SealedMemory, StagedMemory};

/// Identifies a shared value within the processes of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct ObjectId {
    /// The worker that has made the value, or zero for the program.
    pub(crate) maker: u64,
    pub(crate) number: u64,
}

/// Memory that the parent of this worker has sent.
pub(crate) enum Received {
    Sealed(SealedMemory),
    /// A file in which the parent stages arguments, and its length.
    Staged(StagedMemory, usize),
}

/// A worker that has mapped shared values.
pub(crate) trait Holder: Send + Sync {
    /// Tells the worker that no call will name a shared value any more. Must not wait, and must not take the lock
    /// of an engine, which the caller may hold.
    fn forget(&self, object: ObjectId, mapped_length: usize);
}

/// Memory that other processes can map.
enum Memory {
    /// That of a shared value.
    Sealed(Arc<SealedMemory>),
    /// A file in which this process stages arguments, and its length.
    Staging(Arc<OwnedFd>, usize),
    /// A file in which the parent of this worker does.
    Staged(Arc<StagedMemory>, usize),
}

/// The way in which another process gets the memory of an object.
pub(crate) enum Handed<'a> {
    Copied(&'a [u8]),
    Sealed(&'a Arc<OwnedFd>),
    Staging(&'a Arc<OwnedFd>),
}

/// A shared value, without its type, or a file in which arguments are staged.
pub struct Object {
    id: ObjectId,
    memory: Memory,
    /// The value as its type needs it. It is empty again where too much memory is taken by values of this kind.
    held: Mutex<Option<Arc<dyn Any + Send + Sync>>>,
    holders: Mutex<Vec<Weak<dyn Holder>>>,
    /// Identifies the process that has made the object, or has received it.
    mark: Mark,
    /// Set in a worker if its parent has the object, and not only this process.
    came_from_parent: bool,
    /// The number of times that the parent has lent the object to this worker. The parent keeps it until the worker
    /// gives it back.
    lent: AtomicU32,
}

impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Object").field(&self.id).finish()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn next_id() -> ObjectId {
    // A forked child goes on counting, so that its objects are not taken for those that it has inherited.
    static LAST: AtomicU64 = AtomicU64::new(0);
    ObjectId {
        maker: registry::this_worker(),
        number: LAST.fetch_add(1, Ordering::Relaxed) + 1,
    }
}

impl Object {
    /// Makes a new object. Calls of this process may name it.
    pub(crate) fn new(memory: SealedMemory) -> Arc<Self> {
        let object = Self::adopted(next_id(), memory);
        if object.is_made_by_this_worker() {
            registry::count_made(Made::New(object.mapped_length() as u64));
        }
        object
    }

    /// Makes an object of a file in which this process stages arguments.
    pub(super) fn staging(file: OwnedFd, length: usize) -> Arc<Self> {
        let object = Self::with(next_id(), Memory::Staging(Arc::new(file), length), false);
        registry::add(&object);
        object
    }

    /// Makes an object of memory that a worker has sent. Calls of this process may name it.
    pub(crate) fn adopted(id: ObjectId, memory: SealedMemory) -> Arc<Self> {
        let object = Self::with(id, Memory::Sealed(Arc::new(memory)), false);
        registry::add(&object);
        object
    }

    /// Makes an object of memory that the parent of this worker has sent.
    pub(crate) fn received(id: ObjectId, memory: Received) -> Arc<Self> {
        let memory = match memory {
            Received::Sealed(memory) => Memory::Sealed(Arc::new(memory)),
            Received::Staged(memory, length) => Memory::Staged(Arc::new(memory), length),
        };
        Self::with(id, memory, true)
    }

    fn with(id: ObjectId, memory: Memory, came_from_parent: bool) -> Arc<Self> {
        Arc::new(Self {
            id,
            memory,
            held: Mutex::default(),
            holders: Mutex::default(),
            mark: Mark::current(),
            came_from_parent,
            lent: AtomicU32::new(0),
        })
    }

    pub(crate) fn id(&self) -> ObjectId {
        self.id
    }

    /// Returns the memory of a shared value; `None` if this is something else.
    pub(crate) fn sealed(&self) -> Option<&Arc<SealedMemory>> {
        match &self.memory {
            Memory::Sealed(memory) => Some(memory),
            Memory::Staging(..) | Memory::Staged(..) => None,
        }
    }

    /// Returns the memory in which arguments are staged; `None` if this is something else.
    pub(super) fn staged(&self) -> Option<io::Result<Arc<StagedMemory>>> {
        match &self.memory {
            Memory::Sealed(_) => None,
            // This process reads arguments only to show them.
            Memory::Staging(file, length) => {
                Some(StagedMemory::map(file, *length as u64).map(Arc::new))
            }
            Memory::Staged(memory, _) => Some(Ok(Arc::clone(memory))),
        }
    }

    /// Returns the way in which another process gets the memory; `None` if the memory is the other's.
    pub(crate) fn handed(&self) -> Option<Handed<'_>> {
        match &self.memory {
            Memory::Sealed(memory) => Some(match memory.file() {
                Some(file) => Handed::Sealed(file),
                None => Handed::Copied(memory.bytes()),
            }),
            Memory::Staging(file, _) => Some(Handed::Staging(file)),
            Memory::Staged(..) => None,
        }
    }

    pub(crate) fn length(&self) -> usize {
        match &self.memory {
            Memory::Sealed(memory) => memory.bytes().len(),
            Memory::Staging(_, length) | Memory::Staged(_, length) => *length,
        }
    }

    /// Returns how many bytes a worker maps that has the object: none of one that is copied to it.
    pub(crate) fn mapped_length(&self) -> usize {
        match &self.memory {
            Memory::Sealed(memory) if memory.is_copied() => 0,
            _ => self.length(),
        }
    }

    fn is_made_by_this_worker(&self) -> bool {
        self.id.maker != 0 && self.id.maker == registry::this_worker() && !self.came_from_parent
    }

    /// Returns whether the parent of this worker has sent the object, which may still have been made here.
    pub(crate) fn came_from_parent(&self) -> bool {
        self.came_from_parent
    }

    /// Notes that the parent has lent the object to this worker once more.
    pub(super) fn note_lent(&self) {
        self.lent.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns whether this process was forked from the one that the object belongs to.
    pub(crate) fn is_foreign(&self) -> bool {
        !self.mark.is_current()
    }

    /// Notes that a worker has mapped the object. Returns false if that was known.
    pub(crate) fn add_holder(&self, holder: Weak<dyn Holder>) -> bool {
        let mut holders = lock(&self.holders);
        holders.retain(|other| other.strong_count() > 0);
        let is_new = !holders.iter().any(|other| other.ptr_eq(&holder));
        if is_new {
            holders.push(holder);
        }
        is_new
    }

    /// Returns the value as its type needs it, from the last use if possible.
    pub(crate) fn held<H: Clone + Send + Sync + 'static>(
        &self,
        make: impl FnOnce(&Arc<SealedMemory>) -> Result<H, String>,
    ) -> Result<H, String> {
        let memory = self.sealed().ok_or("not a shared value")?;
        if self.is_foreign() {
            // The lock may have been held by a thread that does not exist here.
            return make(memory);
        }
        let mut held = lock(&self.held);
        let known = held.as_ref().and_then(|held| held.downcast_ref::<H>());
        if let Some(known) = known {
            return Ok(known.clone());
        }
        let made = make(memory)?;
        *held = Some(Arc::new(made.clone()));
        Ok(made)
    }

    /// Drops what [`held`](Self::held) has kept for the next use.
    pub(crate) fn let_go(&self) {
        let held = lock(&self.held).take();
        drop(held);
    }
}

impl Drop for Object {
    fn drop(&mut self) {
        let holders = std::mem::take(&mut self.holders);
        if self.is_foreign() {
            // The workers are those of the process that this one was forked from.
            return std::mem::forget(holders);
        }
        registry::remove(self.id);
        if self.is_made_by_this_worker() {
            registry::count_made(Made::Dropped(self.mapped_length() as u64));
        }
        let lent = *self.lent.get_mut();
        if lent > 0 {
            registry::give_back(self.id, lent);
        }
        let holders = holders.into_inner().unwrap_or_else(PoisonError::into_inner);
        for holder in holders.iter().filter_map(Weak::upgrade) {
            holder.forget(self.id, self.mapped_length());
        }
    }
}
