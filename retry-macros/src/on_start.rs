//! `#[on_start]`: a function that runs first in every process.

use proc_macro2::{Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{ReturnType, Type};

use crate::args::Errors;
use crate::fallback;
use crate::item::{self, Attributes, Function};
use crate::{place, policy};

pub(crate) fn on_start(attribute: TokenStream, item: TokenStream) -> TokenStream {
    let mut errors = Errors::default();
    let private = policy::only_module(
        attribute,
        "#[on_start] takes no option but `crate`",
        &mut errors,
    );
    let mut function: Function = match syn::parse2(item.clone()) {
        Ok(function) => function,
        Err(error) if item::looks_like("fn", &item) => return fallback::item(&error, &item),
        Err(_) => {
            errors.report(&item, "#[on_start] belongs on a function");
            let errors = errors.to_compile_error();
            return quote!(#item #errors);
        }
    };
    check(&mut function, &mut errors);
    match errors.to_compile_error() {
        None => expand(&function, &private),
        Some(errors) => quote! {
            #[allow(dead_code)]
            #function
            #errors
        },
    }
}

fn check(function: &mut Function, errors: &mut Errors) {
    function.attrs.retain(|attribute| {
        let Some(last) = attribute.path().segments.last() else {
            return true;
        };
        let message = match last.ident.to_string().as_str() {
            "function" => {
                "#[on_start] runs in every process, and #[function] is for what a worker is called for; \
                 remove one of them"
            }
            "on_start" => "#[on_start] is written twice; remove this line",
            _ => return true,
        };
        errors.report(attribute, message);
        false
    });
    let sig = &function.sig;
    if !function.has_body {
        errors.report(&sig.ident, "a function with #[on_start] needs a body");
    }
    if sig.ident == "main" {
        let message = "#[on_start] runs before `main`: write another function for it";
        errors.report(&sig.ident, message);
    }
    if place::block().is_some() && sig.receiver().is_none() {
        let message = "a function with #[on_start] cannot stand in an `impl` or a trait: write a free function";
        errors.report(&sig.ident, message);
    }
    if !sig.generics.params.is_empty() {
        let message =
            "a function with #[on_start] cannot be generic: there is no caller to choose the types";
        errors.report(&sig.generics, message);
    }
    if let Some(keyword) = &sig.asyncness {
        let message = "a function with #[on_start] cannot be `async`: it runs before there is an async runtime";
        errors.report(keyword, message);
    }
    if let Some(keyword) = &sig.unsafety {
        let message = "a function with #[on_start] cannot be `unsafe`: use an `unsafe` block in it";
        errors.report(keyword, message);
    }
    if let ReturnType::Type(_, ty) = &sig.output
        && let Type::Never(never) = &**ty
    {
        let message = "a function with #[on_start] comes to its end, since `main` begins after it: leave the \
                       `-> !` out";
        errors.report(never, message);
    }
    if !sig.inputs.is_empty() {
        let message =
            "a function with #[on_start] has no parameters: there is no caller to pass them";
        errors.report(&sig.inputs, message);
    }
}

fn expand(function: &Function, private: &TokenStream) -> TokenStream {
    let Attributes { cfgs, .. } = Attributes::sort(&function.attrs);
    let name = &function.sig.ident;
    let title = name.unraw().to_string();
    // The compiler reports a type that does not fit at the call of the method.
    let span = match &function.sig.output {
        ReturnType::Default => Span::call_site(),
        ReturnType::Type(_, ty) => Span::call_site().located_at(ty.span()),
    };
    let call = {
        let private = crate::tokens::respanned(private, span);
        quote_spanned!(span=> #private::StartResult(#name()).result_of_start())
    };
    quote! {
        #function

        #(#cfgs)*
        #[allow(deprecated)]
        const _: () = {
            #[allow(unused_imports)]
            use #private::{DebuggedStart as _, OtherStart as _};

            fn __run() -> ::core::result::Result<(), ::std::string::String> {
                #call
            }

            #private::inventory::submit! {
                #private::OnStart::new(
                    ::core::concat!(::core::module_path!(), "::", #title),
                    __run,
                )
            }
        };
    }
}
