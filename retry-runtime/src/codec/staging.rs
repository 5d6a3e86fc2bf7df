//! Large contents that lie apart from their message, in memory that both processes have mapped.
//!
//! The encoding of bytes, text and numbers begins with their length. With its highest bit set, which no length has,
//! the place of the contents follows instead of them. Only arguments are encoded so, on a thread that has a [`Stage`],
//! and only a decoder of arguments follows such a place: [`read`] allows it.
//!
//! Numbers are staged wherever they are. Text and bytes are if they are the argument itself: the decoder of another type
//! may want to borrow them from the message.

use std::any::TypeId;
use std::cell::Cell;
use std::sync::Arc;

use bytes::Bytes;

use super::CodecError;
use super::buffers::LARGE;
use super::primitive::AS_IN_MEMORY;
use crate::sys::StagedMemory;

/// Marks a length whose contents lie elsewhere.
const STAGED: u64 = 1 << 63;

/// The size of a length, in bytes.
const LENGTH: usize = 8;

/// The size of a length and the place that follows it, in bytes.
const SIZE: usize = 32;

/// The place of contents: the number of the memory, and the offset in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) memory: u64,
    pub(crate) offset: u64,
}

/// Provides memory for the values that this thread encodes.
#[derive(Clone, Copy)]
pub(crate) struct Stage {
    /// Makes sure that there is room for as many bytes. Returns false if there is none.
    pub(crate) reserve: fn(usize) -> bool,
    /// Returns whether room for as many bytes is kept for further calls.
    pub(crate) keeps: fn(usize) -> bool,
    /// Copies bytes into the room that was reserved last.
    pub(crate) put: fn(&[u8]) -> Place,
}

/// Finds memory by its number.
pub(crate) type Find = fn(u64) -> Result<Arc<StagedMemory>, String>;

thread_local! {
    static STAGE: Cell<Option<Stage>> = const { Cell::new(None) };

    /// The number of bytes by which the message of this scope would be longer if nothing were staged.
    static BYTES: Cell<usize> = const { Cell::new(0) };

    static FIND: Cell<Option<Find>> = const { Cell::new(None) };
}

/// A guard: until it is dropped, arguments that this thread encodes are staged with the given stage, or not at all.
pub(crate) struct Scope {
    outer: Option<Stage>,
    outer_bytes: usize,
}

impl Scope {
    #[inline]
    pub(crate) fn begin(stage: Option<Stage>) -> Self {
        // Elsewhere vectors of numbers are not copied as a whole.
        let stage = stage.filter(|_| AS_IN_MEMORY);
        Self {
            outer: STAGE.replace(stage),
            outer_bytes: BYTES.replace(0),
        }
    }
}

impl Drop for Scope {
    #[inline]
    fn drop(&mut self) {
        STAGE.set(self.outer);
        BYTES.set(self.outer_bytes);
    }
}

/// Makes sure that contents of this size can be staged. Returns false if they have to be a part of their message.
#[inline]
pub(super) fn reserve(size: usize) -> bool {
    size >= LARGE && STAGE.get().is_some_and(|stage| (stage.reserve)(size))
}

/// Does the same as [`reserve`], but only in memory that is kept: contents that become their message without a copy are not
/// worth new memory.
#[inline]
pub(super) fn reserve_kept(size: usize) -> bool {
    size >= LARGE
        && STAGE
            .get()
            .is_some_and(|stage| (stage.keeps)(size) && (stage.reserve)(size))
}

/// Returns whether anything was staged in this scope.
pub(super) fn has_staged() -> bool {
    BYTES.get() > 0
}

/// Stages contents that have `length` elements, and appends their place. Returns false if they have to be a part of the
/// message.
#[inline]
pub(super) fn put(
    contents: &[u8],
    length: usize,
    out: &mut Vec<u8>,
    limit: usize,
) -> Result<bool, CodecError> {
    if contents.len() < LARGE {
        return Ok(false);
    }
    put_large(contents, length, out, limit)
}

#[cold]
fn put_large(
    contents: &[u8],
    length: usize,
    out: &mut Vec<u8>,
    limit: usize,
) -> Result<bool, CodecError> {
    let Some(stage) = STAGE.get() else {
        return Ok(false);
    };
    // Contents count as much as in the message, where their length alone precedes them.
    let others = BYTES.get();
    let whole = out.len().saturating_add(others).saturating_add(LENGTH);
    if whole.saturating_add(contents.len()) > limit {
        return Err(CodecError::TooLarge(limit));
    }
    if !(stage.reserve)(contents.len()) {
        return Ok(false);
    }
    let place = (stage.put)(contents);
    BYTES.set(others + contents.len() - (SIZE - LENGTH));
    let size = contents.len() as u64;
    for number in [length as u64 | STAGED, place.memory, place.offset, size] {
        out.extend_from_slice(&number.to_le_bytes());
    }
    Ok(true)
}

/// Lets what `decode` decodes on this thread lie apart from its message.
pub(crate) fn read<R>(find: Find, decode: impl FnOnce() -> R) -> R {
    struct Guard(Option<Find>);

    impl Drop for Guard {
        fn drop(&mut self) {
            FIND.set(self.0);
        }
    }

    let _guard = Guard(FIND.replace(Some(find)));
    decode()
}

/// Returns whether this thread decodes something that may lie apart from its message.
pub(crate) fn is_reading() -> bool {
    finder().is_some()
}

/// Returns where the decoder of an argument finds memory; `None` if nothing is staged.
#[inline]
pub(super) fn finder() -> Option<Find> {
    FIND.get()
}

/// Returns whether a type is text or bytes that its decoder owns.
#[inline]
pub(super) fn is_owned_blob<T: 'static>() -> bool {
    let this = TypeId::of::<T>();
    this == TypeId::of::<String>() || this == TypeId::of::<Bytes>()
}

/// Contents that lie apart from their message.
pub(crate) struct Staged {
    pub(crate) memory: Arc<StagedMemory>,
    pub(crate) offset: usize,
    /// Their size in bytes.
    pub(crate) size: usize,
    /// The number of their elements.
    pub(crate) length: usize,
}

impl Staged {
    pub(crate) fn bytes(&self) -> &[u8] {
        let part = self.memory.part(self.offset, self.size);
        part.expect("it was checked when this was made")
    }

    /// Returns the size of an element in bytes, if all have the same.
    pub(super) fn width(&self) -> Option<usize> {
        let width = self.size.checked_div(self.length)?;
        (width * self.length == self.size).then_some(width)
    }
}

/// Returns whether the next contents lie apart from the message, where they may.
#[inline]
pub(super) fn is_next(bytes: &[u8]) -> bool {
    let length = bytes.first_chunk();
    length.is_some_and(|length| u64::from_le_bytes(*length) >= STAGED)
}

/// Takes the next contents, whose elements are `width` bytes each, if they lie apart from the message of this argument.
///
/// # Errors
///
/// If there is nothing at their place.
pub(crate) fn take_argument(bytes: &mut &[u8], width: usize) -> Result<Option<Staged>, CodecError> {
    match is_next(bytes) {
        true => take(bytes, width, finder()),
        false => Ok(None),
    }
}

/// Finds the next contents, whose elements are `width` bytes each, and advances `bytes` past their place. Returns `None`
/// if they do not lie apart from the message.
///
/// # Errors
///
/// If there is nothing at their place.
#[cold]
pub(super) fn take(
    bytes: &mut &[u8],
    width: usize,
    find: Option<Find>,
) -> Result<Option<Staged>, CodecError> {
    let staged = take_any(bytes, find)?;
    match &staged {
        Some(staged) if staged.length.checked_mul(width) != Some(staged.size) => Err(missing()),
        _ => Ok(staged),
    }
}

/// Does the same as [`take`] for elements of any size.
#[cold]
pub(super) fn take_any(
    bytes: &mut &[u8],
    find: Option<Find>,
) -> Result<Option<Staged>, CodecError> {
    let Some(find) = find.filter(|_| is_next(bytes)) else {
        return Ok(None);
    };
    let (place, rest) = bytes.split_first_chunk::<SIZE>().ok_or_else(missing)?;
    let (numbers, _) = place.as_chunks();
    let number = |at: usize| u64::from_le_bytes(numbers[at]);
    let index = |number: u64| usize::try_from(number).map_err(|_| missing());
    let staged = Staged {
        length: index(number(0) & !STAGED)?,
        memory: find(number(1)).map_err(CodecError::Invalid)?,
        offset: index(number(2))?,
        size: index(number(3))?,
    };
    let part = staged.memory.part(staged.offset, staged.size);
    part.ok_or_else(missing)?;
    *bytes = rest;
    Ok(Some(staged))
}

fn missing() -> CodecError {
    CodecError::Invalid("a place where nothing is staged".to_owned())
}
