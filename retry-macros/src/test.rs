//! `#[retry_runtime::test]`: a worker of a test re-enters the same test by its name.

use proc_macro2::{Delimiter, Group, TokenStream};
use quote::quote;
use syn::{Attribute, ReturnType, Type};

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
    if let Some(keyword) = &sig.constness {
        let message = "a test is no constant: remove the `const`";
        return Err(syn::Error::new_spanned(keyword, message));
    }
    if let Some(keyword) = &sig.unsafety {
        let message = "a test cannot be `unsafe`: use an `unsafe` block in it";
        return Err(syn::Error::new_spanned(keyword, message));
    }
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
        // The compiler reports a value of another type in the body if it knows the type before it gets there,
        // and else at the attribute.
        let expected = named(&sig.output).map(|ty| {
            quote! {
                if false {
                    return #private::unreached::<#ty>();
                };
            }
        });
        let stream = block.stream();
        let mut body = Group::new(Delimiter::Brace, quote!(#expected #stream));
        body.set_span(block.span());
        quote!(#private::block_on_test(async move #body))
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

/// Returns the type that a function returns; `None` if a generic argument cannot have it.
fn named(output: &ReturnType) -> Option<Type> {
    match output {
        ReturnType::Default => Some(syn::parse_quote!(())),
        ReturnType::Type(_, ty) if matches!(**ty, Type::ImplTrait(_) | Type::Never(_)) => None,
        ReturnType::Type(_, ty) => Some((**ty).clone()),
    }
}
