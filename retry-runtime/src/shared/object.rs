//! The content of a shared value, and who has it.

use std::any::Any;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use serde::{Deserialize, Serialize};

use super::registry;
use crate::sys::{Mark, SealedMemory};

/// Identifies a shared value within the processes of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct ObjectId(pub(crate) u64);

/// A worker that has mapped shared values.
pub(crate) trait Holder: Send + Sync {
    /// Tells the worker that no call will name a shared value any more. Must not wait, and must not take the lock
    /// of an engine, which the caller may hold.
    fn forget(&self, object: ObjectId);
}

/// A shared value, without its type.
pub struct Object {
    id: ObjectId,
    memory: Arc<SealedMemory>,
    /// The value as its type needs it. It is empty again where too much memory is taken by values of this kind.
    held: Mutex<Option<Arc<dyn Any + Send + Sync>>>,
    holders: Mutex<Vec<Weak<dyn Holder>>>,
    /// Identifies the process that has made the object, or has received it.
    mark: Mark,
    /// Set if a call of this process can name the object.
    is_known: bool,
}

impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id = self.id.0;
        f.debug_struct("Object").field("id", &id).finish()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Object {
    /// Makes a new object. Calls of this process may name it.
    pub(crate) fn new(memory: SealedMemory) -> Arc<Self> {
        // A forked child goes on counting, so that its objects are not taken for those that it has inherited.
        static LAST: AtomicU64 = AtomicU64::new(0);
        let id = ObjectId(LAST.fetch_add(1, Ordering::Relaxed) + 1);
        // The ids of a worker mean other objects to its parent.
        let is_known = !registry::has_source();
        let object = Self::with_id(id, memory, is_known);
        if is_known {
            registry::add(&object);
        }
        object
    }

    /// Makes an object of memory that another process has sent.
    pub(crate) fn received(id: ObjectId, memory: SealedMemory) -> Arc<Self> {
        Self::with_id(id, memory, true)
    }

    fn with_id(id: ObjectId, memory: SealedMemory, is_known: bool) -> Arc<Self> {
        Arc::new(Self {
            id,
            memory: Arc::new(memory),
            held: Mutex::default(),
            holders: Mutex::default(),
            mark: Mark::current(),
            is_known,
        })
    }

    pub(crate) fn id(&self) -> ObjectId {
        self.id
    }

    pub(crate) fn memory(&self) -> &Arc<SealedMemory> {
        &self.memory
    }

    pub(crate) fn length(&self) -> usize {
        self.memory.bytes().len()
    }

    /// Returns why no call can name the object, if that is so.
    pub(crate) fn refusal(&self) -> Option<&'static str> {
        if self.is_foreign() {
            return Some("a `Shared` from before the program was forked cannot be passed to calls");
        }
        (!self.is_known).then_some("a `Shared` that was made in a worker cannot be passed to calls")
    }

    /// Returns whether this process was forked from the one that the object belongs to.
    pub(crate) fn is_foreign(&self) -> bool {
        !self.mark.is_current()
    }

    /// Notes that a worker has mapped the object.
    pub(crate) fn add_holder(&self, holder: Weak<dyn Holder>) {
        let mut holders = lock(&self.holders);
        holders.retain(|other| other.strong_count() > 0 && !other.ptr_eq(&holder));
        holders.push(holder);
    }

    /// Returns the value as its type needs it, from the last use if possible.
    pub(crate) fn held<H: Clone + Send + Sync + 'static>(
        &self,
        make: impl FnOnce(&Arc<SealedMemory>) -> Result<H, String>,
    ) -> Result<H, String> {
        if self.is_foreign() {
            // The lock may have been held by a thread that does not exist here.
            return make(&self.memory);
        }
        let mut held = lock(&self.held);
        let known = held.as_ref().and_then(|held| held.downcast_ref::<H>());
        if let Some(known) = known {
            return Ok(known.clone());
        }
        let made = make(&self.memory)?;
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
        if !self.is_known {
            return;
        }
        registry::remove(self.id);
        let holders = holders.into_inner().unwrap_or_else(PoisonError::into_inner);
        for holder in holders.iter().filter_map(Weak::upgrade) {
            holder.forget(self.id);
        }
    }
}
