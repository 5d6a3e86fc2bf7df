//! Tokens that several stages emit.

/// Returns the path of the runtime's hidden module, whose name carries the patch version.
pub(crate) fn private_module(runtime: &proc_macro2::TokenStream) -> proc_macro2::TokenStream {
    let module = quote::format_ident!("__private{}", env!("CARGO_PKG_VERSION_PATCH"));
    quote::quote!(#runtime::#module)
}

/// Moves tokens to another place, where the compiler then reports their errors.
pub(crate) fn respanned(
    tokens: &proc_macro2::TokenStream,
    span: proc_macro2::Span,
) -> proc_macro2::TokenStream {
    tokens
        .clone()
        .into_iter()
        .map(|mut token| {
            token.set_span(span);
            token
        })
        .collect()
}
