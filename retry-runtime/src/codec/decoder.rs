//! Decodes the format with the serialisation crate, without letting hostile bytes exhaust the process.
//!
//! The crate decodes values that have no parts. This decoder walks values that have parts, and counts levels:
//! the crate's own walk would recurse until the stack overflows. Strings and byte strings are borrowed from
//! the input and then copied, where the crate would allocate whatever length the input claims. Sequences of
//! zero-sized elements (`Vec<()>`) have a maximum length, since the size of the input does not bound them.
//!
//! This is one deserializer, not a wrapper around the crate's: the compiler optimises fewer layers better,
//! and layers that it removes cost a small value nothing.

use std::mem::take;

use bincode::de::read::{BorrowReader, Reader};
use bincode::de::{BorrowDecoder, DecoderImpl};
use bincode::error::DecodeError;
use bincode::{BorrowDecode, Decode};
use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, MapAccess, SeqAccess,
    VariantAccess, Visitor,
};

use super::failure::ValueError;
use super::handle;
use super::primitive::{self, Collect};
use super::shape::{self, Agreement, PartKind, Shape};
use super::staging::{self, Find, Staged};
use super::{CONFIG, Config, MAX_NESTING, copied};

/// Maximum number of elements of a sequence; only one with zero-sized elements can reach it.
const MAX_ELEMENTS: usize = 1 << 32;

/// The remaining bytes, and the shape of those that were taken.
pub(super) struct Input<'de> {
    rest: &'de [u8],
    shape: Shape,
    /// Set if a field has aliases: it is unknown which of its names was written.
    aliased: bool,
    /// Finds contents that are staged, where there may be some.
    find: Option<Find>,
}

impl Reader for Input<'_> {
    #[inline]
    fn read(&mut self, bytes: &mut [u8]) -> Result<(), DecodeError> {
        bytes.copy_from_slice(self.take_bytes(bytes.len())?);
        Ok(())
    }
}

impl<'de> BorrowReader<'de> for Input<'de> {
    #[inline]
    fn take_bytes(&mut self, length: usize) -> Result<&'de [u8], DecodeError> {
        let Some((taken, rest)) = self.rest.split_at_checked(length) else {
            return Err(DecodeError::UnexpectedEnd {
                additional: length - self.rest.len(),
            });
        };
        self.rest = rest;
        Ok(taken)
    }
}

/// The source from which the crate decodes.
pub(super) type Source<'de> = DecoderImpl<Input<'de>, Config, ()>;

/// Creates a source for these bytes.
#[inline]
pub(super) fn source(bytes: &[u8], find: Option<Find>) -> Source<'_> {
    let input = Input {
        rest: bytes,
        shape: Shape::default(),
        aliased: false,
        find,
    };
    DecoderImpl::new(input, CONFIG, ())
}

/// Returns the remaining bytes of a source.
#[inline]
pub(super) fn rest<'de>(source: &mut Source<'de>) -> &'de [u8] {
    source.borrow_reader().rest
}

/// Takes the shape that follows a value and checks it against the shape of what was decoded. Returns the
/// remaining bytes.
#[inline]
pub(super) fn check_shape<'de>(source: &mut Source<'de>) -> Result<&'de [u8], ValueError> {
    let input = source.borrow_reader();
    let Some((written, rest)) = input.rest.split_first_chunk() else {
        return Err(other_parts());
    };
    match input.shape.compare(*written) {
        Agreement::Full => Ok(rest),
        Agreement::Parts if input.aliased => Ok(rest),
        Agreement::Parts => Err(ValueError::differs("it reads other fields".to_owned())),
        Agreement::None => Err(other_parts()),
    }
}

#[cold]
fn too_long() -> ValueError {
    ValueError::differs(format!("a sequence of more than {MAX_ELEMENTS} elements"))
}

#[cold]
fn other_parts() -> ValueError {
    ValueError::differs("it reads other parts".to_owned())
}

/// Text or bytes.
enum Blob<T> {
    Here(T),
    Staged(Staged),
}

/// Decodes one value.
pub(super) struct Decoder<'a, 'de> {
    source: &'a mut Source<'de>,
    /// Levels of nesting that are left. Each value has its own copy, so that the compiler knows it for each
    /// field of a type that is not recursive.
    depth: u16,
}

impl<'a, 'de> Decoder<'a, 'de> {
    #[inline]
    pub(super) fn new(source: &'a mut Source<'de>) -> Self {
        Self {
            source,
            depth: MAX_NESTING,
        }
    }

    #[inline]
    fn plain<T: Decode<()>>(&mut self, kind: PartKind) -> Result<T, ValueError> {
        self.shape().add(kind);
        T::decode(self.source).map_err(ValueError::decoding)
    }

    /// Decodes text or bytes that are a part of the message, or finds those that are staged.
    #[inline]
    fn blob<T: BorrowDecode<'de, ()>>(&mut self) -> Result<Blob<T>, ValueError> {
        self.shape().add(PartKind::Blob);
        let before = rest(self.source);
        match T::borrow_decode(self.source) {
            Ok(blob) => Ok(Blob::Here(blob)),
            Err(error) => self
                .staged(before)
                .unwrap_or(Err(ValueError::decoding(error))),
        }
    }

    /// Finds contents that are staged, if the bytes begin with a place of some.
    #[cold]
    fn staged<T>(&mut self, mut bytes: &'de [u8]) -> Option<Result<Blob<T>, ValueError>> {
        let find = self.source.borrow_reader().find;
        let staged = staging::take(&mut bytes, 1, find).transpose()?;
        self.source.borrow_reader().rest = bytes;
        Some(match staged {
            Ok(staged) => Ok(Blob::Staged(staged)),
            Err(error) => Err(serde::de::Error::custom(error)),
        })
    }

    /// Decodes a vector of numbers as a whole.
    fn numbers<V>(&mut self, collect: Collect<V>) -> Result<V, ValueError> {
        let mut bytes = rest(self.source);
        let find = self.source.borrow_reader().find;
        let collected = collect(&mut bytes, find).map_err(serde::de::Error::custom)?;
        let collected = collected.ok_or_else(ValueError::ends_early)?;
        self.source.borrow_reader().rest = bytes;
        self.shape().add(PartKind::Length);
        self.shape().add_elements(collected.kind, collected.count);
        Ok(collected.value)
    }

    /// Passes staged numbers to a visitor one by one.
    #[cold]
    fn staged_numbers<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, ValueError> {
        let mut bytes = rest(self.source);
        let find = self.source.borrow_reader().find;
        let staged = staging::take_any(&mut bytes, find).map_err(serde::de::Error::custom)?;
        let staged = staged.ok_or_else(ValueError::ends_early)?;
        self.source.borrow_reader().rest = bytes;
        self.shape().add(PartKind::Length);
        let width = staged.width().ok_or_else(other_parts)?;
        visitor.visit_seq(StagedNumbers {
            numbers: staged.bytes().chunks_exact(width),
            shape: self.shape(),
        })
    }

    #[inline]
    fn shape(&mut self) -> &mut Shape {
        &mut self.source.borrow_reader().shape
    }

    /// Descends one level, to the content of a value.
    #[inline]
    fn enter(&mut self) -> Result<(), ValueError> {
        self.depth = self.depth.checked_sub(1).ok_or_else(ValueError::too_deep)?;
        Ok(())
    }

    #[inline]
    fn fields<V: Visitor<'de>>(
        mut self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ValueError> {
        self.shape().add_names(fields);
        let mut parts = self.counted::<false>(fields.len())?;
        parts.are_fields = true;
        visitor.visit_seq(parts)
    }

    #[inline]
    fn counted<const ALIKE: bool>(self, left: usize) -> Result<Parts<'a, 'de, ALIKE>, ValueError> {
        if left > MAX_ELEMENTS {
            return Err(too_long());
        }
        let credible = left <= rest(self.source).len();
        Ok(Parts {
            decoder: self,
            are_fields: false,
            left,
            credible,
        })
    }

    #[inline]
    fn again(&mut self) -> Decoder<'_, 'de> {
        Decoder {
            source: self.source,
            depth: self.depth,
        }
    }
}

macro_rules! plain {
    ($($method:ident $visit:ident $kind:ident)*) => {
        $(
            #[inline]
            fn $method<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, ValueError> {
                visitor.$visit(self.plain(PartKind::$kind)?)
            }
        )*
    };
}

macro_rules! unsupported {
    ($($method:ident)*) => {
        $(
            #[cold]
            fn $method<V: Visitor<'de>>(self, _: V) -> Result<V::Value, ValueError> {
                Err(ValueError::not_described())
            }
        )*
    };
}

impl<'de> Deserializer<'de> for Decoder<'_, 'de> {
    type Error = ValueError;

    plain! {
        deserialize_bool visit_bool Bool
        deserialize_i8 visit_i8 I8
        deserialize_i16 visit_i16 I16
        deserialize_i32 visit_i32 I32
        deserialize_i64 visit_i64 I64
        deserialize_i128 visit_i128 I128
        deserialize_u8 visit_u8 U8
        deserialize_u16 visit_u16 U16
        deserialize_u32 visit_u32 U32
        deserialize_u64 visit_u64 U64
        deserialize_u128 visit_u128 U128
        deserialize_f32 visit_f32 F32
        deserialize_f64 visit_f64 F64
        deserialize_char visit_char Char
    }

    unsupported! {
        deserialize_any
        deserialize_identifier
        deserialize_ignored_any
    }

    #[inline]
    fn deserialize_str<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, ValueError> {
        match self.blob()? {
            Blob::Here(text) => visitor.visit_borrowed_str(text),
            Blob::Staged(staged) => match String::from_utf8(copied(staged.bytes())) {
                Ok(text) => visitor.visit_string(text),
                Err(error) => Err(serde::de::Error::custom(error)),
            },
        }
    }

    #[inline]
    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        self.deserialize_str(visitor)
    }

    #[inline]
    fn deserialize_bytes<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, ValueError> {
        match self.blob()? {
            Blob::Here(bytes) => visitor.visit_borrowed_bytes(bytes),
            Blob::Staged(staged) => visitor.visit_byte_buf(copied(staged.bytes())),
        }
    }

    #[inline]
    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        self.deserialize_bytes(visitor)
    }

    #[inline]
    fn deserialize_option<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, ValueError> {
        self.enter()?;
        match self.plain(PartKind::Option)? {
            Some(()) => visitor.visit_some(self),
            None => visitor.visit_none(),
        }
    }

    #[inline]
    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        visitor.visit_unit()
    }

    #[inline]
    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, ValueError> {
        visitor.visit_unit()
    }

    #[inline]
    fn deserialize_newtype_struct<V: Visitor<'de>>(
        mut self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, ValueError> {
        let _handle = handle::enter(name);
        self.enter()?;
        visitor.visit_newtype_struct(self)
    }

    #[inline]
    fn deserialize_seq<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, ValueError> {
        self.enter()?;
        if let Some(collect) = primitive::of_visitor::<V>() {
            return self.numbers(collect);
        }
        if self.source.borrow_reader().find.is_some() && staging::is_next(rest(self.source)) {
            return self.staged_numbers(visitor);
        }
        let length = self.plain(PartKind::Length)?;
        visitor.visit_seq(self.counted::<true>(length)?)
    }

    #[inline]
    fn deserialize_tuple<V: Visitor<'de>>(
        mut self,
        length: usize,
        visitor: V,
    ) -> Result<V::Value, ValueError> {
        self.enter()?;
        visitor.visit_seq(self.counted::<false>(length)?)
    }

    #[inline]
    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        length: usize,
        visitor: V,
    ) -> Result<V::Value, ValueError> {
        self.deserialize_tuple(length, visitor)
    }

    #[inline]
    fn deserialize_map<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, ValueError> {
        self.enter()?;
        let length = self.plain(PartKind::Length)?;
        visitor.visit_map(self.counted::<true>(length)?)
    }

    #[inline]
    fn deserialize_struct<V: Visitor<'de>>(
        mut self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ValueError> {
        self.enter()?;
        self.fields(fields, visitor)
    }

    #[inline]
    fn deserialize_enum<V: Visitor<'de>>(
        mut self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ValueError> {
        self.enter()?;
        visitor.visit_enum(Variant {
            decoder: self,
            name,
            variants,
        })
    }

    #[inline]
    fn is_human_readable(&self) -> bool {
        false
    }
}

/// The parts of a value. `ALIKE` parts are the elements of a sequence or map, whose shapes count in any
/// order.
struct Parts<'a, 'de, const ALIKE: bool> {
    decoder: Decoder<'a, 'de>,
    /// `true` if the parts are the fields of a struct.
    are_fields: bool,
    left: usize,
    /// `true` if the input has at least one byte per part. Otherwise visitors get no size hint, so that they
    /// do not allocate for more parts than there are bytes.
    credible: bool,
}

impl<'de, const ALIKE: bool> Parts<'_, 'de, ALIKE> {
    #[inline]
    fn part<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, ValueError> {
        if !ALIKE {
            return seed.deserialize(self.decoder.again());
        }
        let before = take(self.decoder.shape());
        let part = seed.deserialize(self.decoder.again());
        self.decoder.shape().add_element(before);
        part
    }
}

impl<const ALIKE: bool> Drop for Parts<'_, '_, ALIKE> {
    #[inline]
    fn drop(&mut self) {
        // A field with aliases is listed under each of its names, but was read once.
        if !ALIKE && self.are_fields && self.left > 0 {
            self.decoder.source.borrow_reader().aliased = true;
        }
    }
}

impl<'de, const ALIKE: bool> SeqAccess<'de> for Parts<'_, 'de, ALIKE> {
    type Error = ValueError;

    #[inline]
    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, ValueError> {
        let Some(left) = self.left.checked_sub(1) else {
            return Ok(None);
        };
        self.left = left;
        match self.part(seed) {
            Ok(element) => Ok(Some(element)),
            Err(failure) => Err(failure.within::<S::Value>()),
        }
    }

    #[inline]
    fn size_hint(&self) -> Option<usize> {
        self.credible.then_some(self.left)
    }
}

impl<'de> MapAccess<'de> for Parts<'_, 'de, true> {
    type Error = ValueError;

    #[inline]
    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, ValueError> {
        self.next_element_seed(seed)
    }

    #[inline]
    fn next_value_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<S::Value, ValueError> {
        self.part(seed).map_err(ValueError::within::<S::Value>)
    }

    #[inline]
    fn size_hint(&self) -> Option<usize> {
        self.credible.then_some(self.left)
    }
}

/// The variant that comes next.
struct Variant<'a, 'de> {
    decoder: Decoder<'a, 'de>,
    /// The name of its enum.
    name: &'static str,
    /// The names of all variants that are read. A variant with aliases is listed several times.
    variants: &'static [&'static str],
}

impl Variant<'_, '_> {
    /// Looks for the name of a variant that is not at its index. Aliases of earlier variants may have moved
    /// it to a later index, and nothing moves it to an earlier one. An empty list of names gives no
    /// information.
    #[cold]
    fn find(&self, tag: u32) -> Result<(), ValueError> {
        let index = shape::index(tag) as usize;
        let mut later = self.variants.iter().skip(index);
        if self.variants.is_empty() || later.any(|name| shape::is_named(tag, name)) {
            Ok(())
        } else {
            Err(ValueError::variant(self.name))
        }
    }
}

impl<'a, 'de> EnumAccess<'de> for Variant<'a, 'de> {
    type Error = ValueError;
    type Variant = Decoder<'a, 'de>;

    #[inline]
    fn variant_seed<S: DeserializeSeed<'de>>(
        mut self,
        seed: S,
    ) -> Result<(S::Value, Decoder<'a, 'de>), ValueError> {
        let tag: u32 = self.decoder.plain(PartKind::Variant)?;
        let index = shape::index(tag);
        match self.variants.get(index as usize) {
            Some(name) if shape::is_named(tag, name) => {}
            _ => self.find(tag)?,
        }
        Ok((seed.deserialize(index.into_deserializer())?, self.decoder))
    }
}

impl<'de> VariantAccess<'de> for Decoder<'_, 'de> {
    type Error = ValueError;

    #[inline]
    fn unit_variant(self) -> Result<(), ValueError> {
        Ok(())
    }

    #[inline]
    fn newtype_variant_seed<S: DeserializeSeed<'de>>(
        self,
        seed: S,
    ) -> Result<S::Value, ValueError> {
        seed.deserialize(self)
            .map_err(ValueError::within::<S::Value>)
    }

    #[inline]
    fn tuple_variant<V: Visitor<'de>>(
        self,
        length: usize,
        visitor: V,
    ) -> Result<V::Value, ValueError> {
        visitor.visit_seq(self.counted::<false>(length)?)
    }

    #[inline]
    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ValueError> {
        self.fields(fields, visitor)
    }
}

/// Numbers that are staged, one by one.
struct StagedNumbers<'a> {
    numbers: std::slice::ChunksExact<'a, u8>,
    shape: &'a mut Shape,
}

impl<'de> SeqAccess<'de> for StagedNumbers<'_> {
    type Error = ValueError;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, ValueError> {
        let Some(bytes) = self.numbers.next() else {
            return Ok(None);
        };
        let number = StagedNumber {
            bytes,
            shape: self.shape,
        };
        seed.deserialize(number).map(Some)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.numbers.len())
    }
}

/// A number that is staged.
struct StagedNumber<'a> {
    bytes: &'a [u8],
    shape: &'a mut Shape,
}

macro_rules! staged {
    ($($method:ident $visit:ident $type:ty as $kind:ident)*) => {
        impl<'de> Deserializer<'de> for StagedNumber<'_> {
            type Error = ValueError;

            $(
                fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
                    let bytes = self.bytes.try_into().map_err(|_| other_parts())?;
                    self.shape.add_elements(PartKind::$kind, 1);
                    visitor.$visit(<$type>::from_le_bytes(bytes))
                }
            )*

            fn deserialize_newtype_struct<V: Visitor<'de>>(
                self,
                _: &'static str,
                visitor: V,
            ) -> Result<V::Value, ValueError> {
                visitor.visit_newtype_struct(self)
            }

            fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, ValueError> {
                Err(other_parts())
            }

            serde::forward_to_deserialize_any! {
                bool char str string bytes byte_buf option unit unit_struct seq tuple tuple_struct map struct enum
                identifier ignored_any
            }

            fn is_human_readable(&self) -> bool {
                false
            }
        }
    };
}

staged! {
    deserialize_i8 visit_i8 i8 as I8
    deserialize_i16 visit_i16 i16 as I16
    deserialize_i32 visit_i32 i32 as I32
    deserialize_i64 visit_i64 i64 as I64
    deserialize_i128 visit_i128 i128 as I128
    deserialize_u8 visit_u8 u8 as U8
    deserialize_u16 visit_u16 u16 as U16
    deserialize_u32 visit_u32 u32 as U32
    deserialize_u64 visit_u64 u64 as U64
    deserialize_u128 visit_u128 u128 as U128
    deserialize_f32 visit_f32 f32 as F32
    deserialize_f64 visit_f64 f64 as F64
}
