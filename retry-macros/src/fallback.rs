//! What comes out when something was wrong: the errors, and as much of the function as stands.

use proc_macro2::TokenStream;
use quote::quote;

/// The item as it was written, after the errors: what uses it still finds it.
pub(crate) fn item(error: &syn::Error, item: &TokenStream) -> TokenStream {
    let errors = error.to_compile_error();
    quote!(#item #errors)
}
