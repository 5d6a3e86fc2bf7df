//! Vectors and slices of numbers travel as the bytes that they are in memory.
//!
//! Serde hands over one element after the other, each with checks of its own. Here the type is
//! asked for instead: a function of the same signature as that for any `T`, which is one for
//! `Vec<f64>`, is `Any`, and comes back as what it is if `T` is `Vec<f64>`. The compiler knows the
//! answer for each `T`, so that nothing is left of the question.
//!
//! `bool` and `char` are not here: not each of their bytes is one.

use std::any::Any;
use std::mem::{needs_drop, size_of};

use super::{CodecError, decode_bytes, reserve};

type Encode<T> = fn(&T, &mut Vec<u8>, usize) -> Result<(), CodecError>;
type Decode<T> = fn(&mut &[u8]) -> Result<T, CodecError>;

/// A number whose encoding is its bytes, the lowest first.
trait Number: Copy + 'static {
    /// Appends the bytes of all numbers.
    fn put(numbers: &[Self], out: &mut Vec<u8>);

    /// The numbers that the bytes are; what is left over is ignored.
    fn take(bytes: &[u8]) -> Vec<Self>;
}

impl Number for u8 {
    fn put(numbers: &[Self], out: &mut Vec<u8>) {
        out.extend_from_slice(numbers);
    }

    fn take(bytes: &[u8]) -> Vec<Self> {
        bytes.to_vec()
    }
}

macro_rules! numbers {
    ($($type:ty)*) => {
        $(
            impl Number for $type {
                fn put(numbers: &[Self], out: &mut Vec<u8>) {
                    // Both copies are loops that the compiler sees through, which those into a
                    // vector are not: it checks its capacity for each piece.
                    const PIECE: usize = 4096 / size_of::<$type>();
                    let mut buffer = [[0; size_of::<$type>()]; PIECE];
                    for piece in numbers.chunks(PIECE) {
                        for (bytes, number) in buffer.iter_mut().zip(piece) {
                            *bytes = number.to_le_bytes();
                        }
                        out.extend_from_slice(buffer[..piece.len()].as_flattened());
                    }
                }

                fn take(bytes: &[u8]) -> Vec<Self> {
                    let (numbers, _) = bytes.as_chunks();
                    numbers.iter().map(|number| Self::from_le_bytes(*number)).collect()
                }
            }
        )*
    };
}

fn encode_numbers<N: Number>(
    numbers: &[N],
    out: &mut Vec<u8>,
    limit: usize,
) -> Result<(), CodecError> {
    reserve(out, size_of_val(numbers).saturating_add(8), limit)?;
    out.extend_from_slice(&(numbers.len() as u64).to_le_bytes());
    N::put(numbers, out);
    Ok(())
}

fn decode_numbers<N: Number>(bytes: &mut &[u8]) -> Result<Vec<N>, CodecError> {
    Ok(N::take(decode_bytes(bytes, size_of::<N>())?))
}

macro_rules! lookups {
    ($($type:ty)*) => {
        /// How a `T` is encoded, if it is a vector of numbers.
        #[inline]
        pub(super) fn encode_vec<T: 'static>() -> Option<Encode<T>> {
            if const { size_of::<T>() != size_of::<Vec<u8>>() } {
                return None;
            }
            $({
                let known: Encode<Vec<$type>> = |vec, out, limit| encode_numbers(vec, out, limit);
                if let Some(encode) = (&known as &dyn Any).downcast_ref() {
                    return Some(*encode);
                }
            })*
            None
        }

        /// How a slice of `T` is encoded, if they are numbers.
        #[inline]
        pub(super) fn encode_slice<T: 'static>() -> Option<Encode<[T]>> {
            if const { needs_drop::<T>() } {
                return None;
            }
            $({
                let known: Encode<[$type]> = encode_numbers;
                if let Some(encode) = (&known as &dyn Any).downcast_ref() {
                    return Some(*encode);
                }
            })*
            None
        }

        /// How a `T` is decoded, if it is a vector of numbers.
        #[inline]
        pub(super) fn decode_vec<T: 'static>() -> Option<Decode<T>> {
            if const { size_of::<T>() != size_of::<Vec<u8>>() } {
                return None;
            }
            $({
                let known: Decode<Vec<$type>> = decode_numbers;
                if let Some(decode) = (&known as &dyn Any).downcast_ref() {
                    return Some(*decode);
                }
            })*
            None
        }
    };
}

numbers! { i8 u16 i16 u32 i32 u64 i64 u128 i128 usize isize f32 f64 }
lookups! { u8 i8 u16 i16 u32 i32 u64 i64 u128 i128 usize isize f32 f64 }

// They travel as 64 bits.
const _: () = assert!(size_of::<usize>() == 8);
