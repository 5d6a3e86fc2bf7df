//! What comes out when an item cannot be read, or the macro itself fails.

use std::panic::{AssertUnwindSafe, catch_unwind};

use proc_macro2::{Span, TokenStream};
use quote::quote;

/// The item as it was written, before the errors: what uses it still finds it.
pub(crate) fn item(error: &syn::Error, item: &TokenStream) -> TokenStream {
    let errors = error.to_compile_error();
    quote!(#item #errors)
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
