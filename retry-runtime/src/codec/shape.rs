//! A code for the shape of a value, from which the decoder knows that it has read what was written.
//!
//! The format is not self-describing: a type whose `Deserialize` expects other parts than its `Serialize`
//! wrote would take one part for another, and may end up with a valid value. So both sides fold the kind of
//! each part into a number. The encoder appends its number to the value, and the decoder compares. Lengths
//! and tags need not be folded in: they are in the bytes, and both sides take the same bytes for lengths if
//! they agree on the parts.
//!
//! The names of fields are folded into a second number. Without it, a struct that skips one field when it is
//! written and another one of the same type when it is read would have the same parts in both directions.

use std::any::TypeId;

/// The kind of one part of a value. The numbers are arbitrary.
#[derive(Clone, Copy)]
#[repr(u32)]
pub(super) enum PartKind {
    Bool = 0x9c2d_7e4b,
    I8 = 0x31f0_a8d5,
    I16 = 0xe87b_4c19,
    I32 = 0x5aa6_13f7,
    I64 = 0xc4e9_902d,
    I128 = 0x0b7d_e563,
    U8 = 0x76c1_3aaf,
    U16 = 0xaf58_d291,
    U32 = 0x1de3_6f0b,
    U64 = 0x834f_b8c7,
    U128 = 0xd61a_05e9,
    F32 = 0x48b2_cd7d,
    F64 = 0xf295_7136,
    Char = 0x2574_9eb3,
    /// Text or bytes, preceded by their length.
    Blob = 0x6e0c_e84f,
    /// The length of a sequence or a map.
    Length = 0xb9d7_2663,
    /// The tag of an optional value: present or absent.
    Option = 0x03a9_5bd1,
    Variant = 0x97f6_c02b,
    /// An element of a sequence or a map that has no parts, such as `()`.
    Empty = 0x7f4a_1d85,
}

/// The kinds of the parts so far, in their order, and the names of those that are fields, in any order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Shape {
    parts: u32,
    names: u32,
}

impl Shape {
    /// Its size after a value, in bytes.
    pub(super) const BYTES: usize = 4;

    /// Adds the next part. Multiplying by nine and adding is one instruction of one cycle; the constants make
    /// different orders give different results.
    #[inline]
    pub(super) fn add(&mut self, kind: PartKind) {
        self.parts = self.parts.wrapping_mul(9).wrapping_add(kind as u32);
    }

    /// Adds the name of a field.
    #[inline]
    pub(super) fn add_name(&mut self, name: &str) {
        self.names = self.names.wrapping_add(hash(name));
    }

    /// Adds the names of all fields of a struct. The first ones are added without a loop, so that the
    /// compiler can compute the sum when it knows the names.
    #[inline(always)]
    pub(super) fn add_names(&mut self, names: &[&str]) {
        macro_rules! first {
            ($($at:literal)*) => {
                $(
                    if let Some(name) = names.get($at) {
                        self.add_name(name);
                    }
                )*
            };
        }
        first!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);
        if let Some(more @ [_, ..]) = names.get(16..) {
            self.add_more_names(more);
        }
    }

    fn add_more_names(&mut self, names: &[&str]) {
        names.iter().for_each(|name| self.add_name(name));
    }

    /// Adds the shape that preceded an element of a sequence. The element itself started with an empty shape,
    /// so that its shape is a constant where the element is inlined.
    ///
    /// An element without parts has no bytes either. It counts nevertheless: otherwise a sequence of such elements
    /// would arrive with the length that its type has announced, instead of the length that it has.
    #[inline]
    pub(super) fn add_element(&mut self, before: Self) {
        if self.parts == 0 {
            self.parts = PartKind::Empty as u32;
        }
        self.parts = self.parts.wrapping_add(before.parts);
        self.names = self.names.wrapping_add(before.names);
    }

    /// Adds the elements of a sequence, each of which is one part of this kind.
    #[inline]
    pub(super) fn add_elements(&mut self, kind: PartKind, count: usize) {
        let elements = (kind as u32).wrapping_mul(count as u32);
        self.parts = self.parts.wrapping_add(elements);
    }

    #[inline]
    fn code(self) -> u32 {
        // The multiplication carries the lower half of the number into the upper half of the product.
        let parts = self.parts.wrapping_mul(0x9e37_79b1);
        parts & PARTS | self.names >> 16
    }

    #[inline]
    pub(super) fn to_bytes(self) -> [u8; Self::BYTES] {
        self.code().to_le_bytes()
    }

    /// Compares this shape with the one that was written.
    #[inline]
    pub(super) fn compare(self, written: [u8; Self::BYTES]) -> Agreement {
        match self.code() ^ u32::from_le_bytes(written) {
            0 => Agreement::Full,
            difference if difference & PARTS == 0 => Agreement::Parts,
            _ => Agreement::None,
        }
    }
}

/// The half of a code that covers the kinds of parts. The other half covers names.
const PARTS: u32 = 0xffff_0000;

/// The extent to which the shapes of both sides agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Agreement {
    Full,
    /// The parts agree, but the names of fields do not.
    Parts,
    None,
}

/// Returns whether both sides are known to agree about `T`, so that no shape follows it. The compiler
/// evaluates this.
#[inline]
pub(super) fn is_known<T: 'static>() -> bool {
    macro_rules! any {
        ($($type:ty)*) => {
            $(TypeId::of::<T>() == TypeId::of::<$type>())||*
        };
    }
    macro_rules! any_number {
        ($($type:ty)*) => {
            any!($($type)* $(Vec<$type>)*)
        };
    }
    any!(() bool char String)
        || any_number!(u8 i8 u16 i16 u32 i32 u64 i64 u128 i128 usize isize f32 f64)
}

/// Returns the tag of a variant: its index and a code of its name. Serde counts skipped variants when it
/// writes but not when it reads, so an index alone may denote another variant. `None` if the index does not
/// fit.
#[inline]
pub(super) fn tag(index: u32, name: &str) -> Option<u32> {
    (index <= INDEX).then(|| index | code(name))
}

/// Returns the index of a tag.
#[inline]
pub(super) fn index(tag: u32) -> u32 {
    tag & INDEX
}

/// Returns whether a tag belongs to a variant with this name.
#[inline]
pub(super) fn is_named(tag: u32, name: &str) -> bool {
    tag & !INDEX == code(name)
}

/// The bits of a tag that hold the index.
const INDEX: u32 = 0xffff;

/// Returns a code of a name in the remaining bits.
#[inline]
fn code(name: &str) -> u32 {
    hash(name) & !INDEX
}

/// Returns the hash of a name. It has no loop, so that the compiler can compute it when it knows the name.
#[inline]
fn hash(name: &str) -> u32 {
    let name = name.as_bytes();
    let (head, tail) = match (name.first_chunk(), name.last_chunk()) {
        (Some(head), Some(tail)) => {
            let (head, tail) = (u64::from_le_bytes(*head), u64::from_le_bytes(*tail));
            if name.len() > 16 {
                (head ^ middle(&name[8..name.len() - 8]), tail)
            } else {
                (head, tail)
            }
        }
        _ => match (name.first_chunk(), name.last_chunk()) {
            (Some(head), Some(tail)) => (
                u64::from(u32::from_le_bytes(*head)),
                u64::from(u32::from_le_bytes(*tail)),
            ),
            _ => match name {
                [a, b, c] => (
                    u64::from(*a),
                    u64::from_le_bytes([*b, *c, 0, 0, 0, 0, 0, 0]),
                ),
                [a, b] => (u64::from(*a), u64::from(*b)),
                [a] => (u64::from(*a), 0),
                _ => (0, 0),
            },
        },
    };
    let both = head.wrapping_mul(FACTOR) ^ tail.rotate_left(29) ^ name.len() as u64;
    let mixed = both.wrapping_mul(0xd6e8_feb8_6659_fd93);
    (mixed >> 32) as u32
}

const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

/// Returns a hash of the middle of a long name.
#[cold]
fn middle(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |hash, byte| {
        (hash ^ u64::from(*byte))
            .wrapping_mul(FACTOR)
            .rotate_left(23)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn different_names_have_different_tags() {
        let names = [
            "",
            "A",
            "B",
            "AB",
            "BA",
            "ABC",
            "ACB",
            "Read",
            "Rend",
            "Reads",
            "Unit",
            "Number",
            "Numbers",
            "Connected",
            "Connecting",
            "Disconnected",
            "V4",
            "V6",
            "Ok",
            "Err",
            "AVeryLongNameOfAVariant",
            "AVeryLongNameOfAVariane",
            "BVeryLongNameOfAVariant",
            "AVeryLongNameIfAVariant",
            "AVeryLongCaseOfAVariant",
            "ANameOfAVariantThatIsEvenMuchLongerThanThis",
            "ANameOfAVariantThatIsEvenVeryLongerThanThis",
        ];
        for (at, name) in names.iter().enumerate() {
            for other in &names[..at] {
                assert_ne!(tag(7, name), tag(7, other), "{name} {other}");
            }
            assert_eq!(tag(7, name).map(index), Some(7));
            assert!(is_named(tag(INDEX, name).unwrap(), name));
        }
        assert_eq!(tag(INDEX + 1, "A"), None);
    }

    #[test]
    fn the_order_and_the_number_of_parts_count() {
        let shape = |kinds: &[PartKind]| {
            let mut shape = Shape::default();
            kinds.iter().for_each(|kind| shape.add(*kind));
            shape
        };
        assert_eq!(
            shape(&[PartKind::U8, PartKind::U16]),
            shape(&[PartKind::U8, PartKind::U16])
        );
        assert_ne!(
            shape(&[PartKind::U8, PartKind::U16]),
            shape(&[PartKind::U16, PartKind::U8])
        );
        assert_ne!(shape(&[PartKind::U8]), shape(&[PartKind::U8, PartKind::U8]));
        assert_ne!(shape(&[]), shape(&[PartKind::U8]));
    }

    #[test]
    fn parts_and_names_are_compared_separately() {
        let shape = |kind, names: &[&str]| {
            let mut shape = Shape::default();
            names.iter().for_each(|name| {
                shape.add_name(name);
                shape.add(kind);
            });
            shape
        };
        let written = shape(PartKind::U8, &["id", "name"]).to_bytes();
        let compare = |kind, names| shape(kind, names).compare(written);
        assert_eq!(compare(PartKind::U8, &["id", "name"]), Agreement::Full);
        assert_eq!(compare(PartKind::U8, &["name", "key"]), Agreement::Parts);
        assert_eq!(compare(PartKind::I8, &["id", "name"]), Agreement::None);
        assert_eq!(compare(PartKind::U8, &["id"]), Agreement::None);
    }
}
