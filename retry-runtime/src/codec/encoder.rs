//! Encodes values in the format that the serialisation crate decodes: little-endian integers and floats of
//! fixed width; lengths as `u64`; the tag of an option as a byte and that of a variant as `u32`; strings,
//! sequences and maps preceded by their length; a `char` as UTF-8.
//!
//! The crate's own encoder recurses as deeply as the value is nested, until the stack overflows, and that
//! stack is the caller's. This encoder counts levels as the [decoder](super::decoder) does, and rejects what
//! the other side would reject. Counting inside the encoder costs a flat value nothing, where a wrapper
//! around each element would.
//!
//! It adds two things to the crate's format: the tag of a variant includes a code of its name, and the
//! [shape](super::shape) of the value may follow it.

use std::any::type_name;
use std::mem::take;

use serde::ser::{
    Serialize, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
    SerializeTupleStruct, SerializeTupleVariant, Serializer,
};

use super::failure::{Omissible, ValueError};
use super::handle;
use super::primitive::{self, Numbers};
use super::shape::{self, PartKind, Shape};
use super::{MAX_NESTING, reserve, staging};

/// Appends to a vector up to a limit.
pub(super) struct Encoder<'a> {
    out: &'a mut Vec<u8>,
    limit: usize,
    /// Levels of nesting that are left.
    depth: u16,
    shape: Shape,
    omissible: Omissible,
    /// Set if large numbers may be staged, and if text and bytes may be.
    stages: bool,
    stages_blobs: bool,
}

impl<'a> Encoder<'a> {
    #[inline]
    pub(super) fn new(out: &'a mut Vec<u8>, limit: usize) -> Self {
        Self {
            out,
            limit,
            depth: MAX_NESTING,
            shape: Shape::default(),
            omissible: Omissible::default(),
            stages: false,
            stages_blobs: false,
        }
    }

    /// Stages large numbers from now on, and text and bytes as well if these are all that there is.
    pub(super) fn stage(&mut self, is_blob: bool) {
        self.stages = true;
        self.stages_blobs = is_blob;
    }

    /// Appends the shape of what was encoded.
    #[inline]
    pub(super) fn put_shape(&mut self) -> Result<(), ValueError> {
        self.put(&self.shape.to_bytes())
    }

    /// Returns the parts that serde may have omitted from what was encoded.
    #[inline]
    pub(super) fn omissible(&self) -> Omissible {
        self.omissible
    }

    #[inline]
    fn put(&mut self, bytes: &[u8]) -> Result<(), ValueError> {
        if self.out.len() + bytes.len() > self.limit {
            return Err(ValueError::too_large(self.limit));
        }
        self.out.extend_from_slice(bytes);
        Ok(())
    }

    #[inline]
    fn put_part(&mut self, kind: PartKind, bytes: &[u8]) -> Result<(), ValueError> {
        self.shape.add(kind);
        self.put(bytes)
    }

    #[inline]
    fn put_length(&mut self, kind: PartKind, length: usize) -> Result<(), ValueError> {
        self.put_part(kind, &(length as u64).to_le_bytes())
    }

    #[inline]
    fn put_tag(&mut self, index: u32, variant: &'static str) -> Result<(), ValueError> {
        let tag = shape::tag(index, variant).ok_or_else(ValueError::too_many_variants)?;
        self.put_part(PartKind::Variant, &tag.to_le_bytes())
    }

    /// Descends one level, to the content of a value. After a failure below, `leave` is not called.
    #[inline]
    fn enter(&mut self) -> Result<(), ValueError> {
        match self.depth.checked_sub(1) {
            Some(depth) => {
                self.depth = depth;
                Ok(())
            }
            None => Err(ValueError::too_deep()),
        }
    }

    #[inline]
    fn leave(&mut self) {
        self.depth += 1;
    }

    /// Encodes a sequence of numbers as a whole.
    fn put_numbers(&mut self, numbers: &Numbers<'_>) -> Result<(), ValueError> {
        self.enter()?;
        self.leave();
        let Numbers { bytes, count, kind } = *numbers;
        self.shape.add(PartKind::Length);
        self.shape.add_elements(kind, count);
        let too_large = |_| ValueError::too_large(self.limit);
        if self.stages && staging::put(bytes, count, self.out, self.limit).map_err(too_large)? {
            return Ok(());
        }
        let size = bytes.len().saturating_add(8);
        reserve(self.out, size, self.limit).map_err(too_large)?;
        self.out.extend_from_slice(&(count as u64).to_le_bytes());
        self.out.extend_from_slice(bytes);
        Ok(())
    }

    #[inline]
    fn inner<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), ValueError> {
        self.part(value)?;
        self.leave();
        Ok(())
    }

    #[inline]
    fn part<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), ValueError> {
        value.serialize(self).map_err(ValueError::within::<T>)
    }

    /// Encodes an element of a sequence, or a key or value of a map: their shapes count in any order.
    #[inline]
    fn element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), ValueError> {
        let before = take(&mut self.shape);
        self.part(value)?;
        self.shape.add_element(before);
        Ok(())
    }
}

macro_rules! numbers {
    ($($method:ident: $type:ty as $kind:ident)*) => {
        $(
            #[inline]
            fn $method(self, value: $type) -> Result<(), ValueError> {
                self.put_part(PartKind::$kind, &value.to_le_bytes())
            }
        )*
    };
}

impl Serializer for &mut Encoder<'_> {
    type Ok = ();
    type Error = ValueError;
    type SerializeSeq = Self;
    type SerializeTuple = Self;
    type SerializeTupleStruct = Self;
    type SerializeTupleVariant = Self;
    type SerializeMap = Self;
    type SerializeStruct = Self;
    type SerializeStructVariant = Self;

    numbers! {
        serialize_i8: i8 as I8
        serialize_i16: i16 as I16
        serialize_i32: i32 as I32
        serialize_i64: i64 as I64
        serialize_i128: i128 as I128
        serialize_u8: u8 as U8
        serialize_u16: u16 as U16
        serialize_u32: u32 as U32
        serialize_u64: u64 as U64
        serialize_u128: u128 as U128
        serialize_f32: f32 as F32
        serialize_f64: f64 as F64
    }

    #[inline]
    fn serialize_bool(self, value: bool) -> Result<(), ValueError> {
        self.put_part(PartKind::Bool, &[u8::from(value)])
    }

    #[inline]
    fn serialize_char(self, value: char) -> Result<(), ValueError> {
        self.put_part(PartKind::Char, value.encode_utf8(&mut [0; 4]).as_bytes())
    }

    #[inline]
    fn serialize_str(self, value: &str) -> Result<(), ValueError> {
        self.serialize_bytes(value.as_bytes())
    }

    #[inline]
    fn serialize_bytes(self, value: &[u8]) -> Result<(), ValueError> {
        if self.stages_blobs {
            match staging::put(value, value.len(), self.out, self.limit) {
                Ok(false) => {}
                Ok(true) => {
                    self.shape.add(PartKind::Blob);
                    return Ok(());
                }
                Err(_) => return Err(ValueError::too_large(self.limit)),
            }
        }
        self.put_length(PartKind::Blob, value.len())?;
        self.put(value)
    }

    #[inline]
    fn serialize_none(self) -> Result<(), ValueError> {
        self.enter()?;
        self.leave();
        self.put_part(PartKind::Option, &[0])
    }

    #[inline]
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), ValueError> {
        self.enter()?;
        // This may be a `Weak`, which serde writes as an `Option` of this type and reads as one without a value.
        let name = type_name::<T>();
        if name.starts_with("alloc::rc::Rc<") || name.starts_with("alloc::sync::Arc<") {
            self.omissible.weak = true;
        }
        self.put_part(PartKind::Option, &[1])?;
        self.inner(value)
    }

    #[inline]
    fn serialize_unit(self) -> Result<(), ValueError> {
        Ok(())
    }

    #[inline]
    fn serialize_unit_struct(self, _: &'static str) -> Result<(), ValueError> {
        Ok(())
    }

    #[inline]
    fn serialize_unit_variant(
        self,
        _: &'static str,
        index: u32,
        variant: &'static str,
    ) -> Result<(), ValueError> {
        self.enter()?;
        self.leave();
        self.put_tag(index, variant)
    }

    #[inline]
    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        value: &T,
    ) -> Result<(), ValueError> {
        let _handle = handle::enter(name);
        self.enter()?;
        self.inner(value)
    }

    #[inline]
    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), ValueError> {
        self.enter()?;
        self.put_tag(index, variant)?;
        self.inner(value)
    }

    #[inline]
    fn serialize_seq(self, length: Option<usize>) -> Result<Self, ValueError> {
        self.enter()?;
        let length = length.ok_or_else(|| ValueError::no_length("sequence"))?;
        self.put_length(PartKind::Length, length)?;
        Ok(self)
    }

    #[inline]
    fn collect_seq<I>(self, sequence: I) -> Result<(), ValueError>
    where
        I: IntoIterator,
        I::Item: Serialize,
    {
        if let Some(numbers) = primitive::of_sequence(&sequence) {
            return self.put_numbers(&numbers);
        }
        let elements = sequence.into_iter();
        let (least, most) = elements.size_hint();
        let length = most.filter(|most| *most == least);
        let encoder = self.serialize_seq(length)?;
        for element in elements {
            encoder.element(&element)?;
        }
        encoder.leave();
        Ok(())
    }

    #[inline]
    fn serialize_tuple(self, _: usize) -> Result<Self, ValueError> {
        self.enter()?;
        Ok(self)
    }

    #[inline]
    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Self, ValueError> {
        self.enter()?;
        Ok(self)
    }

    #[inline]
    fn serialize_tuple_variant(
        self,
        _: &'static str,
        index: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Self, ValueError> {
        self.enter()?;
        self.put_tag(index, variant)?;
        Ok(self)
    }

    #[inline]
    fn serialize_map(self, length: Option<usize>) -> Result<Self, ValueError> {
        self.enter()?;
        let length = length.ok_or_else(|| ValueError::no_length("map"))?;
        self.put_length(PartKind::Length, length)?;
        Ok(self)
    }

    #[inline]
    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Self, ValueError> {
        self.enter()?;
        Ok(self)
    }

    #[inline]
    fn serialize_struct_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        length: usize,
    ) -> Result<Self, ValueError> {
        self.serialize_tuple_variant(name, index, variant, length)
    }

    #[inline]
    fn is_human_readable(&self) -> bool {
        false
    }
}

macro_rules! parts {
    ($($trait:ident: $($method:ident)+ => $part:ident;)*) => {
        $(
            impl $trait for &mut Encoder<'_> {
                type Ok = ();
                type Error = ValueError;

                $(
                    #[inline]
                    fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), ValueError> {
                        self.$part(value)
                    }
                )+

                #[inline]
                fn end(self) -> Result<(), ValueError> {
                    self.leave();
                    Ok(())
                }
            }
        )*
    };
}

parts! {
    SerializeSeq: serialize_element => element;
    SerializeTupleStruct: serialize_field => part;
    SerializeTupleVariant: serialize_field => part;
    SerializeMap: serialize_key serialize_value => element;
}

impl SerializeTuple for &mut Encoder<'_> {
    type Ok = ();
    type Error = ValueError;

    #[inline]
    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), ValueError> {
        // This may be the address of a `SocketAddrV6`, which serde writes without its scope and flow.
        if type_name::<T>() == "&core::net::ip_addr::Ipv6Addr" {
            self.omissible.scope = true;
        }
        self.part(value)
    }

    #[inline]
    fn end(self) -> Result<(), ValueError> {
        self.leave();
        Ok(())
    }
}

macro_rules! fields {
    ($($trait:ident)*) => {
        $(
            impl $trait for &mut Encoder<'_> {
                type Ok = ();
                type Error = ValueError;

                #[inline]
                fn serialize_field<T: Serialize + ?Sized>(
                    &mut self,
                    field: &'static str,
                    value: &T,
                ) -> Result<(), ValueError> {
                    self.shape.add_name(field);
                    let result = value.serialize(&mut **self);
                    result.map_err(|failure| failure.at::<T>(Some(field)))
                }

                #[cold]
                fn skip_field(&mut self, field: &'static str) -> Result<(), ValueError> {
                    Err(ValueError::skipped(field))
                }

                #[inline]
                fn end(self) -> Result<(), ValueError> {
                    self.leave();
                    Ok(())
                }
            }
        )*
    };
}

fields! { SerializeStruct SerializeStructVariant }
