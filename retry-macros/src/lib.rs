//! The macros of `retry-runtime`, which re-exports and documents them.
//!
//! One file per stage: `args` is the attribute as written, `policy` the options once checked,
//! `signature` the function once checked, `expand` the code that comes out, and `fallback` what
//! comes out when something was wrong.

mod args;
mod entrypoint;
mod expand;
mod fallback;
mod policy;
mod signature;
mod test;

use proc_macro::TokenStream;

/// Gives a function `.remote()`, `.map()` and `.spawn()`: see the crate `retry-runtime`.
#[proc_macro_attribute]
pub fn function(attribute: TokenStream, item: TokenStream) -> TokenStream {
    expand::function(attribute.into(), item.into()).into()
}

/// Turns a `main` into a program with arguments: see the crate `retry-runtime`.
#[proc_macro_attribute]
pub fn local_entrypoint(attribute: TokenStream, item: TokenStream) -> TokenStream {
    entrypoint::local_entrypoint(attribute.into(), item.into()).into()
}

/// A test that can use workers: see the crate `retry-runtime`.
#[proc_macro_attribute]
pub fn test(attribute: TokenStream, item: TokenStream) -> TokenStream {
    test::test(attribute.into(), item.into()).into()
}

/// The runtime's hidden module, whose name carries the patch version.
fn private_module(runtime: &proc_macro2::TokenStream) -> proc_macro2::TokenStream {
    let module = quote::format_ident!("__private{}", env!("CARGO_PKG_VERSION_PATCH"));
    quote::quote!(#runtime::#module)
}
