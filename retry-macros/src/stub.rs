//! The caller's side of an expansion: the stub.

use proc_macro2::{Ident, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::Type;
use syn::ext::IdentExt;

use crate::expand::Expansion;
use crate::item::{Attributes, Function};
use crate::signature::{self, Parameter};

/// The lifetime of all references in an async function's parameters.
const LIFETIME: &str = "'__call";

/// The lifetime of all references in the error about items of a map.
const INPUT: &str = "'__input";

/// The functions that every stub has.
const METHODS: &[&str] = &[
    "attach",
    "for_each",
    "local",
    "map",
    "name",
    "on",
    "remote",
    "spawn",
    "spec",
    "with_options",
];

/// The stub's way to the function.
struct Entry {
    /// The type of the pointer.
    pointer: TokenStream,
    /// The function that it points to.
    target: TokenStream,
    /// The definition of that function, if it is not the body.
    start: Option<TokenStream>,
}

impl Expansion<'_> {
    /// Returns the stub, with further items next to its description.
    pub(crate) fn stub(&self, rest: &TokenStream) -> TokenStream {
        let private = self.private;
        let attributes = Attributes::sort(&self.function.attrs);
        let Attributes {
            cfgs, docs, lints, ..
        } = &attributes;
        let entry = self.entry();
        let Entry {
            pointer, target, ..
        } = &entry;
        let (arguments, result) = (&self.arguments, &self.result);
        let typed = quote!(#private::Typed<#pointer, #arguments, #result>);
        let definition = self.definition(&typed);
        let body = self.body(&attributes, &entry);
        let spec = self.spec();
        let access = self.access(&typed);
        let methods = self.methods(&typed);
        let traits = self.traits(&entry);
        let aliases = self.aliases.iter().map(|alias| quote!(#(#cfgs)* #alias));
        // The struct of a method refers to them. The compiler reports the same mistake in two of them once.
        let (outside, inside) = match self.service {
            Some(_) => (Some(quote!(#(#aliases)*)), None),
            None => (None, Some(quote!(#(#aliases)*))),
        };
        quote! {
            #(#docs)*
            #(#cfgs)*
            #(#lints)*
            #[allow(non_camel_case_types)]
            #definition

            #outside

            #(#cfgs)*
            #(#lints)*
            const _: () = {
                #inside

                #body
            };

            #(#cfgs)*
            #[allow(clippy::all, clippy::pedantic, dead_code, deprecated, private_interfaces)]
            const _: () = {
                #inside

                static __SPEC: #private::FunctionSpec = #spec;

                static __STUB: #typed = #private::Typed::new(#target, &__REGISTRATION);

                #rest

                type __Kind = #private::Kind<{ #private::kind!(#result, #arguments) }>;

                #access

                #methods

                #traits
            };
        }
    }

    /// Returns the struct. The one of a method holds the parameters of its service's constructor.
    fn definition(&self, typed: &TokenStream) -> TokenStream {
        let vis = &self.function.vis;
        let stub = &self.function.sig.ident;
        if self.service.is_some() {
            quote! {
                #[doc(hidden)]
                #[derive(::core::clone::Clone)]
                #vis struct #stub(#typed);
            }
        } else {
            quote! {
                #[derive(::core::clone::Clone, ::core::marker::Copy, ::core::fmt::Debug)]
                #vis struct #stub;
            }
        }
    }

    /// Returns the functions that run in this process. The alias stands for a struct that may be deprecated.
    fn body(&self, attributes: &Attributes<'_>, entry: &Entry) -> TokenStream {
        let Function { sig, block, .. } = self.function;
        let syn::Signature {
            asyncness,
            ident: stub,
            generics,
            inputs,
            output: returns,
            ..
        } = sig;
        let (shadows, name) = (shadows(self.signature.all()), self.body_name());
        let body_attributes = &attributes.body;
        let start = &entry.start;
        let local = self.local();
        // A batch is a `Vec`. An `expect` of the user's comes later and takes precedence.
        let batch_lints = self
            .policy
            .batch
            .then(|| quote!(#[allow(clippy::needless_pass_by_value)]));
        // The state has the type that the set-up gives it, which may be `Vec` or `String`.
        let state_lints = self
            .policy
            .setup
            .as_ref()
            .map(|_| quote!(#[allow(clippy::ptr_arg)]));
        quote! {
            #shadows

            #[allow(deprecated)]
            type __Stub = #stub;

            impl __Stub {
                #batch_lints
                #(#body_attributes)*
                #[doc(hidden)]
                #state_lints
                #asyncness fn #name #generics (#inputs) #returns #block

                #start

                #local
            }
        }
    }

    /// Returns the name of the function with the user's body. It is the user's, which other macros read, unless
    /// the stub has or may have a function of that name.
    pub(crate) fn body_name(&self) -> Ident {
        let name = &self.function.sig.ident;
        let is_taken = METHODS.iter().any(|method| name == method);
        if self.service.is_some() || is_taken || name.to_string().starts_with("__") {
            format_ident!("__body")
        } else {
            name.clone()
        }
    }

    /// Returns the way from the struct to the layers of the runtime's stub.
    fn access(&self, typed: &TokenStream) -> TokenStream {
        let private = self.private;
        let vis = &self.function.vis;
        let stub = &self.function.sig.ident;
        if self.service.is_none() {
            return quote! {
                impl #stub {
                    fn __stub(&self) -> &'static #typed {
                        &__STUB
                    }
                }
            };
        }
        quote! {
            impl ::core::fmt::Debug for #stub {
                fn fmt(&self, __f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                    ::core::fmt::Debug::fmt(&self.0, __f)
                }
            }

            impl #stub {
                fn __stub(&self) -> &#typed {
                    &self.0
                }

                #[doc(hidden)]
                #vis fn __of_service(__config: &#private::ServiceConfig) -> Self {
                    Self(#private::Typed::of_service(&__STUB, __config))
                }
            }
        }
    }

    /// Returns the implementations of traits: the types of a map's items, and the call in this process.
    fn traits(&self, entry: &Entry) -> TokenStream {
        let private = self.private;
        let arguments = &self.arguments;
        let stub = &self.function.sig.ident;
        let Entry {
            pointer, target, ..
        } = entry;
        // The compiler reports a private type of a public function here.
        let target_type = quote_spanned! {stub.span()=>
            type Target = #pointer;
        };
        let signature = quote_spanned! {stub.span()=>
            type Arguments = <#arguments as #private::Select<__Kind>>::Arguments;
        };
        quote! {
            impl #private::Signature for #stub {
                #signature
            }

            impl ::core::ops::Deref for #stub {
                #target_type

                fn deref(&self) -> &Self::Target {
                    static __FUNCTION: #pointer = #target;
                    &__FUNCTION
                }
            }
        }
    }

    /// Returns the block with the methods that callers use. They have the user's names and types of the parameters,
    /// which the compiler then shows for a call that does not fit.
    fn methods(&self, typed: &TokenStream) -> TokenStream {
        let private = self.private;
        let vis = &self.function.vis;
        let stub = &self.function.sig.ident;
        let names: Vec<_> = self
            .signature
            .parameters
            .iter()
            .map(|one| &one.name)
            .collect();
        let types: Vec<_> = self
            .signature
            .parameters
            .iter()
            .map(|one| self.passed(one))
            .collect();
        let passed = quote!(#(#names: #types),*);
        let inputs = self.inputs(&types);
        let result = &self.result;
        let outcome = quote!(<#result as #private::Outcome<__Kind>>);
        let results = quote!(#outcome::Value, #outcome::Error);
        let is_method = self.service.is_some();
        let with_options = quote!(self.__stub().with_options(__options));
        let on = quote!(self.__stub().on(__runtime));
        let (chained, with_options, on) = if is_method {
            (quote!(Self), quote!(Self(#with_options)), quote!(Self(#on)))
        } else {
            (typed.clone(), with_options, on)
        };
        let methods = quote! {
            #[doc(hidden)]
            #[track_caller]
            #vis fn remote(&self, #passed) -> #private::Call<#results> {
                self.__stub().__call((#(#names,)*))
            }

            #[doc(hidden)]
            #[track_caller]
            #vis fn spawn(&self, #passed) -> #private::FunctionCall<#results> {
                #private::spawn(self.remote(#(#names),*))
            }

            #[doc(hidden)]
            #vis fn attach(&self, __call: #private::CallId) -> #private::FunctionCall<#results> {
                self.__stub().__attach(__call)
            }

            #[doc(hidden)]
            #[track_caller]
            #vis fn map<#inputs>(&self, __inputs: __I) -> #private::Map<__I::IntoIter, #results> {
                self.__stub().__map(__inputs)
            }

            #[doc(hidden)]
            #[track_caller]
            #vis fn for_each<#inputs>(&self, __inputs: __I) -> #private::ForEach<__I::IntoIter, #results> {
                #private::ForEach::new(self.map(__inputs))
            }

            #[doc(hidden)]
            #vis fn with_options(&self, __options: #private::Options) -> #chained {
                #with_options
            }

            #[doc(hidden)]
            #vis fn on(&self, __runtime: &#private::Runtime) -> #chained {
                #on
            }

            #[doc(hidden)]
            #vis fn name(&self) -> &'static ::core::primitive::str {
                self.__stub().name()
            }

            #[doc(hidden)]
            #vis fn spec(&self) -> &'static #private::FunctionSpec {
                self.__stub().spec()
            }
        };
        let shadows = shadows(self.signature.all());
        quote! {
            const _: () = {
                #shadows

                impl #stub {
                    #methods
                }
            };
        }
    }

    /// Returns the generic parameters of the methods that take the items of a map.
    fn inputs(&self, types: &[Type]) -> TokenStream {
        let private = self.private;
        let shown: Vec<_> = types
            .iter()
            .map(|ty| signature::with_lifetime(ty, INPUT))
            .collect();
        let shown = match &shown[..] {
            [one] => quote!(#one),
            several => quote!((#(#several),*)),
        };
        let input = syn::Lifetime::new(INPUT, proc_macro2::Span::call_site());
        quote!(#input, __I: ::core::iter::IntoIterator<Item: #private::Accepted<Self, #shown>>)
    }

    /// Returns the type that callers pass for a parameter.
    fn passed(&self, parameter: &Parameter) -> Type {
        if self.policy.batch {
            signature::batched(&parameter.ty, self.private)
        } else {
            parameter.ty.clone()
        }
    }

    /// Returns the method that calls the function in this process.
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
        let await_it = asyncness.is_some().then(|| quote!(.await));
        let body = self.body_name();
        quote! {
            /// Calls the function in this process: an ordinary call, to which no policy applies.
            #[allow(dead_code, unused_variables, clippy::all, clippy::pedantic)]
            #vis #asyncness fn local(&self, #(#names: #types),*) #returns {
                Self::#body(#(#names),*) #await_it
            }
        }
    }

    /// Returns the stub's way to the function. The pointer of an async function returns a boxed future, since
    /// that has a type with a name. The future holds the references that the function is given.
    fn entry(&self) -> Entry {
        let output = &self.signature.output;
        if self.function.sig.asyncness.is_none() {
            let types = self.signature.all().map(|parameter| &parameter.ty);
            return Entry {
                pointer: quote!(fn(#(#types),*) -> #output),
                target: self.target(&self.body_name()),
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
        let body = self.body_name();
        let start = quote! {
            #[allow(unused_imports)]
            use #private::Stays as _;
            #private::Started(Self::#body(#(#names),*)).__boxed()
        };
        Entry {
            pointer: quote!(#binder fn(#(#types),*) -> #future),
            target: self.target(&format_ident!("__start")),
            start: Some(quote! {
                #[doc(hidden)]
                #[allow(clippy::all, clippy::pedantic)]
                fn __start #generics (#(#names: #types),*) -> #future {
                    #start
                }
            }),
        }
    }

    /// Returns the path of a function of the stub.
    fn target(&self, name: &Ident) -> TokenStream {
        let stub = &self.function.sig.ident;
        quote!(#stub::#name)
    }

    /// Returns the static description as code.
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
        let file = quote_spanned!(self.place=> ::core::file!());
        let line = quote_spanned!(self.place=> ::core::line!());
        quote! {
            #private::FunctionSpec::new(
                #name,
                #file,
                #line,
                &[#(#parameters),*],
            ) #(#setters)* #asynchronous
        }
    }
}

/// Returns a function with the name of each parameter, for a block around code that has the parameters. If a name
/// in a pattern means a unit struct, such as another stub, the pattern is that struct; if it means a function, the
/// pattern is a new variable.
pub(crate) fn shadows<'a>(parameters: impl IntoIterator<Item = &'a Parameter>) -> TokenStream {
    let mut names: Vec<&Ident> = Vec::new();
    for parameter in parameters {
        if !names.contains(&&parameter.name) {
            names.push(&parameter.name);
        }
    }
    quote! {
        #(
            #[allow(dead_code, non_snake_case, clippy::all, clippy::pedantic)]
            fn #names() {}
        )*
    }
}
