//! Values that many calls share: see [`Shared`].

mod object;
mod registry;
#[cfg(all(target_os = "linux", not(retry_no_processes)))]
mod staging;
#[cfg(not(all(target_os = "linux", not(retry_no_processes))))]
#[path = "shared/absent.rs"]
mod staging;

use std::any::Any;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::ops::Deref;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::path::Path;
use std::sync::{Arc, OnceLock};

use serde::de::{DeserializeOwned, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::codec::handle::{self, HANDLE};
use crate::codec::{self, Wire};
use crate::sys::{self, Number, SealedMemory, View, ViewStaged};
pub(crate) use object::{Handed, Holder, Object, ObjectId, Received};
pub(crate) use registry::{
    ChunkObjects, InputObjects, Loans, MOST_NAMED, Made, Objects, Source, borrow, collect,
    find_here, find_staged, forget, receive, set_source,
};
pub(crate) use staging::StagingPool;

/// A value that is handed over once and used in many calls.
///
/// An argument travels with each call. A `Shared` does not: it lies in memory that all workers map, and a call
/// carries only its name. A worker maps it when the first call names it, whatever its size. Numbers, bytes and text need
/// their memory once for all workers together.
///
/// ```standalone_crate
/// use std::iter::repeat;
///
/// use retry_runtime::{Shared, function};
///
/// #[function]
/// fn look_up(row: usize, table: Shared<[f64]>) -> f64 {
///     table[row]
/// }
///
/// # fn main() -> std::io::Result<()> {
/// # retry_runtime::init();
/// let numbers: Vec<f64> = (0..1_000_000).map(f64::from).collect();
/// let table = Shared::new(&numbers[..])?;
/// let results = look_up.map((0..100).zip(repeat(table)));
/// let sum: f64 = results.into_iter().map(Result::unwrap).sum();
/// assert_eq!(sum, 4950.0);
/// # Ok(())
/// # }
/// ```
///
/// # What can be shared
///
/// | type | in a worker |
/// |---|---|
/// | `Shared<[T]>` of integers or floats, `Shared<[u8]>` | read in place, aligned to 64 bytes |
/// | `Shared<str>` | read in place; checked once in each worker |
/// | `Shared<T>` and `Shared<[T]>` of any other type that can be sent | decoded once in each worker, and kept |
///
/// So `Shared::new(&vector[..])` has numbers read in place, where `Shared::new(&vector)` gives each worker a vector of
/// its own. A worker keeps decoded values whose encodings have 1 GiB together, and at least the one that it used last;
/// the value that was not used for the longest time is decoded again if a call names it. Decoding is a part of the call
/// that needs it, and counts for the `timeout` of that.
///
/// # Where it can go
///
/// A `Shared` can be an argument or a result, or a part of one, and a parameter of a service's constructor. A function
/// may pass one on to the calls that it makes, and may make and return one, which its caller then maps as well:
///
/// ```standalone_crate
/// use retry_runtime::{Shared, function};
///
/// #[function]
/// fn squares(count: usize) -> std::io::Result<Shared<[u64]>> {
///     Shared::filled(count, |places| {
///         for (number, place) in (0..).zip(places) {
///             *place = number * number;
///         }
///     })
/// }
///
/// # fn main() {
/// # retry_runtime::init();
/// let found = squares.remote(1_000_000).wait().unwrap();
/// assert_eq!(found[999_999], 999_998_000_001);
/// # }
/// ```
///
/// There are exceptions, in which the call fails with [`Rejected`](crate::CallError::Rejected) or
/// [`Lost`](crate::CallError::Lost) and the reason:
///
/// - An error cannot contain one.
/// - Calls that go to [other machines](crate::engine) cannot have one.
/// - Calls whose results are kept in a checkpoint or a cache cannot be given one, or be those of a service that is
///   configured with one: the same name means something else in the next run.
/// - If the program calls `fork`, the child cannot pass on those that it has inherited.
///
/// A result that is a `Shared` is not kept in a checkpoint or a cache. Other serialisation formats than that of calls
/// refuse a `Shared`, and it cannot contain another one.
///
/// # How long it lives
///
/// The memory is freed once the last handle and the last call that names it are gone, however these calls end, and
/// with the program, however that ends. Workers drop what they have mapped or decoded at the same time. A handle that a
/// function stores in a static, or in the state of its worker, keeps the memory as well, but cannot be passed to a call
/// once the program and its calls have none.
///
/// # Memory
///
/// Each `Shared` of 32 KiB or more takes a file descriptor of the program; smaller ones are copied to each worker, where
/// they take a page of memory at least. The memory of values that a worker was given does not count for its memory
/// limit; that of values that it has made or decoded does. If each input of a map brings a large value of its own, the
/// map takes only a few inputs ahead.
pub struct Shared<T: ?Sized> {
    object: Arc<Object>,
    value: Value<T>,
    /// The function of [`Shareable`] that makes the value. Without a bound here, a type that cannot be shared is one
    /// error, and not one wherever it is used.
    hold: fn(&Object) -> Result<Held<T>, String>,
}

/// The value of a handle.
enum Value<T: ?Sized> {
    Known(View<T>),
    /// It is made when it is used for the first time. A cell that is full takes longer to make than a view.
    Unknown(OnceLock<View<T>>),
}

impl<T: ?Sized> Clone for Value<T> {
    fn clone(&self) -> Self {
        let known = match self {
            Self::Known(view) => Some(view),
            Self::Unknown(cell) => cell.get(),
        };
        match known {
            Some(view) => Self::Known(view.clone()),
            None => Self::Unknown(OnceLock::new()),
        }
    }
}

/// A type whose values can be shared: see [`Shared`].
///
/// It is implemented for `str`, and for each type that can be sent and slices of it, if threads may share them. It
/// need not be implemented by hand.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be shared with worker processes",
    label = "values of this type are not serialisable, or threads cannot share them",
    note = "`Shared` takes numbers as `Shared<[f64]>`, text as `Shared<str>`, and any `T` that is `Send`, `Sync` and \
            has `#[derive(serde::Serialize, serde::Deserialize)]`"
)]
pub trait Shareable {
    /// Not a method, which would hide those of the same name that a pointer derefs to.
    #[doc(hidden)]
    fn store(value: &Self) -> io::Result<Stored>;

    #[doc(hidden)]
    fn hold(object: &Object) -> Result<Held<Self>, String>;
}

/// The reason for which a shared value cannot be had that does not exist any more.
pub(crate) const GONE: &str =
    "the shared value does not exist any more: the program and its calls have no handle on it";

/// The memory of a value that is about to be shared.
pub struct Stored(SealedMemory);

/// A shared value as calls see it: in the memory of its object, or decoded.
pub struct Held<T: ?Sized>(View<T>);

fn store_encoded(
    encode: impl FnOnce(&mut Vec<u8>) -> Result<(), codec::CodecError>,
) -> io::Result<Stored> {
    let mut encoded = Vec::new();
    let (result, objects) = collect(None, || encode(&mut encoded));
    if !objects.is_empty() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "a shared value cannot contain another one",
        ));
    }
    result.map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error.to_string()))?;
    SealedMemory::copy_of(&encoded).map(Stored)
}

/// Decodes the whole of an object, and returns the part of it that `T` is.
fn hold_decoded<D, T>(object: &Object, part: fn(&D) -> &T) -> Result<Held<T>, String>
where
    D: Wire + Send + Sync,
    T: Sync + ?Sized + 'static,
{
    let held = object.held(|memory| {
        let decoded = codec::decode_all(memory.bytes()).map_err(|error| error.to_string())?;
        Ok(View::of(Arc::new(decoded), part))
    });
    registry::use_decoded(object);
    held.map(Held)
}

#[diagnostic::do_not_recommend]
impl<T: Wire + Send + Sync> Shareable for T {
    fn store(value: &Self) -> io::Result<Stored> {
        store_encoded(|encoded| codec::encode(value, encoded, usize::MAX))
    }

    fn hold(object: &Object) -> Result<Held<T>, String> {
        hold_decoded(object, |value: &T| value)
    }
}

#[diagnostic::do_not_recommend]
impl Shareable for str {
    fn store(value: &Self) -> io::Result<Stored> {
        SealedMemory::copy_of(value.as_bytes()).map(Stored)
    }

    fn hold(object: &Object) -> Result<Held<str>, String> {
        let held = object
            .held(|memory| View::text(Arc::clone(memory)).ok_or_else(|| "not UTF-8".to_owned()));
        held.map(Held)
    }
}

/// The functions with which slices of numbers are read in place.
pub(crate) struct InPlace<T> {
    bytes: fn(&[T]) -> &[u8],
    view: fn(Arc<SealedMemory>) -> Option<View<[T]>>,
    pub(crate) staged: ViewStaged<[T]>,
}

impl<N: Number> InPlace<N> {
    const NUMBERS: Self = Self {
        bytes: sys::bytes_of,
        view: View::<[N]>::numbers,
        staged: View::<[N]>::staged_numbers,
    };
}

/// Returns the functions with which slices of `T` are read in place, if these are numbers. The compiler knows the answer
/// for each type.
pub(crate) fn in_place<T: 'static>() -> Option<&'static InPlace<T>> {
    macro_rules! look_up {
        ($($number:ident)*) => {
            $({
                static KNOWN: InPlace<$number> = InPlace::NUMBERS;
                if let Some(known) = (&KNOWN as &'static dyn Any).downcast_ref() {
                    return Some(known);
                }
            })*
        };
    }
    look_up!(u8 i8 u16 i16 u32 i32 u64 i64 u128 i128 usize isize f32 f64);
    None
}

#[diagnostic::do_not_recommend]
impl<T: Wire + Send + Sync> Shareable for [T] {
    fn store(value: &Self) -> io::Result<Stored> {
        match in_place::<T>() {
            Some(numbers) => SealedMemory::copy_of((numbers.bytes)(value)).map(Stored),
            None => store_encoded(|encoded| codec::encode_slice(value, encoded, usize::MAX)),
        }
    }

    fn hold(object: &Object) -> Result<Held<[T]>, String> {
        let Some(numbers) = in_place::<T>() else {
            return hold_decoded(object, Vec::as_slice);
        };
        let memory = object.sealed().ok_or("not a shared value")?;
        let view = (numbers.view)(Arc::clone(memory));
        view.map(Held)
            .ok_or_else(|| "a number is not complete".to_owned())
    }
}

impl<T: Shareable + ?Sized> Shared<T> {
    /// Copies a value into memory that it can be shared in.
    ///
    /// # Errors
    ///
    /// If there is no memory or, from 32 KiB on, no file descriptor for it. [`InvalidInput`](io::ErrorKind::InvalidInput)
    /// if the value cannot be encoded, which does not happen for text and numbers.
    pub fn new(value: &T) -> io::Result<Self> {
        T::store(value).map(Self::of)
    }

    fn of(stored: Stored) -> Self {
        Self::with(Object::new(stored.0))
    }

    fn with(object: Arc<Object>) -> Self {
        Self {
            object,
            value: Value::Unknown(OnceLock::new()),
            hold: T::hold,
        }
    }
}

impl<T: ?Sized> Shared<T> {
    /// Returns how many bytes of memory the value takes: those of text and numbers, or those of the encoding of other
    /// values.
    #[must_use]
    pub fn size(&self) -> usize {
        self.object.length()
    }
}

impl<T: Number + Wire + Send + Sync> Shared<[T]> {
    /// Copies numbers. The same as [`new`](Self::new), for anything that is a slice.
    ///
    /// # Errors
    ///
    /// If there is no memory or, from 32 KiB on, no file descriptor for it.
    pub fn copy_from(numbers: &(impl AsRef<[T]> + ?Sized)) -> io::Result<Self> {
        Self::new(numbers.as_ref())
    }

    /// Makes room for `count` numbers, all of them zero, and lets `fill` write them in place. This saves the copy, and
    /// the memory, of a vector.
    ///
    /// ```
    /// use retry_runtime::Shared;
    ///
    /// let squares = Shared::<[u64]>::filled(1000, |squares| {
    ///     for (number, square) in (0..).zip(squares) {
    ///         *square = number * number;
    ///     }
    /// })?;
    /// assert_eq!(squares[12], 144);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// If there is no memory or, from 32 KiB on, no file descriptor for it.
    pub fn filled(count: usize, fill: impl FnOnce(&mut [T])) -> io::Result<Self> {
        let length = count.checked_mul(size_of::<T>());
        let length = length.ok_or(io::ErrorKind::OutOfMemory)?;
        let memory = SealedMemory::filled(length, |bytes| {
            fill(sys::numbers_of_mut(bytes).expect("memory is aligned to 64 bytes"));
        });
        memory.map(|memory| Self::of(Stored(memory)))
    }
}

/// Up to this size, a file is read to its end, wherever that is.
const SMALL_FILE: u64 = 64 * 1024;

impl Shared<[u8]> {
    /// Reads a file.
    ///
    /// The file is copied as it is, and not mapped: what others write to it later changes nothing, and cutting it short
    /// does not end the workers that read it.
    ///
    /// # Errors
    ///
    /// If the file cannot be read, or has more than 64 KiB and becomes shorter meanwhile
    /// ([`UnexpectedEof`](io::ErrorKind::UnexpectedEof)); if there is no memory or, from 32 KiB on, no file descriptor
    /// for it.
    pub fn from_file(path: impl AsRef<Path>) -> io::Result<Self> {
        let mut file = File::open(path)?;
        let found = file.metadata()?;
        if found.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        if !found.is_file() || found.len() <= SMALL_FILE {
            // Such as a pipe, or a file of the kernel, whose size is zero or that of a page.
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes)?;
            return Self::new(&bytes);
        }
        let length = usize::try_from(found.len()).map_err(|_| io::ErrorKind::OutOfMemory)?;
        SealedMemory::read_from(&mut file, length).map(|memory| Self::of(Stored(memory)))
    }
}

/// A clone is another handle on the same value.
impl<T: ?Sized> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Self {
            object: Arc::clone(&self.object),
            value: self.value.clone(),
            hold: self.hold,
        }
    }
}

/// # Panics
///
/// Panics if the value, which its type has encoded, cannot be decoded. In a worker it was decoded before the function
/// began.
impl<T: ?Sized> Deref for Shared<T> {
    type Target = T;

    fn deref(&self) -> &T {
        match &self.value {
            Value::Known(view) => view,
            Value::Unknown(cell) => cell.get_or_init(|| match (self.hold)(&self.object) {
                Ok(Held(view)) => view,
                Err(reason) => panic!("the shared value cannot be decoded: {reason}"),
            }),
        }
    }
}

impl<T: ?Sized> AsRef<T> for Shared<T> {
    fn as_ref(&self) -> &T {
        self
    }
}

/// Compares the values.
impl<T: PartialEq + ?Sized> PartialEq for Shared<T> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl<T: Eq + ?Sized> Eq for Shared<T> {}

/// Shows the size instead of the value, which may be large.
impl<T: ?Sized> fmt::Debug for Shared<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Shared({} bytes)", self.size())
    }
}

impl<T: RefUnwindSafe + ?Sized> RefUnwindSafe for Shared<T> {}

impl<T: RefUnwindSafe + ?Sized> UnwindSafe for Shared<T> {}

/// The part of a shared value that travels: its id and its length.
struct Name(ObjectId, u64);

impl Serialize for Name {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (self.0, self.1).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Deserialize::deserialize(deserializer).map(|(id, length)| Self(id, length))
    }
}

impl<T: Shareable + ?Sized> Serialize for Shared<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        struct Content<'a>(&'a Arc<Object>);

        impl Serialize for Content<'_> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let object = self.0;
                let refuse = |reason: &str| Err(serde::ser::Error::custom(reason));
                if !handle::is_within() {
                    return refuse("a `Shared` can only be an argument or a result");
                }
                if object.is_foreign() {
                    return refuse("a `Shared` from before the program was forked");
                }
                if !registry::is_known(object) {
                    return refuse("a `Shared` from before `init` in a worker");
                }
                registry::name(object).map_err(serde::ser::Error::custom)?;
                Name(object.id(), object.length() as u64).serialize(serializer)
            }
        }

        serializer.serialize_newtype_struct(HANDLE, &Content(&self.object))
    }
}

impl<'de, T: Shareable + ?Sized> Deserialize<'de> for Shared<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Handle;

        impl<'de> Visitor<'de> for Handle {
            type Value = Arc<Object>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of a shared value")
            }

            fn visit_newtype_struct<D: Deserializer<'de>>(
                self,
                deserializer: D,
            ) -> Result<Arc<Object>, D::Error> {
                use serde::de::Error;
                if !handle::is_within() {
                    let reason = "a `Shared` can only be an argument or a result";
                    return Err(Error::custom(reason));
                }
                let Name(id, length) = Name::deserialize(deserializer)?;
                let object = registry::find(id).map_err(Error::custom)?;
                if object.length() as u64 != length {
                    return Err(Error::custom("a shared value of another size"));
                }
                Ok(object)
            }
        }

        let object = deserializer.deserialize_newtype_struct(HANDLE, Handle)?;
        let mut shared = Self::with(object);
        // Elsewhere the process has made the value itself, and may only be about to show the arguments of a call.
        if registry::this_worker() != 0 || shared.object.id().maker != 0 {
            let Held(view) = T::hold(&shared.object).map_err(serde::de::Error::custom)?;
            shared.value = Value::Known(view);
        }
        Ok(shared)
    }
}

/// Checks that a `Shared` is a value like any other for generated code.
const _: fn() = || {
    fn is_wire<T: Wire + DeserializeOwned + Send + Sync>() {}
    is_wire::<Shared<[f64]>>();
    is_wire::<Shared<str>>();
    is_wire::<Shared<Vec<String>>>();
};
