//! Finds shared values by their ids, and collects those that a call names.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use bytes::Bytes;

use super::object::{Object, ObjectId};
use crate::codec::payload::Payload;
use crate::sys::{PerProcess, SealedMemory};

/// The limit on the encodings whose values a process keeps in decoded form, in bytes. The value that it used last is
/// kept in any case.
const DECODED: usize = 1024 * 1024 * 1024;

/// The ways in which a worker asks its parent for shared values, and gives them back.
pub(crate) struct Source {
    /// The number of the worker, which is not zero.
    pub(crate) worker: u64,
    pub(crate) fetch: fn(ObjectId) -> Result<Arc<Object>, String>,
    /// Tells the parent that the worker does not need a value any more, which it was lent this many times.
    pub(crate) give_back: fn(ObjectId, u32),
}

static SOURCE: OnceLock<Source> = OnceLock::new();

static REGISTRY: PerProcess<Mutex<Registry>> = PerProcess::new();

#[derive(Default)]
struct Registry {
    objects: HashMap<ObjectId, Weak<Object>>,
    /// The objects that a worker keeps for its next calls, until its parent says that there will be none.
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

/// Sets where this worker gets shared values that it does not have.
pub(crate) fn set_source(source: Source) {
    // Objects that this process has made before have ids that mean other values to the parent.
    registry().objects.clear();
    let _ = SOURCE.set(source);
}

/// Returns whether calls of this process may name an object: not in a worker that has made it before it was one.
pub(super) fn is_known(object: &Arc<Object>) -> bool {
    this_worker() == 0
        || object.id().maker != 0
        || find_here(object.id()).is_some_and(|known| Arc::ptr_eq(&known, object))
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

/// Returns the number of this worker, or zero in a program.
pub(super) fn this_worker() -> u64 {
    SOURCE.get().map_or(0, |source| source.worker)
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
        && !last.is_foreign()
    {
        return Ok(last);
    }
    let object = match (find_here(id), SOURCE.get()) {
        (Some(object), _) => object,
        (None, Some(source)) => (source.fetch)(id)?,
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

/// Returns the objects that a result names which the parent has sent, before the result. They exist there until this
/// worker has no handle on them any more.
pub(crate) fn borrow(ids: Vec<ObjectId>) -> Objects {
    let mut objects = Vec::with_capacity(ids.len());
    for id in ids {
        if let Some(object) = find_here(id) {
            object.note_lent();
            // Otherwise this worker would keep it until the parent says that it is not needed, which waits for this.
            forget(id);
            objects.push(object);
        }
    }
    Objects::new(objects, 0)
}

pub(super) fn give_back(id: ObjectId, lent: u32) {
    if let Some(source) = SOURCE.get() {
        (source.give_back)(id, lent);
    }
}

/// Drops what this worker keeps of an object, since no further call will name it.
pub(crate) fn forget(id: ObjectId) {
    // Dropped without the lock, which dropping takes.
    let object = registry().received.remove(&id);
    drop(object);
}

/// Records that a decoded value is used, and drops others of which too much is kept.
pub(super) fn use_decoded(object: &Object) {
    if object.is_foreign() {
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

    /// The objects that the present [`collect`] of this thread has found so far.
    static NAMED: RefCell<Vec<Arc<Object>>> = const { RefCell::new(Vec::new()) };

    /// Set if there are any: looking at it is cheaper, and nearly all calls have none.
    static IS_ANY_NAMED: Cell<bool> = const { Cell::new(false) };
}

/// Records that something is encoded which names an object.
pub(super) fn name(object: &Arc<Object>) {
    IS_ANY_NAMED.set(true);
    NAMED.with_borrow_mut(|named| {
        if !is_recent(named, object) {
            named.push(Arc::clone(object));
        }
    });
}

/// Calls a function that encodes something. Returns its result and the objects that it has named.
///
/// The function may run user code, which may encode something else on this thread or panic: that is kept apart.
#[inline]
pub(crate) fn collect<R>(encode: impl FnOnce() -> R) -> (R, Objects) {
    let scope = Scope::begin();
    let result = encode();
    let objects = if IS_ANY_NAMED.replace(false) {
        Objects::new(NAMED.take(), 0)
    } else {
        Objects::NONE
    };
    drop(scope);
    (result, objects)
}

/// The objects that the inputs of a chunk name, while these are encoded.
pub(crate) struct ChunkObjects {
    objects: Vec<Arc<Object>>,
    _scope: Scope,
}

/// The objects that an input of a chunk names.
#[derive(Debug)]
pub(crate) enum InputObjects {
    None,
    /// Objects that others have a handle on as well. They were added to those of the chunk.
    InChunk,
    /// Objects of which nothing else has some.
    Own(Objects),
}

impl ChunkObjects {
    /// Begins a chunk, whose inputs are encoded on this thread until this value is dropped.
    pub(crate) fn begin() -> Self {
        Self {
            objects: Vec::new(),
            _scope: Scope::begin(),
        }
    }

    /// Takes the objects that the input has named which was encoded last.
    #[inline]
    pub(crate) fn of_input(&mut self) -> InputObjects {
        if IS_ANY_NAMED.get() {
            self.add()
        } else {
            InputObjects::None
        }
    }

    #[cold]
    fn add(&mut self) -> InputObjects {
        IS_ANY_NAMED.set(false);
        let mut named = NAMED.take();
        let of_input = self.add_all(&mut named);
        named.clear();
        NAMED.set(named);
        of_input
    }

    fn add_all(&mut self, named: &mut Vec<Arc<Object>>) -> InputObjects {
        let alone = named.iter().filter(|object| Arc::strong_count(object) == 1);
        let weight = alone.map(|object| object.length()).sum();
        if weight > 0 {
            return InputObjects::Own(Objects::new(std::mem::take(named), weight));
        }
        for object in named.drain(..) {
            if !is_recent(&self.objects, &object) {
                self.objects.push(object);
            }
        }
        InputObjects::InChunk
    }

    /// Returns the objects, if there are any.
    pub(crate) fn into_objects(self) -> Objects {
        Objects::new(self.objects, 0)
    }
}

/// Returns whether an object is among the last ones of a list. Mostly the same one comes again and again, and having
/// one twice does no harm.
fn is_recent(objects: &[Arc<Object>], object: &Arc<Object>) -> bool {
    let mut last = objects.iter().rev().take(RECENTLY_NAMED);
    last.any(|other| Arc::ptr_eq(other, object))
}

/// The number of objects with which [`is_recent`] compares a new one.
const RECENTLY_NAMED: usize = 16;

/// The names that an outer [`collect`] has found so far. It goes on with them when the inner one ends.
struct Scope(Option<Vec<Arc<Object>>>);

impl Scope {
    #[inline]
    fn begin() -> Self {
        Self(IS_ANY_NAMED.replace(false).then(|| NAMED.take()))
    }
}

impl Drop for Scope {
    #[inline]
    fn drop(&mut self) {
        // Left over if the function has panicked.
        let left = IS_ANY_NAMED.replace(false).then(|| NAMED.take());
        if let Some(outer) = self.0.take() {
            NAMED.set(outer);
            IS_ANY_NAMED.set(true);
        }
        drop(left);
    }
}

/// The shared values that a call or its result names. They exist as long as this does.
#[derive(Clone, Debug, Default)]
pub(crate) struct Objects(Option<Arc<Named>>);

#[derive(Debug)]
struct Named {
    objects: Vec<Arc<Object>>,
    /// The number of bytes that are freed with these objects.
    weight: usize,
}

impl Objects {
    pub(crate) const NONE: Self = Self(None);

    /// Returns these objects, if there are any, and how many bytes they are known to keep that nothing else does.
    pub(crate) fn new(objects: Vec<Arc<Object>>, weight: usize) -> Self {
        Self((!objects.is_empty()).then(|| Arc::new(Named { objects, weight })))
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Object>> {
        self.0.iter().flat_map(|named| &named.objects)
    }

    /// Returns how many bytes are freed with these objects.
    #[inline]
    pub(crate) fn weight(&self) -> usize {
        self.0.as_ref().map_or(0, |named| named.weight)
    }

    /// Returns these objects and others.
    pub(crate) fn and(self, others: &Self) -> Self {
        match (&self.0, &others.0) {
            (_, None) => self,
            (None, _) => others.clone(),
            (Some(some), Some(more)) => {
                let mut objects = some.objects.clone();
                let is_new = |other: &&Arc<Object>| !is_recent(&some.objects, other);
                let before = objects.len();
                objects.extend(more.objects.iter().filter(is_new).cloned());
                if objects.len() == before {
                    return self;
                }
                Self::new(objects, some.weight + more.weight)
            }
        }
    }

    /// Returns a payload of one value, which names these objects.
    pub(crate) fn payload(self, bytes: Bytes) -> Payload {
        match self.0 {
            Some(named) => Payload::naming(bytes, named),
            None => Payload::One(bytes),
        }
    }

    /// Returns the objects that a payload names.
    pub(crate) fn named_by(payload: &Payload) -> Self {
        let named = payload.named().cloned();
        Self(named.and_then(|named| named.downcast().ok()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decoded_values_are_kept_up_to_a_limit_the_last_one_always() {
        let mut recent = Recent::default();
        let id = |number| ObjectId { maker: 0, number };
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
