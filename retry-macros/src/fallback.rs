//! The expansion of an item that cannot be read, and of any item after a panic of the macro.

use std::panic::{AssertUnwindSafe, catch_unwind};

use proc_macro2::{Span, TokenStream};
use quote::{format_ident, quote};
use syn::ext::IdentExt;

use crate::item::{Attributes, Function};
use crate::signature;

/// Returns the item as it was written, before the errors: code that uses it still finds it.
pub(crate) fn item(error: &syn::Error, item: &TokenStream) -> TokenStream {
    let errors = error.to_compile_error();
    quote!(#item #errors)
}

/// Returns a type that is an error of ours. The compiler reports no use of a value of such a type, since an
/// error there may be a consequence of the first one: so calls next to a mistake are no further errors. It
/// reports the same error at the same place once.
pub(crate) fn poison(error: &TokenStream) -> TokenStream {
    quote!([(); #error])
}

/// Returns the expansion of a refused function: its name for callers, and the function itself, so that mistakes
/// in its body are found and an editor knows its contents.
pub(crate) fn poisoned(function: &Function, error: &TokenStream) -> TokenStream {
    let Attributes { cfgs, .. } = Attributes::sort(&function.attrs);
    let name = name(function, error);
    let mut alone = function.clone();
    signature::make_elided_static(&mut alone.sig);
    quote! {
        #name

        #(#cfgs)*
        #[allow(dead_code)]
        const _: () = {
            #alone
        };
    }
}

/// Returns a constant with the name of a refused function.
pub(crate) fn name(function: &Function, error: &TokenStream) -> TokenStream {
    let Attributes { cfgs, docs, .. } = Attributes::sort(&function.attrs);
    let (vis, name, poison) = (&function.vis, &function.sig.ident, poison(error));
    quote! {
        #(#docs)*
        #(#cfgs)*
        #[allow(non_upper_case_globals, dead_code)]
        #vis const #name: #poison = loop {};
    }
}

/// Returns the expansion of a refused associated function: a constant of its name, and the function by
/// another name.
pub(crate) fn associated(function: &Function, error: &TokenStream) -> TokenStream {
    let constant = name(function, error);
    let mut alone = function.clone();
    alone.sig.ident = format_ident!(
        "__{}",
        function.sig.ident.unraw(),
        span = function.sig.ident.span()
    );
    signature::make_elided_static(&mut alone.sig);
    quote! {
        #constant

        #[allow(dead_code)]
        #alone
    }
}

/// Expands an attribute. A panic of ours would hide the item from all code that uses it, and an editor would
/// show nothing else.
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
