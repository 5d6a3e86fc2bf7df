//! The caller's side of an expansion: the stub.

use proc_macro2::TokenStream;
use quote::{format_ident, quote, quote_spanned};
use syn::ext::IdentExt;

use crate::expand::Expansion;
use crate::item::Attributes;
use crate::signature;

/// The lifetime of all references in an async function's parameters.
const LIFETIME: &str = "'__call";

/// How the stub reaches the function.
struct Entry {
    /// The type of the pointer.
    pointer: TokenStream,
    /// What it points to.
    target: TokenStream,
    /// A function of its own for that, where the body is not enough.
    start: Option<TokenStream>,
}

impl Expansion<'_> {
    /// The stub, with what is to stand next to its description.
    pub(crate) fn stub(&self, rest: &TokenStream) -> TokenStream {
        let Self {
            function,
            private,
            arguments,
            result,
            ..
        } = self;
        let Attributes {
            cfgs,
            docs,
            lints,
            body: body_attributes,
        } = Attributes::sort(&function.attrs);
        let vis = &function.vis;
        let block = &function.block;
        let asyncness = &function.sig.asyncness;
        let generics = &function.sig.generics;
        let inputs = &function.sig.inputs;
        let returns = &function.sig.output;
        let stub = &function.sig.ident;
        let local = self.local();
        let spec = self.spec();
        let Entry {
            pointer,
            target,
            start,
        } = self.entry();

        // A private type of a public function is said to leak here.
        let target_type = quote_spanned! {stub.span()=>
            type Target = #private::Typed<#pointer, #arguments, #result>;
        };
        // A function that was refused is not called.
        let unused = (!self.is_sound).then(|| quote!(#[allow(dead_code)]));
        // The state has the type that the set-up gives it, which may be `Vec` or `String`.
        let state_lints = self
            .policy
            .setup
            .as_ref()
            .map(|_| quote!(#[allow(clippy::ptr_arg)]));

        quote! {
            #(#docs)*
            #(#cfgs)*
            #(#lints)*
            #[allow(non_camel_case_types)]
            #[derive(::core::clone::Clone, ::core::marker::Copy, ::core::fmt::Debug)]
            #vis struct #stub;

            #(#cfgs)*
            #(#lints)*
            impl #stub {
                #(#body_attributes)*
                #[doc(hidden)]
                #state_lints
                #unused
                #asyncness fn __body #generics (#inputs) #returns #block

                #start

                #local
            }

            #(#cfgs)*
            #[allow(clippy::all, clippy::pedantic, deprecated)]
            const _: () = {
                static __SPEC: #private::FunctionSpec = #spec;

                #rest

                impl ::core::ops::Deref for #stub {
                    #target_type

                    fn deref(&self) -> &Self::Target {
                        static __STUB: #private::Typed<#pointer, #arguments, #result> =
                            #private::Typed::new(#target, &__REGISTRATION);
                        &__STUB
                    }
                }
            };
        }
    }

    /// The call in this process, with the parameters' names.
    fn local(&self) -> TokenStream {
        let vis = &self.function.vis;
        let asyncness = &self.function.sig.asyncness;
        let output = &self.signature.output;
        let returns = (!signature::is_unit(output)).then(|| quote!(-> #output));
        let names: Vec<_> = self
            .signature
            .all()
            .map(|parameter| &parameter.name)
            .collect();
        let types = self.signature.all().map(|parameter| &parameter.ty);
        let call = if self.is_sound {
            let await_it = asyncness.is_some().then(|| quote!(.await));
            quote!(Self::__body(#(#names),*) #await_it)
        } else {
            quote!(::core::unreachable!())
        };
        quote! {
            /// Calls the function in this process: an ordinary call, to which no policy applies.
            #[allow(dead_code, unused_variables, clippy::all, clippy::pedantic)]
            #vis #asyncness fn local(&self, #(#names: #types),*) #returns {
                #call
            }
        }
    }

    /// An async function's pointer returns a boxed future, which has a type that can be named. It
    /// holds the references that the function is given.
    fn entry(&self) -> Entry {
        let output = &self.signature.output;
        if self.function.sig.asyncness.is_none() {
            let types = self.signature.all().map(|parameter| &parameter.ty);
            return Entry {
                pointer: quote!(fn(#(#types),*) -> #output),
                target: self.target("__body"),
                start: None,
            };
        }
        let names: Vec<_> = self
            .signature
            .all()
            .map(|parameter| &parameter.name)
            .collect();
        let types: Vec<_> = self
            .signature
            .all()
            .map(|parameter| signature::with_lifetime(&parameter.ty, LIFETIME))
            .collect();
        let borrows = self
            .signature
            .all()
            .any(|parameter| parameter.referred().is_some());
        let name = if borrows { LIFETIME } else { "'static" };
        let lifetime = syn::Lifetime::new(name, proc_macro2::Span::call_site());
        let private = self.private;
        let future = quote!(#private::BoxFuture<#lifetime, #output>);
        let (binder, generics) = if borrows {
            (Some(quote!(for<#lifetime>)), Some(quote!(<#lifetime>)))
        } else {
            (None, None)
        };
        let start = quote! {
            #[allow(unused_imports)]
            use #private::Stays as _;
            #private::Started(Self::__body(#(#names),*)).boxed()
        };
        Entry {
            pointer: quote!(#binder fn(#(#types),*) -> #future),
            target: self.target("__start"),
            start: self.is_sound.then(|| {
                quote! {
                    #[doc(hidden)]
                    #[allow(clippy::all, clippy::pedantic)]
                    fn __start #generics (#(#names: #types),*) -> #future {
                        #start
                    }
                }
            }),
        }
    }

    /// What the pointer points to. A function that was refused may not fit the pointer, and is
    /// never called.
    fn target(&self, name: &str) -> TokenStream {
        if self.is_sound {
            let stub = &self.function.sig.ident;
            let name = format_ident!("{}", name);
            quote!(#stub::#name)
        } else {
            let ignored = self.signature.all().map(|_| quote!(_));
            quote!(|#(#ignored),*| ::core::unreachable!())
        }
    }

    /// The static description.
    fn spec(&self) -> TokenStream {
        let private = self.private;
        let name = match &self.policy.name {
            Some(name) => quote!(#name),
            None => {
                let name = &self.title;
                quote!(::core::concat!(::core::module_path!(), "::", #name))
            }
        };
        let parameters = self
            .signature
            .parameters
            .iter()
            .map(|parameter| parameter.name.unraw().to_string());
        let setters = &self.policy.setters;
        let asynchronous = self.function.sig.asyncness.map(|_| quote!(.asynchronous()));
        quote! {
            #private::FunctionSpec::new(
                #name,
                ::core::file!(),
                ::core::line!(),
                &[#(#parameters),*],
            ) #(#setters)* #asynchronous
        }
    }
}
