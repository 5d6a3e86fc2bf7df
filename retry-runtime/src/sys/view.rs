//! Views of values that others own.

use std::any::Any;
use std::ops::Deref;
use std::ptr::NonNull;
use std::sync::Arc;

use super::{Number, SealedMemory, StagedMemory};

/// A value, and the owner of the memory that it lies in.
pub(crate) struct View<V: ?Sized> {
    value: NonNull<V>,
    owner: Arc<dyn Any + Send + Sync>,
}

/// Views a part of staged memory, given its offset and its length in bytes.
pub(crate) type ViewStaged<V> = fn(Arc<StagedMemory>, usize, usize) -> Option<View<V>>;

// SAFETY: a view is a shared reference together with the owner of what it refers to.
unsafe impl<V: Sync + ?Sized> Send for View<V> {}

// SAFETY: as above.
unsafe impl<V: Sync + ?Sized> Sync for View<V> {}

impl<V: ?Sized> View<V> {
    /// Returns a part of a value, or all of it.
    pub(crate) fn of<O: Any + Send + Sync>(owner: Arc<O>, part: impl FnOnce(&O) -> &V) -> Self {
        let value = NonNull::from(part(&owner));
        Self { value, owner }
    }

    /// Returns a part of a value, if it has it.
    fn find<O: Any + Send + Sync>(
        owner: Arc<O>,
        part: impl FnOnce(&O) -> Option<&V>,
    ) -> Option<Self> {
        let value = NonNull::from(part(&owner)?);
        Some(Self { value, owner })
    }
}

impl<N: Number> View<[N]> {
    /// Returns the memory as numbers, if it has no bytes left over.
    pub(crate) fn numbers(memory: Arc<SealedMemory>) -> Option<Self> {
        Self::find(memory, |memory| numbers_of(memory.bytes()))
    }

    /// Returns a part of staged memory as numbers, if it has no bytes left over.
    pub(crate) fn staged_numbers(
        memory: Arc<StagedMemory>,
        offset: usize,
        length: usize,
    ) -> Option<Self> {
        Self::find(memory, |memory| numbers_of(memory.part(offset, length)?))
    }
}

impl View<str> {
    /// Returns the memory as text, if it is UTF-8.
    pub(crate) fn text(memory: Arc<SealedMemory>) -> Option<Self> {
        Self::find(memory, |memory| std::str::from_utf8(memory.bytes()).ok())
    }

    /// Returns a part of staged memory as text, if it is UTF-8.
    pub(crate) fn staged_text(
        memory: Arc<StagedMemory>,
        offset: usize,
        length: usize,
    ) -> Option<Self> {
        Self::find(memory, |memory| {
            std::str::from_utf8(memory.part(offset, length)?).ok()
        })
    }
}

impl<V: ?Sized> Clone for View<V> {
    fn clone(&self) -> Self {
        Self {
            value: self.value,
            owner: Arc::clone(&self.owner),
        }
    }
}

impl<V: ?Sized> Deref for View<V> {
    type Target = V;

    fn deref(&self) -> &V {
        // SAFETY: the constructors were given a reference that is good for as long as its owner is borrowed. The view's
        // share in the `Arc` keeps the owner alive at its place, and keeps other holders from borrowing it mutably.
        unsafe { self.value.as_ref() }
    }
}

/// Returns bytes as numbers, if they are aligned for them and have none left over.
fn numbers_of<N: Number>(bytes: &[u8]) -> Option<&[N]> {
    let (first, count) = (bytes.as_ptr().cast::<N>(), bytes.len() / size_of::<N>());
    if !first.is_aligned() {
        // No bytes at all may lie anywhere.
        return bytes.is_empty().then_some(&[]);
    }
    let is_whole = count * size_of::<N>() == bytes.len();
    // SAFETY: any bytes are numbers, and these have the alignment and the size of as many.
    is_whole.then(|| unsafe { std::slice::from_raw_parts(first, count) })
}

/// Returns bytes that are to be written as numbers, under the conditions of [`numbers_of`].
pub(crate) fn numbers_of_mut<N: Number>(bytes: &mut [u8]) -> Option<&mut [N]> {
    // SAFETY: any bytes are numbers, and numbers have no bytes that are not initialised.
    let (before, numbers, after) = unsafe { bytes.align_to_mut() };
    (before.is_empty() && after.is_empty()).then_some(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory(bytes: &[u8]) -> Arc<SealedMemory> {
        Arc::new(SealedMemory::copy_of(bytes).unwrap())
    }

    #[test]
    fn numbers_lie_where_their_bytes_are() {
        let numbers: Vec<f64> = (0..5000).map(f64::from).collect();
        for count in [0, 1, 5000] {
            let memory = memory(crate::sys::bytes_of(&numbers[..count]));
            let view = View::<[f64]>::numbers(Arc::clone(&memory)).unwrap();
            let copy = view.clone();
            drop(view);
            assert_eq!(&*copy, &numbers[..count]);
            assert_eq!(copy.as_ptr().cast(), memory.bytes().as_ptr());
        }
        assert!(View::<[f64]>::numbers(memory(&[0; 9])).is_none());
        assert!(View::<[u128]>::numbers(memory(&[0; 24])).is_none());
    }

    #[test]
    fn text_is_utf_8() {
        assert_eq!(&*View::text(memory("grüße".as_bytes())).unwrap(), "grüße");
        assert_eq!(&*View::text(memory(b"")).unwrap(), "");
        assert!(View::text(memory(&[0xff])).is_none());
    }

    #[test]
    fn bytes_are_numbers_where_they_are_aligned() {
        let mut numbers = [0u64; 4];
        // SAFETY: these are the bytes of the numbers.
        let bytes: &mut [u8] = unsafe { numbers.align_to_mut().1 };
        numbers_of_mut(bytes).unwrap()[3] = 7u64;
        assert!(numbers_of_mut::<u64>(&mut bytes[1..]).is_none());
        assert!(numbers_of_mut::<u64>(&mut bytes[..9]).is_none());
        assert!(numbers_of::<u64>(&bytes[1..9]).is_none());
        assert_eq!(numbers_of::<u64>(&bytes[1..1]), Some(&[][..]));
        assert_eq!(numbers, [0, 0, 0, 7]);
    }
}
