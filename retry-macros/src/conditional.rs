//! Parts of an item that depend on a `#[cfg]`.
//!
//! An attribute is given its item before the compiler has evaluated conditions inside of it. So an item with
//! such a part is written twice, each time below its attribute: with the part where the condition holds, and
//! without it elsewhere. The compiler keeps one of them, whose attribute looks for the next such part.

use proc_macro2::TokenStream;
use quote::{ToTokens, quote};
use syn::{Attribute, FnArg, Meta, Signature};

use crate::item::Function;

/// An item with and without a part that depends on a condition.
pub(crate) struct Either<T> {
    condition: TokenStream,
    with: T,
    without: T,
}

impl<T> Either<T> {
    /// Returns both items after a change.
    pub(crate) fn map<U>(self, change: impl Fn(T) -> U) -> Either<U> {
        Either {
            condition: self.condition,
            with: change(self.with),
            without: change(self.without),
        }
    }
}

impl<T: Clone> Either<T> {
    /// Returns an item with one of its parts with and without what depends on a condition there.
    pub(crate) fn within<P>(part: Either<P>, item: &T, place: impl Fn(&mut T) -> &mut P) -> Self {
        let of = |part: P| {
            let mut item = item.clone();
            *place(&mut item) = part;
            item
        };
        Self {
            condition: part.condition,
            with: of(part.with),
            without: of(part.without),
        }
    }
}

impl<T: ToTokens> Either<T> {
    /// Returns both items below an attribute with that path and these options.
    pub(crate) fn below(&self, attribute: &TokenStream, options: &TokenStream) -> TokenStream {
        let Self {
            condition,
            with,
            without,
        } = self;
        quote! {
            #[cfg(#condition)]
            #[#attribute(#options)]
            #with

            #[cfg(not(#condition))]
            #[#attribute(#options)]
            #without
        }
    }
}

/// Returns a function with and without its first parameter that depends on a condition; `None` if there is none.
pub(crate) fn function(function: &Function) -> Option<Either<Function>> {
    let signature = signature(&function.sig)?;
    Some(Either::within(signature, function, |function| {
        &mut function.sig
    }))
}

/// Returns a signature with and without its first parameter that depends on a condition; `None` if there is none.
pub(crate) fn signature(signature: &Signature) -> Option<Either<Signature>> {
    let inputs: Vec<FnArg> = signature.inputs.iter().cloned().collect();
    let inputs = element(&inputs, |input| match input {
        FnArg::Typed(typed) => Some(&mut typed.attrs),
        FnArg::Receiver(receiver) => Some(&mut receiver.attrs),
    })?;
    let inputs = inputs.map(|inputs| inputs.into_iter().collect());
    Some(Either::within(inputs, signature, |signature| {
        &mut signature.inputs
    }))
}

/// Returns a list with and without its first element that depends on a condition. `attributes` returns the
/// attributes of an element, or `None` for one whose condition is of no concern.
pub(crate) fn element<T: Clone>(
    list: &[T],
    attributes: impl Fn(&mut T) -> Option<&mut Vec<Attribute>>,
) -> Option<Either<Vec<T>>> {
    let mut with = list.to_vec();
    let mut elements = with.iter_mut().enumerate();
    let (position, condition) = elements.find_map(|(position, element)| {
        let condition = take(attributes(element)?)?;
        Some((position, condition))
    })?;
    let mut without = with.clone();
    without.remove(position);
    Some(Either {
        condition,
        with,
        without,
    })
}

/// Removes the first `#[cfg]` from attributes, and returns its condition.
fn take(attributes: &mut Vec<Attribute>) -> Option<TokenStream> {
    let (position, condition) =
        attributes
            .iter()
            .enumerate()
            .find_map(|(position, one)| match &one.meta {
                Meta::List(list) if list.path.is_ident("cfg") => {
                    Some((position, list.tokens.clone()))
                }
                _ => None,
            })?;
    attributes.remove(position);
    Some(condition)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(item: &str) -> Option<String> {
        let item: Function = syn::parse_str(item).expect("it is a function");
        let code = function(&item)?.below(&quote!(m), &quote!(retries = 3));
        Some(code.to_string())
    }

    #[test]
    fn a_function_without_conditions_stays_as_it_is() {
        assert_eq!(written("fn f(a: u64, #[doc(hidden)] b: u64) {}"), None);
    }

    #[test]
    fn a_function_is_written_for_both_cases() {
        let expected = quote! {
            #[cfg(unix)]
            #[m(retries = 3)]
            #[x]
            pub fn f(a: u64, #[y] b: u64, #[cfg(windows)] c: u64) {
                a
            }

            #[cfg(not(unix))]
            #[m(retries = 3)]
            #[x]
            pub fn f(a: u64, #[cfg(windows)] c: u64) {
                a
            }
        };
        let item = "#[x] pub fn f(a: u64, #[cfg(unix)] #[y] b: u64, #[cfg(windows)] c: u64) { a }";
        assert_eq!(written(item), Some(expected.to_string()));
    }
}
