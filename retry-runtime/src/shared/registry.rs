//! Finds shared values by their ids, and collects those that a call names.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fmt;
use std::mem::take;
use std::slice;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use super::object::{Object, ObjectId, Received};
use super::staging::{Loan, Stager, StagingPool};
use crate::codec::payload::Payload;
use crate::codec::staging;
use crate::sys::{PerProcess, StagedMemory};

/// The limit on the encodings whose values a process keeps in decoded form, in bytes. The value that it used last is
/// kept in any case.
const DECODED: usize = 1024 * 1024 * 1024;

/// The maximum number of shared values that the arguments or the result of a call name.
pub(crate) const MOST_NAMED: usize = 1024 * 1024;

/// The ways in which a worker asks its parent for shared values, and gives them back.
pub(crate) struct Source {
    /// The number of the worker, which is not zero.
    pub(crate) worker: u64,
    pub(crate) fetch: fn(ObjectId) -> Result<Arc<Object>, String>,
    /// Tells the parent that the worker does not need a value any more, which it was lent this many times.
    pub(crate) give_back: fn(ObjectId, u32),
    /// Tells the parent of the memory of values that the worker has made.
    pub(crate) count_made: fn(Made),
}

/// The number of bytes of a value that this worker has made.
#[derive(Clone, Copy)]
pub(crate) enum Made {
    New(u64),
    Dropped(u64),
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
    // A thread that ends may have none any more.
    let last = LAST_FOUND.try_with(|last| last.borrow().upgrade());
    // A fork sees what its parent has found, which is not its own.
    if let Ok(Some(last)) = last
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
    let _ = LAST_FOUND.try_with(|last| last.replace(Arc::downgrade(&object)));
    Ok(object)
}

/// Returns the memory in which the program has staged arguments.
///
/// # Errors
///
/// If there is no such memory, or this process cannot map it.
pub(crate) fn find_staged(number: u64) -> Result<Arc<StagedMemory>, String> {
    let memory = find(ObjectId { maker: 0, number })?.staged();
    let memory = memory.ok_or("a shared value is no staging memory")?;
    memory.map_err(|error| error.to_string())
}

/// Keeps an object that another process has sent, until that [tells](forget) that no further call will name it.
pub(crate) fn receive(id: ObjectId, memory: Received) -> Arc<Object> {
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
    Objects::new(objects, Vec::new(), 0)
}

/// Counts the memory of a value of this worker. The kernel counts it for no process before that has looked at it.
pub(super) fn count_made(made: Made) {
    if let Some(source) = SOURCE.get() {
        (source.count_made)(made);
    }
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

    /// The state of the present [`collect`] of this thread.
    static COLLECTED: RefCell<Collected> = const { RefCell::new(Collected::NOTHING) };

    /// Tells what there is in it. Looking at this is cheaper, and nearly all calls have nothing.
    static FOUND: Cell<Found> = const { Cell::new(Found::NONE) };
}

#[derive(Default)]
struct Collected {
    /// The objects that were found so far.
    named: Vec<Arc<Object>>,
    /// The memory in which arguments are staged, if they may be.
    stager: Option<Stager>,
}

impl Collected {
    const NOTHING: Self = Self {
        named: Vec::new(),
        stager: None,
    };

    /// Takes the buffers in which arguments were staged, and returns how many bytes these are.
    fn take_staged(&mut self) -> (Vec<Loan>, usize) {
        self.stager.as_mut().map(Stager::take).unwrap_or_default()
    }
}

#[derive(Clone, Copy, PartialEq)]
struct Found {
    /// Set if something was named or staged.
    any: bool,
    /// Set if arguments may be staged.
    stages: bool,
}

impl Found {
    const NONE: Self = Self {
        any: false,
        stages: false,
    };
}

fn note_found() {
    let found = FOUND.get();
    FOUND.set(Found { any: true, ..found });
}

/// Records that something is encoded which names an object.
///
/// # Errors
///
/// If there are too many of them, or this thread ends.
pub(super) fn name(object: &Arc<Object>) -> Result<(), String> {
    let named = COLLECTED.try_with(|collected| {
        note_found();
        let mut collected = collected.borrow_mut();
        if is_recent(&collected.named, object) {
            return Ok(());
        }
        if collected.named.len() == MOST_NAMED {
            return Err(format!(
                "more than {MOST_NAMED} shared values in one message"
            ));
        }
        collected.named.push(Arc::clone(object));
        Ok(())
    });
    named.unwrap_or_else(|_| Err("a thread that ends sends no shared values".to_owned()))
}

/// The way in which the codec stages arguments on this thread.
const STAGE: staging::Stage = staging::Stage {
    reserve: |bytes| {
        COLLECTED.with_borrow_mut(|collected| {
            let stager = collected.stager.as_mut();
            stager.is_some_and(|stager| stager.reserve(bytes))
        })
    },
    keeps: |bytes| {
        COLLECTED.with_borrow(|collected| {
            let stager = collected.stager.as_ref();
            stager.is_some_and(|stager| stager.keeps(bytes))
        })
    },
    put: |bytes| {
        note_found();
        COLLECTED.with_borrow_mut(|collected| {
            let stager = collected.stager.as_mut().expect("room was reserved in it");
            stager.put(bytes)
        })
    },
};

/// Calls a function that encodes something. Returns its result and the objects that it has named. With a pool, large
/// contents may be staged, and the result is an encoding of which these are not a part.
///
/// The function may run user code, which may encode something else on this thread or panic: that is kept apart.
#[inline]
pub(crate) fn collect<R>(
    pool: Option<Arc<StagingPool>>,
    encode: impl FnOnce() -> R,
) -> (R, Objects) {
    let scope = Scope::begin(pool);
    let result = encode();
    let objects = match FOUND.get().any {
        true => take_found(),
        false => Objects::NONE,
    };
    drop(scope);
    (result, objects)
}

#[cold]
fn take_found() -> Objects {
    FOUND.set(Found::NONE);
    COLLECTED.with_borrow_mut(|collected| {
        let (loans, _) = collected.take_staged();
        Objects::new(collected.named.drain(..), loans, 0)
    })
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
    /// Begins a chunk, whose inputs are encoded on this thread until this value is dropped. With a pool, large contents
    /// of the last one may be staged.
    pub(crate) fn begin(pool: Option<Arc<StagingPool>>) -> Self {
        Self {
            objects: Vec::new(),
            _scope: Scope::begin(pool),
        }
    }

    /// Takes the objects that the input has named which was encoded last.
    #[inline]
    pub(crate) fn of_input(&mut self) -> InputObjects {
        if FOUND.get().any {
            self.add()
        } else {
            InputObjects::None
        }
    }

    #[cold]
    fn add(&mut self) -> InputObjects {
        let found = FOUND.get();
        FOUND.set(Found {
            any: false,
            ..found
        });
        COLLECTED.with_borrow_mut(|collected| {
            let (loans, staged) = collected.take_staged();
            let named = &mut collected.named;
            let alone = named.iter().filter(|object| Arc::strong_count(object) == 1);
            let weight: usize = alone.map(|object| object.length()).sum();
            if weight + staged > 0 {
                return InputObjects::Own(Objects::new(named.drain(..), loans, weight + staged));
            }
            for object in named.drain(..) {
                if !is_recent(&self.objects, &object) {
                    self.objects.push(object);
                }
            }
            InputObjects::InChunk
        })
    }

    /// Returns the objects, if there are any.
    pub(crate) fn into_objects(self) -> Objects {
        Objects::new(self.objects, Vec::new(), 0)
    }
}

/// Returns whether an object is among the last ones of a list. Mostly the same one comes again and again, and having
/// one twice does no harm.
fn is_recent<'a>(
    objects: impl IntoIterator<Item = &'a Arc<Object>, IntoIter: DoubleEndedIterator>,
    object: &Arc<Object>,
) -> bool {
    let mut last = objects.into_iter().rev().take(RECENTLY_NAMED);
    last.any(|other| Arc::ptr_eq(other, object))
}

/// The number of objects with which [`is_recent`] compares a new one.
const RECENTLY_NAMED: usize = 16;

/// Puts back the state in which the present [`collect`] has found its thread.
enum Scope {
    /// Nothing was collected, and nothing is staged.
    Plain,
    /// Nothing was collected.
    Staging { _stage: staging::Scope },
    /// An outer [`collect`] goes on when this one ends.
    Inner(Outer),
}

struct Outer {
    found: Found,
    collected: Collected,
    _stage: staging::Scope,
}

impl Scope {
    #[inline]
    fn begin(pool: Option<Arc<StagingPool>>) -> Self {
        // While a thread ends, it may have none of these any more.
        let pool = pool.filter(|_| COLLECTED.try_with(|_| {}).is_ok());
        match pool {
            None if FOUND.get() == Found::NONE => Self::Plain,
            pool => Self::replace(pool),
        }
    }

    fn replace(pool: Option<Arc<StagingPool>>) -> Self {
        let stages = pool.is_some();
        let found = FOUND.replace(Found { any: false, stages });
        let stager = pool.map(Stager::new);
        let _stage = staging::Scope::begin(stages.then_some(STAGE));
        if found == Found::NONE {
            COLLECTED.with_borrow_mut(|collected| collected.stager = stager);
            return Self::Staging { _stage };
        }
        let named = Vec::new();
        Self::Inner(Outer {
            found,
            collected: COLLECTED.replace(Collected { named, stager }),
            _stage,
        })
    }
}

impl Drop for Scope {
    #[inline]
    fn drop(&mut self) {
        // Objects are left over if the function has panicked. Dropping them may run user code, which may encode
        // something.
        match self {
            Self::Plain if !FOUND.get().any => {}
            Self::Inner(outer) => {
                FOUND.set(outer.found);
                drop(COLLECTED.replace(take(&mut outer.collected)));
            }
            Self::Staging { .. } if !FOUND.get().any => {
                FOUND.set(Found::NONE);
                let _ = COLLECTED.with_borrow_mut(|collected| collected.stager.take());
            }
            Self::Plain | Self::Staging { .. } => {
                FOUND.set(Found::NONE);
                drop(COLLECTED.take());
            }
        }
    }
}

/// The shared values that a call or its result names, and the memory in which its arguments are staged. They exist as
/// long as this does.
#[derive(Clone, Debug, Default)]
pub(crate) enum Objects {
    #[default]
    None,
    /// Most calls that name objects name one. This takes no memory of its own.
    One(Arc<Object>),
    Several(Arc<Named>),
}

/// The buffers in which the arguments of a call are staged.
pub(crate) struct Loans(#[expect(dead_code, reason = "they are only kept")] Vec<Loan>);

impl fmt::Debug for Loans {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Loans")
    }
}

pub(crate) struct Named {
    objects: Vec<Arc<Object>>,
    /// The buffers of staged arguments, if there are any.
    loans: Option<Arc<Loans>>,
    /// The number of bytes that are freed with these objects.
    weight: usize,
}

impl fmt::Debug for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.objects).finish()
    }
}

impl Objects {
    pub(crate) const NONE: Self = Self::None;

    /// Returns these objects and buffers, if there are any, and how many bytes they are known to keep that nothing else
    /// does.
    pub(crate) fn new(
        objects: impl IntoIterator<Item = Arc<Object>>,
        loans: Vec<Loan>,
        weight: usize,
    ) -> Self {
        let loans = (!loans.is_empty()).then(|| Arc::new(Loans(loans)));
        Self::of(objects, loans, weight)
    }

    fn of(
        objects: impl IntoIterator<Item = Arc<Object>>,
        loans: Option<Arc<Loans>>,
        weight: usize,
    ) -> Self {
        let mut objects = objects.into_iter();
        let (first, second) = (objects.next(), objects.next());
        match (first, second) {
            (None, _) if loans.is_none() => Self::None,
            (Some(only), None) if loans.is_none() && weight == 0 => Self::One(only),
            (first, second) => Self::Several(Arc::new(Named {
                objects: first.into_iter().chain(second).chain(objects).collect(),
                loans,
                weight,
            })),
        }
    }

    fn several(&self) -> Option<&Named> {
        match self {
            Self::Several(named) => Some(named),
            Self::None | Self::One(_) => None,
        }
    }

    fn as_slice(&self) -> &[Arc<Object>] {
        match self {
            Self::None => &[],
            Self::One(object) => slice::from_ref(object),
            Self::Several(named) => &named.objects,
        }
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        matches!(self, Self::None)
    }

    /// Returns whether a part of the arguments is staged.
    #[inline]
    pub(crate) fn is_staged(&self) -> bool {
        self.several().is_some_and(|named| named.loans.is_some())
    }

    /// Returns the memory in which arguments are staged, to keep it for as long as a worker may read it.
    #[inline]
    pub(crate) fn loans(&self) -> Option<Arc<Loans>> {
        self.several()?.loans.clone()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Object>> {
        self.as_slice().iter()
    }

    /// Returns how many bytes are freed with these objects.
    #[inline]
    pub(crate) fn weight(&self) -> usize {
        self.several().map_or(0, |named| named.weight)
    }

    /// Returns these objects and others.
    pub(crate) fn and(self, others: &Self) -> Self {
        if others.is_empty() {
            return self;
        }
        if self.is_empty() {
            return others.clone();
        }
        let is_new = |other: &&Arc<Object>| !is_recent(self.as_slice(), other);
        let new: Vec<_> = others.iter().filter(is_new).cloned().collect();
        if new.is_empty() {
            return self;
        }
        // The configuration of a service is not staged, so only the arguments are.
        let loans = self.loans().or_else(|| others.loans());
        let weight = self.weight() + others.weight();
        Self::of(self.iter().cloned().chain(new), loans, weight)
    }

    /// Returns a payload of one value, which names these objects.
    pub(crate) fn payload(self, value: Payload) -> Payload {
        match self {
            Self::None => value,
            Self::One(object) => value.naming(object),
            Self::Several(named) => value.naming(named),
        }
    }

    /// Returns the objects that a payload names.
    pub(crate) fn named_by(payload: &Payload) -> Self {
        let Some(named) = payload.named().cloned() else {
            return Self::None;
        };
        match named.downcast::<Object>() {
            Ok(object) => Self::One(object),
            Err(several) => several.downcast().map_or(Self::None, Self::Several),
        }
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
