//! Writes the format, in which the serialisation crate reads: integers and floats of fixed width
//! with the lowest byte first; lengths as `u64`; the tag of an option as a byte and that of a
//! variant as `u32`; strings, sequences and maps behind their length; a `char` as UTF-8.
//!
//! The crate's own encoder recurses as deeply as the value does, until the stack is gone, and that
//! stack is the caller's. This one counts levels as the [decoder](super::decoder) does, and refuses
//! what would be refused on the other side. Counting in place costs a flat value nothing, where a
//! wrapper around each element would.

use serde::ser::{
    Error, Serialize, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant,
    SerializeTuple, SerializeTupleStruct, SerializeTupleVariant, Serializer,
};

use super::DEEPEST;
use super::failure::Failure;

/// Appends to a vector up to a limit.
pub(super) struct Encoder<'a> {
    out: &'a mut Vec<u8>,
    limit: usize,
    /// How many levels of nesting are left.
    depth: u16,
}

impl<'a> Encoder<'a> {
    #[inline]
    pub(super) fn new(out: &'a mut Vec<u8>, limit: usize) -> Self {
        Self {
            out,
            limit,
            depth: DEEPEST,
        }
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
    fn put_length(&mut self, length: usize) -> Result<(), Failure> {
        self.put(&(length as u64).to_le_bytes())
    }

    /// Goes one level down, for what is in a value. Whoever fails below does not come up again.
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
        value.serialize(&mut *self)?;
        self.leave();
        Ok(())
    }
}

macro_rules! numbers {
    ($($method:ident: $type:ty)*) => {
        $(
            #[inline]
            fn $method(self, value: $type) -> Result<(), Failure> {
                self.put(&value.to_le_bytes())
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
        serialize_i8: i8 serialize_i16: i16 serialize_i32: i32 serialize_i64: i64
        serialize_i128: i128 serialize_u8: u8 serialize_u16: u16 serialize_u32: u32
        serialize_u64: u64 serialize_u128: u128 serialize_f32: f32 serialize_f64: f64
    }

    #[inline]
    fn serialize_bool(self, value: bool) -> Result<(), Failure> {
        self.put(&[u8::from(value)])
    }

    #[inline]
    fn serialize_char(self, value: char) -> Result<(), Failure> {
        self.put(value.encode_utf8(&mut [0; 4]).as_bytes())
    }

    #[inline]
    fn serialize_str(self, value: &str) -> Result<(), Failure> {
        self.serialize_bytes(value.as_bytes())
    }

    #[inline]
    fn serialize_bytes(self, value: &[u8]) -> Result<(), Failure> {
        self.put_length(value.len())?;
        self.put(value)
    }

    #[inline]
    fn serialize_none(self) -> Result<(), Failure> {
        self.enter()?;
        self.leave();
        self.put(&[0])
    }

    #[inline]
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Failure> {
        self.enter()?;
        self.put(&[1])?;
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
        _: &'static str,
    ) -> Result<(), Failure> {
        self.enter()?;
        self.leave();
        self.put(&index.to_le_bytes())
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
        _: &'static str,
        value: &T,
    ) -> Result<(), Failure> {
        self.enter()?;
        self.put(&index.to_le_bytes())?;
        self.inner(value)
    }

    #[inline]
    fn serialize_seq(self, length: Option<usize>) -> Result<Self, Failure> {
        self.enter()?;
        let unknown = || Failure::custom("the length of a sequence is not known beforehand");
        self.put_length(length.ok_or_else(unknown)?)?;
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
        _: &'static str,
        _: usize,
    ) -> Result<Self, Failure> {
        self.enter()?;
        self.put(&index.to_le_bytes())?;
        Ok(self)
    }

    #[inline]
    fn serialize_map(self, length: Option<usize>) -> Result<Self, Failure> {
        self.serialize_seq(length)
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

    fn is_human_readable(&self) -> bool {
        false
    }
}

macro_rules! parts {
    ($($trait:ident: $($method:ident($($key:ident: $type:ty)?))+;)*) => {
        $(
            impl $trait for &mut Encoder<'_> {
                type Ok = ();
                type Error = Failure;

                $(
                    #[inline]
                    fn $method<T: Serialize + ?Sized>(
                        &mut self,
                        $($key: $type,)?
                        value: &T,
                    ) -> Result<(), Failure> {
                        value.serialize(&mut **self)
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
    SerializeSeq: serialize_element();
    SerializeTuple: serialize_element();
    SerializeTupleStruct: serialize_field();
    SerializeTupleVariant: serialize_field();
    SerializeMap: serialize_key() serialize_value();
    SerializeStruct: serialize_field(_key: &'static str);
    SerializeStructVariant: serialize_field(_key: &'static str);
}
