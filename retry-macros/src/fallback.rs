//! What comes out when an item cannot be read, or the macro itself fails.

use std::panic::{AssertUnwindSafe, catch_unwind};

use proc_macro2::{Span, TokenStream};
use quote::quote;

use crate::item::{Attributes, Function};
use crate::signature;

/// The item as it was written, before the errors: what uses it still finds it.
pub(crate) fn item(error: &syn::Error, item: &TokenStream) -> TokenStream {
    let errors = error.to_compile_error();
    quote!(#item #errors)
}

/// A type that is an error of ours. The compiler says nothing about what is done with a value of such a
/// type, since that may be a consequence of the error: so calls next to a mistake are no further errors,
/// whatever they pass and expect. The same error at the same place is said once.
pub(crate) fn poison(error: &TokenStream) -> TokenStream {
    quote!([(); #error])
}

/// A function that was refused: a constant of its name for those that call it, and the function itself
/// for its own sake, so that mistakes in its body are found and an editor knows what is in it.
pub(crate) fn poisoned(function: &Function, error: &TokenStream) -> TokenStream {
    let Attributes { cfgs, docs, .. } = Attributes::sort(&function.attrs);
    let (vis, name, poison) = (&function.vis, &function.sig.ident, poison(error));
    let mut alone = function.clone();
    signature::make_elided_static(&mut alone.sig);
    quote! {
        #(#docs)*
        #(#cfgs)*
        #[allow(non_upper_case_globals, dead_code)]
        #vis const #name: #poison = loop {};

        #(#cfgs)*
        #[allow(dead_code)]
        const _: () = {
            #alone
        };
    }
}

/// Expands an attribute. A panic of ours would hide the item from everything that uses it, and
/// an editor would show nothing but that.
pub(crate) fn guarded(
    name: &str,
    expand: fn(TokenStream, TokenStream) -> TokenStream,
    attribute: proc_macro::TokenStream,
    written: proc_macro::TokenStream,
) -> proc_macro::TokenStream {
    let written = TokenStream::from(written);
    let expand = AssertUnwindSafe(|| expand(attribute.into(), written.clone()));
    catch_unwind(expand)
        .unwrap_or_else(|_| item(&failed(name), &written))
        .into()
}

fn failed(name: &str) -> syn::Error {
    let message = format!(
        "#[{name}] failed on this item, which is a mistake of retry-macros and not yours; please \
         report it together with the item"
    );
    syn::Error::new(Span::call_site(), message)
}
