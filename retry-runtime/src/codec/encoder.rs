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

use std::mem::take;

use serde::ser::{
    Serialize, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
    SerializeTupleStruct, SerializeTupleVariant, Serializer,
};

use super::DEEPEST;
use super::failure::Failure;
use super::shape::{self, Kind, Shape};

/// Appends to a vector up to a limit.
pub(super) struct Encoder<'a> {
    out: &'a mut Vec<u8>,
    limit: usize,
    /// Levels of nesting that are left.
    depth: u16,
    shape: Shape,
    /// Set if serde may have omitted a part of the value.
    doubtful: bool,
}

impl<'a> Encoder<'a> {
    #[inline]
    pub(super) fn new(out: &'a mut Vec<u8>, limit: usize) -> Self {
        Self {
            out,
            limit,
            depth: DEEPEST,
            shape: Shape::default(),
            doubtful: false,
        }
    }

    /// Appends the shape of what was encoded.
    #[inline]
    pub(super) fn put_shape(&mut self) -> Result<(), Failure> {
        self.put(&self.shape.to_bytes())
    }

    /// Returns whether serde may have omitted a part of what was encoded.
    #[inline]
    pub(super) fn is_doubtful(&self) -> bool {
        self.doubtful
    }

    #[inline]
    fn put(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        if self.out.len() + bytes.len() > self.limit {
            return Err(Failure::too_large(self.limit));
        }
        self.out.extend_from_slice(bytes);
        Ok(())
    }

    #[inline]
    fn put_part(&mut self, kind: Kind, bytes: &[u8]) -> Result<(), Failure> {
        self.shape.add(kind);
        self.put(bytes)
    }

    #[inline]
    fn put_length(&mut self, kind: Kind, length: usize) -> Result<(), Failure> {
        self.put_part(kind, &(length as u64).to_le_bytes())
    }

    #[inline]
    fn put_tag(&mut self, index: u32, variant: &'static str) -> Result<(), Failure> {
        let tag = shape::tag(index, variant).ok_or_else(Failure::too_many_variants)?;
        self.put_part(Kind::Variant, &tag.to_le_bytes())
    }

    /// Descends one level, to the content of a value. After a failure below, `leave` is not called.
    #[inline]
    fn enter(&mut self) -> Result<(), Failure> {
        match self.depth.checked_sub(1) {
            Some(depth) => {
                self.depth = depth;
                Ok(())
            }
            None => Err(Failure::too_deep()),
        }
    }

    #[inline]
    fn leave(&mut self) {
        self.depth += 1;
    }

    #[inline]
    fn inner<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Failure> {
        self.part(value)?;
        self.leave();
        Ok(())
    }

    #[inline]
    fn part<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Failure> {
        value.serialize(self).map_err(Failure::within::<T>)
    }

    /// Encodes an element of a sequence, or a key or value of a map: their shapes count in any order.
    #[inline]
    fn element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Failure> {
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
            fn $method(self, value: $type) -> Result<(), Failure> {
                self.put_part(Kind::$kind, &value.to_le_bytes())
            }
        )*
    };
}

impl Serializer for &mut Encoder<'_> {
    type Ok = ();
    type Error = Failure;
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
    fn serialize_bool(self, value: bool) -> Result<(), Failure> {
        self.put_part(Kind::Bool, &[u8::from(value)])
    }

    #[inline]
    fn serialize_char(self, value: char) -> Result<(), Failure> {
        self.put_part(Kind::Char, value.encode_utf8(&mut [0; 4]).as_bytes())
    }

    #[inline]
    fn serialize_str(self, value: &str) -> Result<(), Failure> {
        self.serialize_bytes(value.as_bytes())
    }

    #[inline]
    fn serialize_bytes(self, value: &[u8]) -> Result<(), Failure> {
        self.put_length(Kind::Blob, value.len())?;
        self.put(value)
    }

    #[inline]
    fn serialize_none(self) -> Result<(), Failure> {
        self.enter()?;
        self.leave();
        self.put_part(Kind::Option, &[0])
    }

    #[inline]
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Failure> {
        self.enter()?;
        self.put_part(Kind::Option, &[1])?;
        self.inner(value)
    }

    #[inline]
    fn serialize_unit(self) -> Result<(), Failure> {
        Ok(())
    }

    #[inline]
    fn serialize_unit_struct(self, _: &'static str) -> Result<(), Failure> {
        Ok(())
    }

    #[inline]
    fn serialize_unit_variant(
        self,
        _: &'static str,
        index: u32,
        variant: &'static str,
    ) -> Result<(), Failure> {
        self.enter()?;
        self.leave();
        self.put_tag(index, variant)
    }

    #[inline]
    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<(), Failure> {
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
    ) -> Result<(), Failure> {
        self.enter()?;
        self.put_tag(index, variant)?;
        self.inner(value)
    }

    #[inline]
    fn serialize_seq(self, length: Option<usize>) -> Result<Self, Failure> {
        self.enter()?;
        let length = length.ok_or_else(|| Failure::no_length("sequence"))?;
        self.put_length(Kind::Length, length)?;
        Ok(self)
    }

    #[inline]
    fn serialize_tuple(self, _: usize) -> Result<Self, Failure> {
        self.enter()?;
        Ok(self)
    }

    #[inline]
    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Self, Failure> {
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
    ) -> Result<Self, Failure> {
        self.enter()?;
        self.put_tag(index, variant)?;
        Ok(self)
    }

    #[inline]
    fn serialize_map(self, length: Option<usize>) -> Result<Self, Failure> {
        self.enter()?;
        let length = length.ok_or_else(|| Failure::no_length("map"))?;
        self.put_length(Kind::Length, length)?;
        Ok(self)
    }

    #[inline]
    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Self, Failure> {
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
    ) -> Result<Self, Failure> {
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
                type Error = Failure;

                $(
                    #[inline]
                    fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Failure> {
                        self.$part(value)
                    }
                )+

                #[inline]
                fn end(self) -> Result<(), Failure> {
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
    type Error = Failure;

    #[inline]
    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Failure> {
        // This may be the address of a `SocketAddrV6`, which serde writes without its scope and flow.
        if std::any::type_name::<T>() == "&core::net::ip_addr::Ipv6Addr" {
            self.doubtful = true;
        }
        self.part(value)
    }

    #[inline]
    fn end(self) -> Result<(), Failure> {
        self.leave();
        Ok(())
    }
}

macro_rules! fields {
    ($($trait:ident)*) => {
        $(
            impl $trait for &mut Encoder<'_> {
                type Ok = ();
                type Error = Failure;

                #[inline]
                fn serialize_field<T: Serialize + ?Sized>(
                    &mut self,
                    field: &'static str,
                    value: &T,
                ) -> Result<(), Failure> {
                    self.shape.add_name(field);
                    let result = value.serialize(&mut **self);
                    result.map_err(|failure| failure.at::<T>(Some(field)))
                }

                #[cold]
                fn skip_field(&mut self, field: &'static str) -> Result<(), Failure> {
                    Err(Failure::skipped(field))
                }

                #[inline]
                fn end(self) -> Result<(), Failure> {
                    self.leave();
                    Ok(())
                }
            }
        )*
    };
}

fields! { SerializeStruct SerializeStructVariant }
