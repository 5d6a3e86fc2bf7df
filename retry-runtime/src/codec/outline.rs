//! The structure of types, as the decoder asks for it. Two types with the same structure have the same
//! encodings with the same meanings; a stored encoding may be decoded only as a type with its structure.
//!
//! The structure is found by decoding made-up values: each variant of each enum once, options and sequences
//! with one element. A type that rejects made-up values counts by its name instead.

use std::any::type_name;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::panic::{AssertUnwindSafe, catch_unwind};

use serde::de::value::U32Deserializer;
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, MapAccess,
    SeqAccess, VariantAccess, Visitor,
};

use sha2::{Digest, Sha256};

use super::failure::ValueError;

/// Nesting below which options are empty and sequences have no elements, so that recursive types end.
const DEEP: u16 = 24;

/// Nesting at which a made-up value is given up.
const MAX_PROBE_DEPTH: u16 = 64;

/// Number of parts of a type after which options are empty and sequences have no elements.
const MAX_FULL_PARTS: u32 = 10_000;

/// Number of parts of a type after which a made-up value is given up.
const MAX_PROBED_PARTS: u32 = 100_000;

/// The names and the structures of types.
pub struct Outline {
    names: Vec<String>,
    hasher: Sha256,
}

impl Outline {
    pub(crate) fn new() -> Self {
        Self {
            names: Vec::new(),
            hasher: Sha256::new(),
        }
    }

    /// Adds a type.
    pub(crate) fn add<T: DeserializeOwned>(&mut self) {
        let name = type_name::<T>();
        let mut tracer = Tracer::default();
        // Each pass reaches at least one variant that no earlier one has reached.
        while tracer.unseen {
            tracer.unseen = false;
            tracer.parts = 0;
            let pass = catch_unwind(AssertUnwindSafe(|| {
                T::deserialize(Part {
                    tracer: &mut tracer,
                    depth: 0,
                })
                .is_ok()
            }));
            if !pass.unwrap_or(false) && !tracer.is_cut {
                tracer.hasher.update(name);
            }
            if tracer.total > MAX_PROBED_PARTS {
                break;
            }
        }
        self.hasher.update(tracer.hasher.finalize());
        self.names.push(short(name));
    }

    /// Returns the names of the types, without the paths of their modules.
    pub(crate) fn names(&self) -> &[String] {
        &self.names
    }

    /// Returns a digest of the structures.
    pub(crate) fn digest(&self) -> u64 {
        let digest: [u8; 32] = self.hasher.clone().finalize().into();
        u64::from_le_bytes(*digest.first_chunk().expect("it is longer"))
    }
}

/// Removes the paths of modules from the name of a type.
fn short(name: &str) -> String {
    let mut text = String::new();
    let mut word = String::new();
    for character in name.chars() {
        match character {
            ':' => word.clear(),
            character if character.is_alphanumeric() || character == '_' => word.push(character),
            character => {
                text.push_str(&word);
                word.clear();
                text.push(character);
            }
        }
    }
    text + &word
}

/// Facts about a type.
struct Tracer {
    hasher: Sha256,
    /// The number of variants of each enum that were made up.
    variants: BTreeMap<(&'static str, usize), usize>,
    /// There may be variants that no pass has reached.
    unseen: bool,
    /// A value was given up since it was too deep or too large.
    is_cut: bool,
    /// Number of parts of this pass, and of all.
    parts: u32,
    total: u32,
}

impl Default for Tracer {
    fn default() -> Self {
        Self {
            hasher: Sha256::new(),
            variants: BTreeMap::new(),
            unseen: true,
            is_cut: false,
            parts: 0,
            total: 0,
        }
    }
}

/// One part of a made-up value.
struct Part<'a> {
    tracer: &'a mut Tracer,
    depth: u16,
}

impl Part<'_> {
    /// Adds a part. The text of its kind is the same with every version of the compiler, unlike its `Hash`.
    fn put(&mut self, kind: impl Debug) -> Result<(), ValueError> {
        self.tracer.hasher.update(format!("{kind:?};"));
        self.tracer.parts += 1;
        self.tracer.total += 1;
        if self.depth >= MAX_PROBE_DEPTH || self.tracer.parts >= MAX_PROBED_PARTS {
            self.tracer.is_cut = true;
            return Err(ValueError::too_deep());
        }
        Ok(())
    }

    /// Returns whether optional parts are left out.
    fn is_short(&self) -> bool {
        self.depth >= DEEP || self.tracer.parts >= MAX_FULL_PARTS
    }

    fn inner(&mut self) -> Part<'_> {
        Part {
            tracer: self.tracer,
            depth: self.depth + 1,
        }
    }

    fn elements(&mut self, left: usize) -> Elements<'_> {
        Elements {
            tracer: self.tracer,
            depth: self.depth + 1,
            left,
        }
    }

    fn optional(&self) -> usize {
        usize::from(!self.is_short())
    }
}

macro_rules! scalars {
    ($($method:ident => $visit:ident($($value:expr)?);)*) => {
        $(
            fn $method<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, ValueError> {
                self.put(stringify!($method))?;
                visitor.$visit($($value)?)
            }
        )*
    };
}

// The values are 1 or "1" because 0 and "" are refused by types such as `NonZeroU32`.
impl<'de> Deserializer<'de> for Part<'_> {
    type Error = ValueError;

    scalars! {
        deserialize_bool => visit_bool(true);
        deserialize_i8 => visit_i8(1);
        deserialize_i16 => visit_i16(1);
        deserialize_i32 => visit_i32(1);
        deserialize_i64 => visit_i64(1);
        deserialize_i128 => visit_i128(1);
        deserialize_u8 => visit_u8(1);
        deserialize_u16 => visit_u16(1);
        deserialize_u32 => visit_u32(1);
        deserialize_u64 => visit_u64(1);
        deserialize_u128 => visit_u128(1);
        deserialize_f32 => visit_f32(1.0);
        deserialize_f64 => visit_f64(1.0);
        deserialize_char => visit_char('1');
        deserialize_str => visit_str("1");
        deserialize_string => visit_str("1");
        deserialize_bytes => visit_bytes(b"1");
        deserialize_byte_buf => visit_bytes(b"1");
        deserialize_unit => visit_unit();
        deserialize_identifier => visit_u32(0);
    }

    fn deserialize_any<V: Visitor<'de>>(mut self, _: V) -> Result<V::Value, ValueError> {
        self.put("any")?;
        Err(ValueError::too_deep())
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        self.deserialize_any(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, ValueError> {
        self.put("option")?;
        if self.is_short() {
            visitor.visit_none()
        } else {
            visitor.visit_some(self.inner())
        }
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        mut self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, ValueError> {
        self.put(("unit struct", name))?;
        visitor.visit_unit()
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        mut self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, ValueError> {
        self.put(("newtype struct", name))?;
        visitor.visit_newtype_struct(self.inner())
    }

    fn deserialize_seq<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, ValueError> {
        self.put("seq")?;
        let count = self.optional();
        visitor.visit_seq(self.elements(count))
    }

    fn deserialize_tuple<V: Visitor<'de>>(
        mut self,
        length: usize,
        visitor: V,
    ) -> Result<V::Value, ValueError> {
        self.put(("tuple", length))?;
        visitor.visit_seq(self.elements(length))
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        mut self,
        name: &'static str,
        length: usize,
        visitor: V,
    ) -> Result<V::Value, ValueError> {
        self.put(("tuple struct", name, length))?;
        visitor.visit_seq(self.elements(length))
    }

    fn deserialize_map<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, ValueError> {
        self.put("map")?;
        let count = self.optional();
        visitor.visit_map(self.elements(count))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        mut self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ValueError> {
        self.put(("struct", name, fields))?;
        visitor.visit_seq(self.elements(fields.len()))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        mut self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ValueError> {
        self.put(("enum", name, variants))?;
        let made_up = self
            .tracer
            .variants
            .entry((name, variants.len()))
            .or_default();
        // Once each variant was reached, the first one stands for all.
        let variant = if *made_up < variants.len() {
            *made_up += 1;
            self.tracer.unseen = true;
            *made_up - 1
        } else {
            0
        };
        self.put(("variant", variant))?;
        let variant = u32::try_from(variant).unwrap_or_default();
        visitor.visit_enum(Chosen {
            part: self.inner(),
            variant,
        })
    }

    fn is_human_readable(&self) -> bool {
        false
    }
}

/// The elements of a sequence, or the entries of a map.
struct Elements<'a> {
    tracer: &'a mut Tracer,
    depth: u16,
    left: usize,
}

impl Elements<'_> {
    fn part(&mut self) -> Part<'_> {
        Part {
            tracer: self.tracer,
            depth: self.depth,
        }
    }
}

impl<'de> SeqAccess<'de> for Elements<'_> {
    type Error = ValueError;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, ValueError> {
        let Some(left) = self.left.checked_sub(1) else {
            return Ok(None);
        };
        self.left = left;
        seed.deserialize(self.part()).map(Some)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.left)
    }
}

impl<'de> MapAccess<'de> for Elements<'_> {
    type Error = ValueError;

    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, ValueError> {
        self.next_element_seed(seed)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<S::Value, ValueError> {
        seed.deserialize(self.part())
    }
}

/// A variant of an enum.
struct Chosen<'a> {
    part: Part<'a>,
    variant: u32,
}

impl<'de, 'a> EnumAccess<'de> for Chosen<'a> {
    type Error = ValueError;
    type Variant = Part<'a>;

    fn variant_seed<S: DeserializeSeed<'de>>(
        self,
        seed: S,
    ) -> Result<(S::Value, Part<'a>), ValueError> {
        let variant: U32Deserializer<ValueError> = self.variant.into_deserializer();
        Ok((seed.deserialize(variant)?, self.part))
    }
}

impl<'de> VariantAccess<'de> for Part<'_> {
    type Error = ValueError;

    fn unit_variant(mut self) -> Result<(), ValueError> {
        self.put("unit variant")
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(
        mut self,
        seed: S,
    ) -> Result<S::Value, ValueError> {
        self.put("newtype variant")?;
        seed.deserialize(self)
    }

    fn tuple_variant<V: Visitor<'de>>(
        mut self,
        length: usize,
        visitor: V,
    ) -> Result<V::Value, ValueError> {
        self.put(("tuple variant", length))?;
        visitor.visit_seq(self.elements(length))
    }

    fn struct_variant<V: Visitor<'de>>(
        mut self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ValueError> {
        self.put(("struct variant", fields))?;
        visitor.visit_seq(self.elements(fields.len()))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::num::NonZeroU32;

    use serde::Deserialize;

    use super::*;

    fn digest<T: DeserializeOwned>() -> u64 {
        let mut outline = Outline::new();
        outline.add::<T>();
        outline.digest()
    }

    mod old {
        use super::*;

        #[derive(Deserialize)]
        #[expect(dead_code, reason = "only its structure counts")]
        pub(super) struct Node {
            pub(super) weight: u32,
            pub(super) next: Option<Box<Node>>,
            pub(super) others: Vec<Node>,
        }

        #[derive(Deserialize)]
        #[expect(dead_code, reason = "only its structure counts")]
        pub(super) enum Shape {
            Sum(Box<Shape>, Box<Shape>),
            Circle { radius: f64 },
            Point,
        }

        pub(super) type Same = Node;
    }

    mod new {
        use super::*;

        #[derive(Deserialize)]
        #[expect(dead_code, reason = "only its structure counts")]
        pub(super) struct Node {
            pub(super) weight: u64,
            pub(super) next: Option<Box<Node>>,
            pub(super) others: Vec<Node>,
        }

        #[derive(Deserialize)]
        #[expect(dead_code, reason = "only its structure counts")]
        pub(super) enum Shape {
            Sum(Box<Shape>, Box<Shape>),
            Circle { radius: f32 },
            Point,
        }
    }

    #[test]
    fn types_with_the_same_name_differ_in_structure() {
        assert_eq!(digest::<old::Node>(), digest::<old::Same>());
        assert_ne!(digest::<old::Node>(), digest::<new::Node>());
        assert_ne!(digest::<old::Shape>(), digest::<new::Shape>());
        assert_eq!(digest::<old::Shape>(), digest::<old::Shape>());
    }

    #[test]
    fn all_kinds_of_types_have_digests_of_their_own() {
        #[derive(Deserialize)]
        struct Metres(#[expect(dead_code, reason = "only its structure counts")] f64);
        #[derive(Deserialize)]
        struct Feet(#[expect(dead_code, reason = "only its structure counts")] f64);
        let all = [
            digest::<()>(),
            digest::<u8>(),
            digest::<i8>(),
            digest::<f64>(),
            digest::<Metres>(),
            digest::<Feet>(),
            digest::<NonZeroU32>(),
            digest::<(u8, u16)>(),
            digest::<(u16, u8)>(),
            digest::<[u8; 3]>(),
            digest::<Vec<u8>>(),
            digest::<Option<u8>>(),
            digest::<Result<u8, u16>>(),
            digest::<Result<u8, u32>>(),
            digest::<HashMap<String, u8>>(),
            digest::<HashMap<u8, String>>(),
            digest::<std::net::IpAddr>(),
            digest::<std::time::Duration>(),
        ];
        let different: std::collections::BTreeSet<u64> = all.into_iter().collect();
        assert_eq!(different.len(), all.len());
    }

    #[test]
    fn names_have_no_paths() {
        let mut outline = Outline::new();
        outline.add::<HashMap<String, Option<old::Node>>>();
        assert_eq!(outline.names(), ["HashMap<String, Option<Node>>"]);
    }
}
