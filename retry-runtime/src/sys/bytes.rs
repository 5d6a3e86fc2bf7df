//! Bytes of numbers, and memory that is about to be filled.

use std::any::TypeId;
use std::mem::{ManuallyDrop, MaybeUninit};
use std::ptr;

use super::advise_large_pages;

/// The size, in bytes, from which on large pages pay off.
const SPACIOUS: usize = 4 * 1024 * 1024;

/// Tells the kernel that all of this room is about to be filled. With large pages, filling takes a quarter of
/// the time, most of which would otherwise be spent on page faults.
pub(crate) fn fills<T>(room: &mut [MaybeUninit<T>]) {
    let length = size_of_val(room);
    if length < SPACIOUS {
        return;
    }
    advise_large_pages(room.as_mut_ptr().cast(), length);
}

/// A number type without padding bytes: an integer or a float.
///
/// # Safety
///
/// The type must have no bytes between or after those of its value, and any bytes must be a value.
pub unsafe trait Number: Sealed + Copy + 'static {}

/// Keeps other crates from implementing [`Number`], of which others have a list as well.
pub trait Sealed {}

macro_rules! numbers {
    ($($type:ty)*) => {
        $(
            impl Sealed for $type {}

            // SAFETY: a primitive number consists of nothing but its bytes.
            unsafe impl Number for $type {}
        )*
    };
}

numbers! { u8 i8 u16 i16 u32 i32 u64 i64 u128 i128 usize isize f32 f64 }

/// Returns whether a type is another one, apart from lifetimes.
#[inline]
pub(crate) fn is<T, U: 'static>() -> bool {
    typeid::of::<T>() == TypeId::of::<U>()
}

/// Returns the numbers that a reference to a vector or a slice refers to; `None` if it refers to something else.
#[inline]
pub(crate) fn numbers_behind<R, N: Number>(reference: &R) -> Option<&[N]> {
    if is::<R, &'static [N]>() {
        // SAFETY: both types are the same but for the lifetime of the inner reference, which is at least that of the
        // outer one.
        Some(unsafe { *ptr::from_ref(reference).cast::<&[N]>() })
    } else if is::<R, &'static Vec<N>>() {
        // SAFETY: as above.
        Some(unsafe { *ptr::from_ref(reference).cast::<&Vec<N>>() })
    } else {
        None
    }
}

/// Returns a value as one of another type that is the same type; otherwise returns it as it was.
#[inline]
pub(crate) fn cast<T: 'static, U>(value: T) -> Result<U, T> {
    if !is::<U, T>() {
        return Err(value);
    }
    let value = ManuallyDrop::new(value);
    // SAFETY: the types are the same, since `T` has no lifetimes. The value is moved: it is not dropped here.
    Ok(unsafe { std::mem::transmute_copy(&*value) })
}

/// Returns the bytes of numbers as they are in memory.
pub(crate) fn bytes_of<N: Number>(numbers: &[N]) -> &[u8] {
    // SAFETY: the slice covers exactly the bytes of the numbers, all of them initialised, and borrows them
    // for the same lifetime; bytes need no alignment.
    unsafe { std::slice::from_raw_parts(numbers.as_ptr().cast(), size_of_val(numbers)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_told_apart_but_not_their_lifetimes() {
        fn numbers<R>(reference: &R) -> Option<&[u16]> {
            numbers_behind(reference)
        }
        let vector = vec![1_u16, 2];
        assert_eq!(numbers(&&vector), Some(&[1, 2][..]));
        assert_eq!(numbers(&&vector[1..]), Some(&[2][..]));
        assert_eq!(numbers(&vector), None);
        assert_eq!(numbers(&&&vector), None);
        assert_eq!(numbers(&&vec![1_i16]), None);
        assert_eq!(numbers(&&mut vec![1_u16]), None);
        let text = String::from("x");
        assert_eq!(cast::<String, Vec<u8>>(text), Err("x".to_owned()));
        assert_eq!(cast::<Vec<u16>, Vec<u16>>(vector), Ok(vec![1, 2]));
    }
}
