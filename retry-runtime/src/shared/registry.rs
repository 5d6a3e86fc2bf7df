//! Finds shared values by their ids, and collects those that a call names.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::mem::take;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use super::object::{Object, ObjectId};
use crate::sys::{PerProcess, SealedMemory};

/// How many bytes of encodings a process keeps in decoded form, beyond the value that it used last.
const DECODED: usize = 256 * 1024 * 1024;

/// Gets a shared value from the process that has it.
pub(crate) type Source = fn(ObjectId) -> Result<Arc<Object>, String>;

/// Where this process gets shared values that it does not have: a worker asks its parent.
static SOURCE: OnceLock<Source> = OnceLock::new();

static REGISTRY: PerProcess<Mutex<Registry>> = PerProcess::new();

#[derive(Default)]
struct Registry {
    objects: HashMap<ObjectId, Weak<Object>>,
    /// What a worker keeps for its next calls, until its parent says that there will be none.
    received: HashMap<ObjectId, Arc<Object>>,
    decoded: Recent,
}

/// The objects whose values are kept in decoded form, the last used one at the end, with their sizes.
#[derive(Default)]
struct Recent {
    objects: Vec<(ObjectId, usize)>,
    bytes: usize,
}

impl Recent {
    /// Records a use. Returns the objects whose values are not to be kept any longer.
    fn use_now(&mut self, object: ObjectId, size: usize, limit: usize) -> Vec<ObjectId> {
        self.remove(object);
        self.objects.push((object, size));
        self.bytes = self.bytes.saturating_add(size);
        let mut dropped = Vec::new();
        while self.bytes > limit && self.objects.len() > 1 {
            let (oldest, size) = self.objects.remove(0);
            self.bytes -= size;
            dropped.push(oldest);
        }
        dropped
    }

    fn remove(&mut self, object: ObjectId) {
        if let Some(at) = self.objects.iter().position(|(known, _)| *known == object) {
            self.bytes -= self.objects.remove(at).1;
        }
    }
}

fn registry() -> MutexGuard<'static, Registry> {
    let registry = REGISTRY.get_or_init(Mutex::default);
    registry.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Sets where this process gets shared values that it does not have.
pub(crate) fn set_source(source: Source) {
    let _ = SOURCE.set(source);
}

pub(super) fn add(object: &Arc<Object>) {
    registry()
        .objects
        .insert(object.id(), Arc::downgrade(object));
}

pub(super) fn remove(id: ObjectId) {
    let mut registry = registry();
    registry.decoded.remove(id);
    // The id may be in use again: a worker may have asked for the object while it was being dropped.
    if registry
        .objects
        .get(&id)
        .is_some_and(|it| it.strong_count() == 0)
    {
        registry.objects.remove(&id);
    }
}

/// Returns whether this process gets shared values from another one, and so cannot hand over its own.
pub(super) fn has_source() -> bool {
    SOURCE.get().is_some()
}

/// Returns an object that this process has.
pub(crate) fn find_here(id: ObjectId) -> Option<Arc<Object>> {
    registry().objects.get(&id)?.upgrade()
}

/// Returns an object that a call has named.
///
/// # Errors
///
/// If it does not exist any more, or this process cannot map it.
pub(super) fn find(id: ObjectId) -> Result<Arc<Object>, String> {
    let last = LAST_FOUND.with_borrow(Weak::upgrade);
    // A fork sees what its parent has found, which is not its own.
    if let Some(last) = last
        && last.id() == id
        && last.refusal().is_none()
    {
        return Ok(last);
    }
    let object = match (find_here(id), SOURCE.get()) {
        (Some(object), _) => object,
        (None, Some(source)) => source(id)?,
        (None, None) => return Err("the shared value does not exist here".to_owned()),
    };
    LAST_FOUND.set(Arc::downgrade(&object));
    Ok(object)
}

/// Keeps an object that another process has sent, until that [tells](forget) that no further call will name it.
pub(crate) fn receive(id: ObjectId, memory: SealedMemory) -> Arc<Object> {
    let object = Object::received(id, memory);
    let mut registry = registry();
    if let Some(first) = registry.received.get(&id) {
        // Dropped after the lock, which dropping takes.
        return Arc::clone(first);
    }
    registry.objects.insert(id, Arc::downgrade(&object));
    registry.received.insert(id, Arc::clone(&object));
    object
}

/// Drops what this worker keeps of an object, since no further call will name it.
pub(crate) fn forget(id: ObjectId) {
    // Dropped without the lock, which dropping takes.
    let object = registry().received.remove(&id);
    drop(object);
}

/// Records that a decoded value is used, and drops others of which too much is kept.
pub(super) fn use_decoded(object: &Object) {
    if object.refusal().is_some() {
        return;
    }
    let mut registry = registry();
    let dropped = registry
        .decoded
        .use_now(object.id(), object.length(), DECODED);
    let dropped: Vec<_> = dropped
        .iter()
        .filter_map(|id| registry.objects.get(id)?.upgrade())
        .collect();
    drop(registry);
    for object in dropped {
        object.let_go();
    }
}

thread_local! {
    /// The object that this thread has found last: the next input of a map mostly names it again.
    static LAST_FOUND: RefCell<Weak<Object>> = const { RefCell::new(Weak::new()) };

    /// The objects in what this thread has encoded since the last [`collect`].
    static NAMED: RefCell<Vec<Arc<Object>>> = const { RefCell::new(Vec::new()) };

    /// Set if there are any: looking at it is cheaper, and nearly all calls have none.
    static IS_ANY_NAMED: Cell<bool> = const { Cell::new(false) };
}

/// Records that something is encoded which names an object.
pub(super) fn name(object: &Arc<Object>) {
    IS_ANY_NAMED.set(true);
    NAMED.with_borrow_mut(|named| {
        if !named.iter().any(|other| Arc::ptr_eq(other, object)) {
            named.push(Arc::clone(object));
        }
    });
}

/// Takes the objects in what this thread has encoded since the last time.
#[inline]
pub(crate) fn collect() -> Objects {
    if !IS_ANY_NAMED.replace(false) {
        return Objects::NONE;
    }
    let named = NAMED.with_borrow_mut(take);
    Objects(Some(Arc::new(named)))
}

/// Returns whether this thread has encoded something that names an object, since the last [`collect`].
#[inline]
pub(crate) fn is_any_named() -> bool {
    IS_ANY_NAMED.get()
}

/// The shared values that a call names. They exist as long as this does.
#[derive(Clone, Debug, Default)]
pub(crate) struct Objects(Option<Arc<Vec<Arc<Object>>>>);

impl Objects {
    pub(crate) const NONE: Self = Self(None);

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Returns these objects and others.
    pub(crate) fn and(self, others: &Self) -> Self {
        match (&self.0, &others.0) {
            (_, None) => self,
            (None, _) => others.clone(),
            (Some(some), Some(more)) => Self(Some(Arc::new(
                some.iter().chain(&**more).cloned().collect(),
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decoded_values_are_kept_up_to_a_limit_the_last_one_always() {
        let mut recent = Recent::default();
        let id = ObjectId;
        assert_eq!(recent.use_now(id(1), 40, 100), []);
        assert_eq!(recent.use_now(id(2), 40, 100), []);
        assert_eq!(recent.use_now(id(1), 40, 100), []);
        assert_eq!(recent.use_now(id(3), 40, 100), [id(2)]);
        assert_eq!(recent.use_now(id(4), 1000, 100), [id(1), id(3)]);
        assert_eq!(recent.use_now(id(5), 1, 100), [id(4)]);
        recent.remove(id(5));
        assert_eq!((recent.bytes, recent.objects.len()), (0, 0));
    }
}
