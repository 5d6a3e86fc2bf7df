//! Bytes of numbers, and memory that is about to be filled.

use std::mem::MaybeUninit;

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

/// Returns the bytes of numbers as they are in memory.
pub(crate) fn bytes_of<N: Number>(numbers: &[N]) -> &[u8] {
    // SAFETY: the slice covers exactly the bytes of the numbers, all of them initialised, and borrows them
    // for the same lifetime; bytes need no alignment.
    unsafe { std::slice::from_raw_parts(numbers.as_ptr().cast(), size_of_val(numbers)) }
}
