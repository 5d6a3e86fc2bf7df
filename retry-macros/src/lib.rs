//! The attribute macros of `retry-runtime`, which re-exports and documents them.
//!
//! One file per stage: `args` is the attribute as written, `item` the function as written, `conditional` its
//! parts that depend on a `#[cfg]`, `policy` the options once checked, `signature` the signature once checked,
//! `expand` the generated code, with `stub` for the caller's side of it and `worker` for the other, and
//! `fallback` the generated code for an item with errors.

mod args;
#[cfg(test)]
mod cases;
mod conditional;
mod entrypoint;
mod expand;
mod fallback;
mod item;
mod on_start;
mod place;
mod policy;
mod service;
mod signature;
#[cfg(test)]
mod snapshots;
mod stub;
mod test;
mod tokens;
mod worker;

use proc_macro::TokenStream;

/// The crate `retry-runtime` re-exports `#[function]` and documents its options.
#[proc_macro_attribute]
pub fn function(attribute: TokenStream, item: TokenStream) -> TokenStream {
    fallback::guarded("function", expand::function, attribute, item)
}

/// The crate `retry-runtime` re-exports `#[service]` and documents its options.
#[proc_macro_attribute]
pub fn service(attribute: TokenStream, item: TokenStream) -> TokenStream {
    fallback::guarded("service", service::service, attribute, item)
}

/// The crate `retry-runtime` re-exports and documents `#[local_entrypoint]`.
#[proc_macro_attribute]
pub fn local_entrypoint(attribute: TokenStream, item: TokenStream) -> TokenStream {
    let expand = entrypoint::local_entrypoint;
    fallback::guarded("local_entrypoint", expand, attribute, item)
}

/// The crate `retry-runtime` re-exports and documents `#[retry_runtime::test]`.
#[proc_macro_attribute]
pub fn test(attribute: TokenStream, item: TokenStream) -> TokenStream {
    fallback::guarded("retry_runtime::test", test::test, attribute, item)
}

/// The crate `retry-runtime` re-exports and documents `#[on_start]`.
#[proc_macro_attribute]
pub fn on_start(attribute: TokenStream, item: TokenStream) -> TokenStream {
    fallback::guarded("on_start", on_start::on_start, attribute, item)
}
