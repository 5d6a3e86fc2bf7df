//! `#[retry_runtime::test]`: a worker of a test re-enters the same test by its name.

use proc_macro2::TokenStream;
use quote::quote;
use syn::Attribute;

use crate::args::Errors;
use crate::item::Function;
use crate::{fallback, policy};

pub(crate) fn test(attribute: TokenStream, item: TokenStream) -> TokenStream {
    match expand(attribute, item.clone()) {
        Ok(tokens) => tokens,
        Err(error) => fallback::item(&error, &item),
    }
}

fn expand(attribute: TokenStream, item: TokenStream) -> syn::Result<TokenStream> {
    let mut errors = Errors::default();
    let message = "#[retry_runtime::test] takes no option but `crate`";
    let private = policy::only_module(attribute, message, &mut errors);
    errors.finish(())?;
    let Function {
        mut attrs,
        vis,
        mut sig,
        block,
        ..
    } = syn::parse2(item)?;
    if !sig.generics.params.is_empty() {
        let message = "a test cannot be generic";
        return Err(syn::Error::new_spanned(&sig.generics, message));
    }
    if !sig.inputs.is_empty() {
        let message = "a test has no parameters: there is no caller to pass them";
        return Err(syn::Error::new_spanned(&sig.inputs, message));
    }
    let is_test = |attribute: &mut Attribute| {
        let last = attribute.path().segments.last();
        last.is_some_and(|last| last.ident == "test")
    };
    // Without the other attribute there is nothing else to report.
    let others = attrs.extract_if(.., is_test).map(|other| {
        let message = "#[retry_runtime::test] makes a test of this, with a tokio runtime if it is \
                       `async`; remove this line";
        syn::Error::new_spanned(other, message).to_compile_error()
    });
    let errors: TokenStream = others.collect();
    let name = sig.ident.to_string();
    let body = if sig.asyncness.take().is_some() {
        quote!(#private::block_on_test(async move #block))
    } else {
        quote!(#block)
    };
    Ok(quote! {
        #(#attrs)*
        #[::core::prelude::v1::test]
        #vis #sig {
            let _entered = #private::enter_test(::core::concat!(::core::module_path!(), "::", #name));
            #body
        }

        #errors
    })
}
