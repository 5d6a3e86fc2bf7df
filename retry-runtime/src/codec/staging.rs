//! Large contents that lie apart from their message, in memory that both processes have mapped.
//!
//! Where bytes, text or numbers are encoded, their length comes first. With its highest bit set, which no length has,
//! the place of the contents follows instead of them. Only arguments are encoded so, on a thread whose call has a
//! [`Stage`], and only a decoder of arguments follows such a place: [`read`] allows it.

use std::cell::Cell;
use std::sync::Arc;

use super::CodecError;
use super::buffers::LARGE;
use crate::sys::StagedMemory;

/// Marks a length whose contents lie elsewhere.
const STAGED: u64 = 1 << 63;

/// The size of a length and a place, in bytes.
const SIZE: usize = 24;

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

    /// The number of bytes that were staged in this scope.
    static BYTES: Cell<usize> = const { Cell::new(0) };

    static FIND: Cell<Option<Find>> = const { Cell::new(None) };
}

/// What is encoded on this thread is staged where that pays off, with this stage or not at all, until the guard is
/// dropped.
pub(crate) struct Scope {
    outer: Option<Stage>,
    outer_bytes: usize,
}

impl Scope {
    #[inline]
    pub(crate) fn begin(stage: Option<Stage>) -> Self {
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

/// The same for contents that need not be copied to be a part of their message: new memory is not worth it for them.
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
    // Contents count as much as in the message.
    let staged = BYTES.get().saturating_add(contents.len());
    if out.len().saturating_add(staged).saturating_add(8) > limit {
        return Err(CodecError::TooLarge(limit));
    }
    if !(stage.reserve)(contents.len()) {
        return Ok(false);
    }
    let place = (stage.put)(contents);
    BYTES.set(staged);
    for number in [length as u64 | STAGED, place.memory, place.offset] {
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
    FIND.get().is_some()
}

/// Contents that lie apart from their message.
pub(crate) struct Staged {
    pub(crate) memory: Arc<StagedMemory>,
    pub(crate) offset: usize,
    pub(crate) length: usize,
}

impl Staged {
    pub(crate) fn bytes(&self) -> &[u8] {
        let part = self.memory.part(self.offset, self.length);
        part.expect("it was checked when this was made")
    }
}

/// Returns whether the next contents lie apart from the message. If so, [`take`] finds them.
#[inline]
pub(crate) fn is_next(bytes: &[u8]) -> bool {
    bytes
        .first_chunk()
        .is_some_and(|length| u64::from_le_bytes(*length) >= STAGED)
        && is_reading()
}

/// Finds the next contents, whose elements are `width` bytes each, and advances `bytes` past their place. Returns `None`
/// if they do not lie apart from the message.
///
/// # Errors
///
/// If there is nothing at their place.
#[cold]
pub(crate) fn take(bytes: &mut &[u8], width: usize) -> Result<Option<Staged>, CodecError> {
    let Some(find) = FIND.get().filter(|_| is_next(bytes)) else {
        return Ok(None);
    };
    let missing = || CodecError::Invalid("a place where nothing is staged".to_owned());
    let (place, rest) = bytes.split_first_chunk::<SIZE>().ok_or_else(missing)?;
    let (numbers, _) = place.as_chunks();
    let number = |at: usize| u64::from_le_bytes(numbers[at]);
    let length = usize::try_from(number(0) & !STAGED).ok();
    let length = length.and_then(|length| length.checked_mul(width));
    let offset = usize::try_from(number(2)).ok();
    let (length, offset) = length.zip(offset).ok_or_else(missing)?;
    let memory = find(number(1)).map_err(CodecError::Invalid)?;
    memory.part(offset, length).ok_or_else(missing)?;
    *bytes = rest;
    Ok(Some(Staged {
        memory,
        offset,
        length,
    }))
}
