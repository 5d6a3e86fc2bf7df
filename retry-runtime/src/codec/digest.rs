//! Computes a digest of a value as serde presents it to a human-readable format, to tell whether a value has
//! survived a round trip unchanged.
//!
//! The elements of sequences and maps count in any order, since a hash table yields them in another one after
//! the round trip.

use std::hash::{DefaultHasher, Hash, Hasher};

use serde::ser::{
    Serialize, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
    SerializeTupleStruct, SerializeTupleVariant, Serializer,
};

use super::MAX_NESTING;
use super::failure::ValueError;
use super::handle;

/// Returns the digest of a value. If `finite`, floats that are not finite are an error.
pub(super) fn digest<T: Serialize + ?Sized>(value: &T, finite: bool) -> Result<u64, ValueError> {
    let depth = MAX_NESTING;
    value.serialize(Digest { finite, depth })
}

fn hash(what: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    what.hash(&mut hasher);
    hasher.finish()
}

/// Computes the digest of one value.
#[derive(Clone, Copy)]
struct Digest {
    finite: bool,
    /// Levels of nesting that are left.
    depth: u16,
}

impl Digest {
    fn enter(self) -> Result<Self, ValueError> {
        let depth = self.depth.checked_sub(1).ok_or_else(ValueError::too_deep)?;
        Ok(Self { depth, ..self })
    }

    fn parts(self, ordered: bool) -> Result<Parts, ValueError> {
        Ok(Parts {
            digest: self.enter()?,
            ordered,
            key: 0,
            sum: 0,
        })
    }

    fn float(self, is_finite: bool, bits: impl Hash) -> Result<u64, ValueError> {
        if self.finite && !is_finite {
            return Err(ValueError::no_number());
        }
        Ok(hash(("float", bits)))
    }
}

macro_rules! scalars {
    ($($method:ident: $type:ty)*) => {
        $(
            fn $method(self, value: $type) -> Result<u64, ValueError> {
                Ok(hash((stringify!($method), value)))
            }
        )*
    };
}

impl Serializer for Digest {
    type Ok = u64;
    type Error = ValueError;
    type SerializeSeq = Parts;
    type SerializeTuple = Parts;
    type SerializeTupleStruct = Parts;
    type SerializeTupleVariant = Parts;
    type SerializeMap = Parts;
    type SerializeStruct = Parts;
    type SerializeStructVariant = Parts;

    scalars! {
        serialize_bool: bool serialize_char: char serialize_str: &str serialize_bytes: &[u8]
        serialize_i8: i8 serialize_i16: i16 serialize_i32: i32 serialize_i64: i64
        serialize_i128: i128 serialize_u8: u8 serialize_u16: u16 serialize_u32: u32
        serialize_u64: u64 serialize_u128: u128
    }

    fn serialize_f32(self, value: f32) -> Result<u64, ValueError> {
        self.float(value.is_finite(), value.to_bits())
    }

    fn serialize_f64(self, value: f64) -> Result<u64, ValueError> {
        self.float(value.is_finite(), value.to_bits())
    }

    fn serialize_none(self) -> Result<u64, ValueError> {
        Ok(hash("none"))
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<u64, ValueError> {
        let value = value.serialize(self.enter()?);
        Ok(hash(("some", value.map_err(ValueError::within::<T>)?)))
    }

    fn serialize_unit(self) -> Result<u64, ValueError> {
        Ok(hash("unit"))
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<u64, ValueError> {
        Ok(hash("unit"))
    }

    fn serialize_unit_variant(
        self,
        _: &'static str,
        index: u32,
        _: &'static str,
    ) -> Result<u64, ValueError> {
        Ok(hash(("variant", index)))
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        value: &T,
    ) -> Result<u64, ValueError> {
        let _handle = handle::enter(name);
        value
            .serialize(self.enter()?)
            .map_err(ValueError::within::<T>)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        index: u32,
        _: &'static str,
        value: &T,
    ) -> Result<u64, ValueError> {
        let value = value.serialize(self.enter()?);
        Ok(hash((index, value.map_err(ValueError::within::<T>)?)))
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Parts, ValueError> {
        self.parts(false)
    }

    fn serialize_tuple(self, _: usize) -> Result<Parts, ValueError> {
        self.parts(true)
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Parts, ValueError> {
        self.parts(true)
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        index: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Parts, ValueError> {
        let mut parts = self.parts(true)?;
        parts.add(u64::from(index));
        Ok(parts)
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Parts, ValueError> {
        self.parts(false)
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Parts, ValueError> {
        self.parts(true)
    }

    fn serialize_struct_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        length: usize,
    ) -> Result<Parts, ValueError> {
        self.serialize_tuple_variant(name, index, variant, length)
    }

    fn is_human_readable(&self) -> bool {
        true
    }
}

/// Computes the digest of a value from those of its parts.
struct Parts {
    digest: Digest,
    ordered: bool,
    /// The digest of the key that belongs to the next value of a map.
    key: u64,
    sum: u64,
}

impl Parts {
    fn add(&mut self, part: u64) {
        self.sum = if self.ordered {
            hash((self.sum, part))
        } else {
            self.sum.wrapping_add(hash(part))
        };
    }

    fn put<T: Serialize + ?Sized>(
        &mut self,
        field: Option<&'static str>,
        value: &T,
    ) -> Result<(), ValueError> {
        let part = value.serialize(self.digest);
        let part = part.map_err(|failure| failure.at::<T>(field))?;
        self.add(hash((field, part)));
        Ok(())
    }
}

macro_rules! parts {
    ($($trait:ident $method:ident;)*) => {
        $(
            impl $trait for Parts {
                type Ok = u64;
                type Error = ValueError;

                fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), ValueError> {
                    self.put(None, value)
                }

                fn end(self) -> Result<u64, ValueError> {
                    Ok(self.sum)
                }
            }
        )*
    };
}

parts! {
    SerializeSeq serialize_element;
    SerializeTuple serialize_element;
    SerializeTupleStruct serialize_field;
    SerializeTupleVariant serialize_field;
}

macro_rules! fields {
    ($($trait:ident)*) => {
        $(
            impl $trait for Parts {
                type Ok = u64;
                type Error = ValueError;

                fn serialize_field<T: Serialize + ?Sized>(
                    &mut self,
                    field: &'static str,
                    value: &T,
                ) -> Result<(), ValueError> {
                    self.put(Some(field), value)
                }

                fn end(self) -> Result<u64, ValueError> {
                    Ok(self.sum)
                }
            }
        )*
    };
}

fields! { SerializeStruct SerializeStructVariant }

impl SerializeMap for Parts {
    type Ok = u64;
    type Error = ValueError;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), ValueError> {
        self.key = key
            .serialize(self.digest)
            .map_err(ValueError::within::<T>)?;
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), ValueError> {
        let value = value
            .serialize(self.digest)
            .map_err(ValueError::within::<T>)?;
        self.add(hash((self.key, value)));
        Ok(())
    }

    fn end(self) -> Result<u64, ValueError> {
        Ok(self.sum)
    }
}
