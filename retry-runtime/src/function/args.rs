//! Arguments in transit: what callers pass, what is sent, and what the function receives.

use std::borrow::{Borrow, Cow};
use std::marker::PhantomData;
use std::mem::needs_drop;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;

use crate::codec::buffers::LARGE;
use crate::codec::{self, CodecError, Wire, staging};
use crate::shared;
use crate::sys::{View, ViewStaged};

/// A parameter that is passed by value.
pub struct Val<T>(PhantomData<fn(T)>);

/// A parameter that is passed by reference: the worker owns the referent.
pub struct Ref<T: ?Sized>(PhantomData<fn(&T)>);

/// A parameter, whether or not it can be sent.
pub trait Parameter {
    /// The type that a caller of `.remote()` passes.
    type Passed<'a>;
    /// The type that generated code names if the parameter cannot be sent.
    type Held;
}

impl<T> Parameter for Val<T> {
    type Passed<'a> = T;
    type Held = T;
}

impl<T: ?Sized + 'static> Parameter for Ref<T> {
    type Passed<'a> = &'a T;
    type Held = Box<T>;
}

/// A parameter that can be sent.
pub trait Argument: Parameter {
    /// The type that is serialised.
    type Sent: Wire;

    /// The type that the worker holds.
    type Owned;

    /// `true` if no value has a large encoding.
    #[doc(hidden)]
    const IS_SMALL: bool;

    #[doc(hidden)]
    fn hold(sent: Self::Sent) -> Self::Owned;

    /// Decodes the parameter from the front of a message, a part of which may be staged.
    #[doc(hidden)]
    fn decode_staged(rest: &mut &[u8]) -> Result<Self::Owned, ArgumentError> {
        let decoded = codec::decode_staged(rest).map(Self::hold);
        decoded.map_err(ArgumentError)
    }

    #[doc(hidden)]
    fn encode(
        passed: &Self::Passed<'_>,
        out: &mut Vec<u8>,
        limit: usize,
    ) -> Result<(), ArgumentError>;

    /// Encodes the only parameter of a function. Returns the whole message if the value became its own
    /// message, or `None` if its encoding was appended to `out`.
    #[doc(hidden)]
    fn encode_alone(
        passed: Self::Passed<'_>,
        out: &mut Vec<u8>,
        limit: usize,
    ) -> Result<Option<Bytes>, ArgumentError>;
}

/// The reason for which an argument cannot be encoded or decoded.
#[derive(Debug)]
pub struct ArgumentError(pub(crate) CodecError);

impl<T: Wire> Argument for Val<T> {
    type Sent = T;
    type Owned = T;

    // A value without memory elsewhere is encoded in about as many bytes as it has.
    const IS_SMALL: bool = !needs_drop::<T>() && size_of::<T>() < LARGE / 2;

    fn hold(sent: T) -> T {
        sent
    }

    fn encode(passed: &T, out: &mut Vec<u8>, limit: usize) -> Result<(), ArgumentError> {
        codec::encode_argument::<T, T>(passed, out, limit).map_err(ArgumentError)
    }

    fn encode_alone(
        passed: T,
        out: &mut Vec<u8>,
        limit: usize,
    ) -> Result<Option<Bytes>, ArgumentError> {
        codec::encode_argument_alone(passed, out, limit).map_err(ArgumentError)
    }
}

impl<T: Referred + ?Sized + 'static> Argument for Ref<T> {
    type Sent = T::Owned;
    type Owned = Lent<T>;

    const IS_SMALL: bool = false;

    fn hold(sent: T::Owned) -> Lent<T> {
        Lent::owned(sent)
    }

    fn decode_staged(rest: &mut &[u8]) -> Result<Lent<T>, ArgumentError> {
        if let Some(staged) = T::take_staged(rest) {
            return staged;
        }
        let decoded = codec::decode_staged(rest).map(Lent::owned);
        decoded.map_err(ArgumentError)
    }

    fn encode(passed: &&T, out: &mut Vec<u8>, limit: usize) -> Result<(), ArgumentError> {
        passed.encode_referred(out, limit)
    }

    fn encode_alone(
        passed: &T,
        out: &mut Vec<u8>,
        limit: usize,
    ) -> Result<Option<Bytes>, ArgumentError> {
        passed.encode_referred_alone(out, limit).map(|()| None)
    }
}

/// A value that a function borrows for one call.
pub struct Lent<T: Referred + ?Sized + 'static>(Place<T>);

enum Place<T: Referred + ?Sized> {
    Owned(T::Owned),
    /// In the memory in which the caller has staged it.
    Staged(View<T>),
}

impl<T: Referred + ?Sized> Lent<T> {
    fn owned(value: T::Owned) -> Self {
        Self(Place::Owned(value))
    }
}

impl<T: Referred + ?Sized> Deref for Lent<T> {
    type Target = T;

    fn deref(&self) -> &T {
        match &self.0 {
            Place::Owned(value) => value.borrow(),
            Place::Staged(view) => view,
        }
    }
}

/// A type that a parameter may refer to.
#[diagnostic::on_unimplemented(
    message = "`&{Self}` cannot be sent to a worker process",
    label = "what this refers to is not serialisable",
    note = "a parameter may be `&str`, `&[T]`, `&Path`, or `&T` where the `T` has \
            `#[derive(serde::Serialize, serde::Deserialize)]` and owns its data",
    note = "a type that serde can carry, but bincode cannot, travels inside of \
            `retry_runtime::Json<T>`"
)]
pub trait Referred {
    /// The owned form of this type.
    type Owned: Wire + Borrow<Self>;

    /// The same as [`Sent::HOLDS`](crate::function::probe::Sent::HOLDS).
    #[doc(hidden)]
    const HOLDS: () = ();

    #[doc(hidden)]
    fn encode_referred(&self, out: &mut Vec<u8>, limit: usize) -> Result<(), ArgumentError>;

    /// Takes a value that is staged from the front of a message; `None` if it cannot be read in place.
    #[doc(hidden)]
    fn take_staged(_: &mut &[u8]) -> Option<Result<Lent<Self>, ArgumentError>> {
        None
    }

    /// Encodes the only parameter of a function.
    #[doc(hidden)]
    fn encode_referred_alone(&self, out: &mut Vec<u8>, limit: usize) -> Result<(), ArgumentError> {
        self.encode_referred(out, limit)
    }
}

#[diagnostic::do_not_recommend]
impl<T: Wire> Referred for T {
    type Owned = T;

    fn encode_referred(&self, out: &mut Vec<u8>, limit: usize) -> Result<(), ArgumentError> {
        codec::encode_argument::<T, T>(self, out, limit).map_err(ArgumentError)
    }

    fn encode_referred_alone(&self, out: &mut Vec<u8>, limit: usize) -> Result<(), ArgumentError> {
        codec::encode_referred_alone(self, out, limit).map_err(ArgumentError)
    }
}

#[diagnostic::do_not_recommend]
impl Referred for str {
    type Owned = String;

    fn encode_referred(&self, out: &mut Vec<u8>, limit: usize) -> Result<(), ArgumentError> {
        codec::encode_argument::<Self::Owned, Self>(self, out, limit).map_err(ArgumentError)
    }

    fn take_staged(rest: &mut &[u8]) -> Option<Result<Lent<Self>, ArgumentError>> {
        take_view(rest, 1, View::staged_text)
    }

    fn encode_referred_alone(&self, out: &mut Vec<u8>, limit: usize) -> Result<(), ArgumentError> {
        codec::encode_text_alone(self, out, limit).map_err(ArgumentError)
    }
}

/// Takes contents that are staged, as what they are in place; `None` if they are not staged.
fn take_view<T: Referred + ?Sized>(
    rest: &mut &[u8],
    width: usize,
    view: ViewStaged<T>,
) -> Option<Result<Lent<T>, ArgumentError>> {
    let staged = staging::take_argument(rest, width).transpose()?;
    let staged = match staged {
        Ok(staged) => staged,
        Err(error) => return Some(Err(ArgumentError(error))),
    };
    let view = view(staged.memory, staged.offset, staged.size);
    let lent = view.map(|view| Lent(Place::Staged(view)));
    let invalid = || CodecError::Invalid("what is staged has another type".to_owned());
    Some(lent.ok_or_else(|| ArgumentError(invalid())))
}

#[diagnostic::do_not_recommend]
impl Referred for Path {
    type Owned = PathBuf;

    fn encode_referred(&self, out: &mut Vec<u8>, limit: usize) -> Result<(), ArgumentError> {
        codec::encode_argument::<Self::Owned, Self>(self, out, limit).map_err(ArgumentError)
    }
}

#[diagnostic::do_not_recommend]
impl<T: Wire> Referred for [T] {
    type Owned = Vec<T>;

    fn encode_referred(&self, out: &mut Vec<u8>, limit: usize) -> Result<(), ArgumentError> {
        codec::encode_argument::<Vec<T>, [T]>(self, out, limit).map_err(ArgumentError)
    }

    fn take_staged(rest: &mut &[u8]) -> Option<Result<Lent<Self>, ArgumentError>> {
        let numbers = shared::in_place::<T>()?;
        take_view(rest, size_of::<T>(), numbers.staged)
    }

    fn encode_referred_alone(&self, out: &mut Vec<u8>, limit: usize) -> Result<(), ArgumentError> {
        codec::encode_slice_alone(self, out, limit).map_err(ArgumentError)
    }
}

/// A type that the items of a map may have for one parameter: the parameter's own type, or another one that
/// holds or borrows the same value. Inputs are only encoded, so a reference is enough for a parameter that is
/// passed by value.
pub trait Feed<P> {
    #[doc(hidden)]
    fn feed(&self, out: &mut Vec<u8>, limit: usize) -> Result<(), ArgumentError>;

    /// Encodes the item of a function with one parameter. Returns the whole message if the value became its
    /// own message, or `None` if its encoding was appended to `out`.
    #[doc(hidden)]
    fn feed_alone(self, out: &mut Vec<u8>, limit: usize) -> Result<Option<Bytes>, ArgumentError>
    where
        Self: Sized;
}

#[diagnostic::do_not_recommend]
impl<T: Wire> Feed<Val<T>> for T {
    fn feed(&self, out: &mut Vec<u8>, limit: usize) -> Result<(), ArgumentError> {
        codec::encode_argument::<T, T>(self, out, limit).map_err(ArgumentError)
    }

    fn feed_alone(self, out: &mut Vec<u8>, limit: usize) -> Result<Option<Bytes>, ArgumentError> {
        codec::encode_argument_alone(self, out, limit).map_err(ArgumentError)
    }
}

/// Implements [`Feed`] for types that deref to a value sent as `P`, or convert to it by `AsRef`.
macro_rules! feeds {
    ($([$($generics:tt)*] $Item:ty => $P:ty, &$Referred:ty $(, $as_ref:ident)?;)*) => {
        $(
            #[diagnostic::do_not_recommend]
            impl<$($generics)*> Feed<$P> for $Item {
                fn feed(&self, out: &mut Vec<u8>, limit: usize) -> Result<(), ArgumentError> {
                    let referred: &$Referred = self$(.$as_ref())?;
                    referred.encode_referred(out, limit)
                }

                fn feed_alone(
                    self,
                    out: &mut Vec<u8>,
                    limit: usize,
                ) -> Result<Option<Bytes>, ArgumentError> {
                    let item = &self;
                    let referred: &$Referred = item$(.$as_ref())?;
                    referred.encode_referred_alone(out, limit).map(|()| None)
                }
            }
        )*
    };
}

/// Lists the pointer types: a blanket implementation for every type that borrows the value would overlap with
/// the one for references.
macro_rules! pointers {
    ($($Marker:ident)*) => {
        $(
            feeds! {
                [T: Wire] &T => $Marker<T>, &T;
                [T: Wire] &&T => $Marker<T>, &T;
                [T: Wire] &mut T => $Marker<T>, &T;
                [T: Wire] Box<T> => $Marker<T>, &T;
                [T: Wire] &Box<T> => $Marker<T>, &T;
                [T: Wire] Rc<T> => $Marker<T>, &T;
                [T: Wire] &Rc<T> => $Marker<T>, &T;
                [T: Wire] Arc<T> => $Marker<T>, &T;
                [T: Wire] &Arc<T> => $Marker<T>, &T;
                [T: Wire + ToOwned] Cow<'_, T> => $Marker<T>, &T;
                [T: Wire + ToOwned] &Cow<'_, T> => $Marker<T>, &T;
            }
        )*
    };
}

pointers!(Val Ref);

feeds! {
    [T: Wire] T => Ref<T>, &T;
    [X: AsRef<str>] X => Ref<str>, &str, as_ref;
    [X: AsRef<Path>] X => Ref<Path>, &Path, as_ref;
    [X: AsRef<[T]>, T: Wire] X => Ref<[T]>, &[T], as_ref;
    [] &str => Val<String>, &str;
    [] &&str => Val<String>, &str;
    [] Cow<'_, str> => Val<String>, &str;
    [] &Path => Val<PathBuf>, &Path;
    [] &&Path => Val<PathBuf>, &Path;
    [T: Wire] &[T] => Val<Vec<T>>, &[T];
    [T: Wire] &&[T] => Val<Vec<T>>, &[T];
}

/// The parameters that callers pass, as a tuple of [`Val`] and [`Ref`].
pub trait Parameters {
    /// The types that generated code names if the parameters cannot be sent.
    type Held;

    /// The types that callers pass, for display in their diagnostics.
    type Shown<'a>;

    /// The arguments of a caller, as a tuple.
    type Passed<'a>;
}

/// The same where they can be sent.
pub trait Arguments: Parameters {
    /// The value that the worker holds.
    type Owned;

    /// `true` if no arguments have a large encoding.
    #[doc(hidden)]
    const IS_SMALL: bool;

    /// Adds the types that are sent.
    #[cfg(feature = "checkpoint")]
    #[doc(hidden)]
    fn outline(outline: &mut codec::outline::Outline);

    /// Encodes what a caller passed.
    #[doc(hidden)]
    fn encode_all(passed: Self::Passed<'_>, out: &mut Vec<u8>, limit: usize) -> Encoded;

    /// Decodes a message; fails with the position of the parameter.
    #[doc(hidden)]
    fn decode(message: Bytes) -> Result<Self::Owned, (usize, ArgumentError)> {
        Self::decode_in_place(&message)
    }

    /// Decodes a message that is a part of a larger buffer.
    #[doc(hidden)]
    fn decode_in_place(message: &[u8]) -> Result<Self::Owned, (usize, ArgumentError)>;

    /// Decodes a message, apart from which a part of the arguments is staged.
    #[doc(hidden)]
    fn decode_staged(message: &[u8]) -> Result<Self::Owned, (usize, ArgumentError)>;
}

/// The whole message if a value became its own message, or `None` if the encoding was appended; an error
/// carries the position of the parameter.
pub(crate) type Encoded = Result<Option<Bytes>, (usize, ArgumentError)>;

/// An item of a map's inputs. `F` is the function, and `P` its parameter, or the tuple of its parameters.
///
/// An item is the parameter, or a value that holds or borrows it, such as `&T`, `Box<T>` or `Arc<T>` for a
/// `T`, and `String` or `&String` for a `&str`. For several parameters it is a tuple of such values.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an input of this function, which takes `{P}`",
    label = "the items have to be `{P}`, owned or borrowed"
)]
pub trait Input<F: Signature, P>: Item<F::Arguments> {}

#[diagnostic::do_not_recommend]
impl<X: Item<F::Arguments>, F: Signature, P> Input<F, P> for X {}

/// The parameters that callers pass to a function, as a tuple of [`Val`] and [`Ref`].
pub trait Signature {
    /// The tuple.
    type Arguments;
}

/// Parameters that cannot be sent.
pub struct Anything(());

#[diagnostic::do_not_recommend]
impl<X> Item<Anything> for X {
    fn encode_item(self, _: &mut Vec<u8>, _: usize) -> Encoded {
        Ok(None)
    }
}

/// One item of a map's inputs: a value, or a tuple for a function of several parameters.
pub trait Item<A> {
    /// Encodes the item. Returns the whole message if the value became its own message, or `None` if its
    /// encoding was appended; an error carries the position of the parameter.
    #[doc(hidden)]
    fn encode_item(self, out: &mut Vec<u8>, limit: usize) -> Encoded
    where
        Self: Sized;
}

impl std::fmt::Display for ArgumentError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

macro_rules! arguments {
    (@parameters $($P:ident)*) => {
        impl<$($P: Parameter),*> Parameters for ($($P,)*) {
            type Held = ($($P::Held,)*);
            type Shown<'a> = arguments!(@shown $($P)*);
            type Passed<'a> = ($($P::Passed<'a>,)*);
        }

        impl<$($P),*> Signature for ($($P,)*) {
            type Arguments = Self;
        }
    };
    (@outline $($P:ident)*) => {
        #[cfg(feature = "checkpoint")]
        #[allow(unused_variables)]
        fn outline(outline: &mut codec::outline::Outline) {
            $(outline.add::<$P::Sent>();)*
        }
    };
    (@staged $($P:ident $x:ident $index:tt),*) => {
        #[cold]
        fn decode_staged(message: &[u8]) -> Result<Self::Owned, (usize, ArgumentError)> {
            #[allow(unused_mut)]
            let mut rest = message;
            $(let $x = $P::decode_staged(&mut rest).map_err(|error| ($index, error))?;)*
            if rest.is_empty() {
                Ok(($($x,)*))
            } else {
                let error = codec::left_over::<($($P::Sent,)*)>(rest.len());
                Err((0, ArgumentError(error)))
            }
        }
    };
    (@shown $P:ident) => {
        $P::Passed<'a>
    };
    (@shown $($P:ident)*) => {
        ($($P::Passed<'a>,)*)
    };
    ($P:ident $x:ident $index:tt) => {
        arguments!(@parameters $P);

        impl<$P: Argument> Arguments for ($P,) {
            type Owned = ($P::Owned,);

            const IS_SMALL: bool = $P::IS_SMALL;

            arguments!(@outline $P);

            fn encode_all(
                ($x,): Self::Passed<'_>,
                out: &mut Vec<u8>,
                limit: usize,
            ) -> Encoded {
                $P::encode_alone($x, out, limit).map_err(|error| ($index, error))
            }

            fn decode(message: Bytes) -> Result<Self::Owned, (usize, ArgumentError)> {
                match codec::decode_alone::<$P::Sent>(message, None) {
                    Ok($x) => Ok(($P::hold($x),)),
                    Err(error) => Err((0, ArgumentError(error))),
                }
            }

            fn decode_in_place(message: &[u8]) -> Result<Self::Owned, (usize, ArgumentError)> {
                match codec::decode_alone_in_place::<$P::Sent>(message) {
                    Ok($x) => Ok(($P::hold($x),)),
                    Err(error) => Err((0, ArgumentError(error))),
                }
            }

            arguments!(@staged $P $x $index);
        }
    };
    ($($P:ident $x:ident $index:tt),*) => {
        arguments!(@parameters $($P)*);

        impl<$($P: Argument),*> Arguments for ($($P,)*) {
            type Owned = ($($P::Owned,)*);

            const IS_SMALL: bool = true $(&& $P::IS_SMALL)*;

            arguments!(@outline $($P)*);

            #[allow(unused_variables)]
            fn encode_all(
                ($($x,)*): Self::Passed<'_>,
                out: &mut Vec<u8>,
                limit: usize,
            ) -> Encoded {
                $($P::encode(&$x, out, limit).map_err(|error| ($index, error))?;)*
                Ok(None)
            }

            fn decode_in_place(message: &[u8]) -> Result<Self::Owned, (usize, ArgumentError)> {
                #[allow(unused_mut)]
                let mut rest = message;
                $(
                    let $x = codec::decode::<$P::Sent>(&mut rest)
                        .map_err(|error| ($index, ArgumentError(error)))?;
                )*
                if rest.is_empty() {
                    Ok(($($P::hold($x),)*))
                } else {
                    let error = codec::left_over::<($($P::Sent,)*)>(rest.len());
                    Err((0, ArgumentError(error)))
                }
            }

            arguments!(@staged $($P $x $index),*);
        }
    };
}

macro_rules! items {
    ($($X:ident $P:ident $index:tt),+) => {
        #[diagnostic::do_not_recommend]
        impl<$($X: Feed<$P>, $P),+> Item<($($P,)+)> for ($($X,)+) {
            fn encode_item(self, out: &mut Vec<u8>, limit: usize) -> Encoded {
                $(self.$index.feed(out, limit).map_err(|error| ($index, error))?;)+
                Ok(None)
            }
        }

        #[diagnostic::do_not_recommend]
        impl<$($X: Feed<$P>, $P),+> Item<($($P,)+)> for &($($X,)+) {
            fn encode_item(self, out: &mut Vec<u8>, limit: usize) -> Encoded {
                $(self.$index.feed(out, limit).map_err(|error| ($index, error))?;)+
                Ok(None)
            }
        }
    };
}

#[diagnostic::do_not_recommend]
impl Item<()> for () {
    fn encode_item(self, _: &mut Vec<u8>, _: usize) -> Encoded {
        Ok(None)
    }
}

#[diagnostic::do_not_recommend]
impl Item<()> for &() {
    fn encode_item(self, _: &mut Vec<u8>, _: usize) -> Encoded {
        Ok(None)
    }
}

#[diagnostic::do_not_recommend]
impl<X: Feed<P>, P> Item<(P,)> for X {
    fn encode_item(self, out: &mut Vec<u8>, limit: usize) -> Encoded {
        self.feed_alone(out, limit).map_err(|error| (0, error))
    }
}

arguments!();
arguments!(A a 0);
arguments!(A a 0, B b 1);
arguments!(A a 0, B b 1, C c 2);
arguments!(A a 0, B b 1, C c 2, D d 3);
arguments!(A a 0, B b 1, C c 2, D d 3, E e 4);
arguments!(A a 0, B b 1, C c 2, D d 3, E e 4, F f 5);
arguments!(A a 0, B b 1, C c 2, D d 3, E e 4, F f 5, G g 6);
arguments!(A a 0, B b 1, C c 2, D d 3, E e 4, F f 5, G g 6, H h 7);
arguments!(A a 0, B b 1, C c 2, D d 3, E e 4, F f 5, G g 6, H h 7, I i 8);
arguments!(A a 0, B b 1, C c 2, D d 3, E e 4, F f 5, G g 6, H h 7, I i 8, J j 9);
arguments!(A a 0, B b 1, C c 2, D d 3, E e 4, F f 5, G g 6, H h 7, I i 8, J j 9, K k 10);
arguments!(A a 0, B b 1, C c 2, D d 3, E e 4, F f 5, G g 6, H h 7, I i 8, J j 9, K k 10, L l 11);

items!(X0 P0 0, X1 P1 1);
items!(X0 P0 0, X1 P1 1, X2 P2 2);
items!(X0 P0 0, X1 P1 1, X2 P2 2, X3 P3 3);
items!(X0 P0 0, X1 P1 1, X2 P2 2, X3 P3 3, X4 P4 4);
items!(X0 P0 0, X1 P1 1, X2 P2 2, X3 P3 3, X4 P4 4, X5 P5 5);
items!(X0 P0 0, X1 P1 1, X2 P2 2, X3 P3 3, X4 P4 4, X5 P5 5, X6 P6 6);
items!(X0 P0 0, X1 P1 1, X2 P2 2, X3 P3 3, X4 P4 4, X5 P5 5, X6 P6 6, X7 P7 7);
items!(X0 P0 0, X1 P1 1, X2 P2 2, X3 P3 3, X4 P4 4, X5 P5 5, X6 P6 6, X7 P7 7, X8 P8 8);
items!(X0 P0 0, X1 P1 1, X2 P2 2, X3 P3 3, X4 P4 4, X5 P5 5, X6 P6 6, X7 P7 7, X8 P8 8, X9 P9 9);
items!(X0 P0 0, X1 P1 1, X2 P2 2, X3 P3 3, X4 P4 4, X5 P5 5, X6 P6 6, X7 P7 7, X8 P8 8, X9 P9 9, X10 P10 10);
items!(X0 P0 0, X1 P1 1, X2 P2 2, X3 P3 3, X4 P4 4, X5 P5 5, X6 P6 6, X7 P7 7, X8 P8 8, X9 P9 9, X10 P10 10, X11 P11 11);
