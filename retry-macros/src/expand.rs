//! The code that comes out of `#[function]`.

use proc_macro2::TokenStream;
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Attribute, ItemFn};

use crate::args::{self, Errors};
use crate::fallback;
use crate::policy::{self, Policy};
use crate::signature::{self, Signature};

/// The lifetime of all references in an async function's parameters.
const LIFETIME: &str = "'__call";

/// Lint levels that hold for the stub as well as for the body.
const LINT_LEVELS: &[&str] = &["allow", "expect", "warn", "deny", "forbid"];

/// Expands, or falls back.
pub(crate) fn function(attribute: TokenStream, item: TokenStream) -> TokenStream {
    let function: ItemFn = match syn::parse2(item.clone()) {
        Ok(function) => function,
        Err(error) => {
            let is_function = item.to_string().contains("fn ");
            let error = if is_function {
                error
            } else {
                syn::Error::new_spanned(&item, "#[function] belongs on a function")
            };
            return fallback::item(&error, &item);
        }
    };
    let mut errors = Errors::default();
    let args = errors.keep(args::parse(attribute)).unwrap_or_default();
    let runtime = policy::runtime(&args)
        .map_or_else(|| quote!(::retry_runtime), |path| path.to_token_stream());
    let private = crate::private_module(&runtime);
    let policy = policy::check(&args, &private, &mut errors);
    let mut unsound = Errors::default();
    let signature = signature::check(&function, policy.setup.is_some(), &mut unsound);
    match (errors.into_error(), unsound.into_error()) {
        (None, None) => expand(&function, &signature, &policy, &private),
        // Only the options are wrong: the stub can stand, as if none were given but `setup`,
        // which decides what callers pass.
        (Some(error), None) => {
            let usable = Policy {
                setup: policy.setup,
                ..Policy::default()
            };
            let stub = expand(&function, &signature, &usable, &private);
            let errors = error.to_compile_error();
            quote!(#stub #errors)
        }
        (None, Some(error)) => fallback::item(&error, &item),
        (Some(mut error), Some(unsound)) => {
            error.combine(unsound);
            fallback::item(&error, &item)
        }
    }
}

fn expand(
    function: &ItemFn,
    signature: &Signature,
    policy: &Policy,
    private: &TokenStream,
) -> TokenStream {
    let Attributes {
        cfgs,
        docs,
        lints,
        body: body_attributes,
    } = Attributes::sort(&function.attrs);
    let ItemFn { vis, block, .. } = function;
    let asyncness = &function.sig.asyncness;
    let inputs = &function.sig.inputs;
    let stub = &function.sig.ident;
    let output = &signature.output;
    let body = format_ident!("__body");
    let returns = &function.sig.output;

    let names: Vec<_> = signature.all().map(|parameter| &parameter.name).collect();
    let types: Vec<_> = signature.all().map(|parameter| &parameter.ty).collect();
    let markers: Vec<_> = signature
        .parameters
        .iter()
        .map(|parameter| signature::marker(parameter, private))
        .collect();
    let (arguments, result) = if policy.batch {
        // Callers pass and get single items.
        let inputs = signature.parameters.first().map(|parameter| &parameter.ty);
        (
            quote!((#private::Val<<#inputs as #private::Batched>::Item>,)),
            quote!(<#output as #private::Batched>::Item),
        )
    } else {
        (quote!((#(#markers,)*)), quote!(#output))
    };

    let await_it = asyncness.is_some().then(|| quote!(.await));
    let local = quote! {
        /// Calls the function in this process: an ordinary call, to which no policy applies.
        #[allow(dead_code, clippy::all, clippy::pedantic)]
        #vis #asyncness fn local(&self, #(#names: #types),*) #returns {
            Self::#body(#(#names),*) #await_it
        }
    };

    // An async function's pointer returns a boxed future, which has a type that can be named. It
    // holds the references that the function is given.
    let (pointer, start, entry) = if asyncness.is_some() {
        let types: Vec<_> = signature
            .all()
            .map(|parameter| signature::with_lifetime(&parameter.ty, LIFETIME))
            .collect();
        let borrows = signature
            .all()
            .any(|parameter| parameter.referred().is_some());
        let name = if borrows { LIFETIME } else { "'static" };
        let lifetime = syn::Lifetime::new(name, proc_macro2::Span::call_site());
        let future = quote!(#private::BoxFuture<#lifetime, #output>);
        let (binder, generics) = if borrows {
            (Some(quote!(for<#lifetime>)), Some(quote!(<#lifetime>)))
        } else {
            (None, None)
        };
        (
            quote!(#binder fn(#(#types),*) -> #future),
            Some(quote! {
                #[doc(hidden)]
                #[allow(clippy::all, clippy::pedantic)]
                fn __start #generics (#(#names: #types),*) -> #future {
                    ::std::boxed::Box::pin(Self::#body(#(#names),*))
                }
            }),
            quote!(__start),
        )
    } else {
        (quote!(fn(#(#types),*) -> #output), None, quote!(__body))
    };

    let spec = spec(function, signature, policy, private);
    let (kind, run) = run(function, signature, policy, private, &arguments);
    let (state, with_state) = state(signature, policy, private);
    let checked = if policy.batch {
        &[]
    } else {
        &signature.parameters[..]
    };
    let probes = checked
        .iter()
        .zip(&markers)
        .map(|(parameter, marker)| {
            quote_spanned!(parameter.ty.span()=> const _: () = #private::assert_argument::<#marker>();)
        });

    // The state has the type that the set-up gives it, which may be `Vec` or `String`.
    let state_lints = policy
        .setup
        .as_ref()
        .map(|_| quote!(#[allow(clippy::ptr_arg)]));

    quote! {
        #(#docs)*
        #(#cfgs)*
        #(#lints)*
        #[allow(non_camel_case_types)]
        #vis struct #stub;

        #(#cfgs)*
        #(#lints)*
        impl #stub {
            #(#body_attributes)*
            #[doc(hidden)]
            #state_lints
            #asyncness fn #body(#inputs) #returns #block

            #start

            #local
        }

        #(#cfgs)*
        #[allow(clippy::all, clippy::pedantic, deprecated)]
        const _: () = {
            #(#probes)*

            static SPEC: #private::FunctionSpec = #spec;
            static REGISTRATION: #private::Registration =
                #private::Registration::new(&SPEC, #private::Run::#kind(run)) #with_state;

            #state
            #run

            impl ::core::ops::Deref for #stub {
                type Target = #private::Typed<#pointer, #arguments, #result>;

                fn deref(&self) -> &Self::Target {
                    static STUB: #private::Typed<
                        #pointer,
                        #arguments,
                        #result,
                    > = #private::Typed::new(#stub::#entry, &REGISTRATION);
                    &STUB
                }
            }

            #private::inventory::submit! { #private::Submission(&REGISTRATION) }
        };
    }
}

/// The static description.
fn spec(
    function: &ItemFn,
    signature: &Signature,
    policy: &Policy,
    private: &TokenStream,
) -> TokenStream {
    let name = match &policy.name {
        Some(name) => quote!(#name),
        None => {
            let name = function.sig.ident.to_string();
            let name = name.strip_prefix("r#").unwrap_or(&name);
            quote!(::core::concat!(::core::module_path!(), "::", #name))
        }
    };
    let parameters = signature
        .parameters
        .iter()
        .map(|parameter| parameter.name.to_string());
    let setters = &policy.setters;
    let asynchronous = function
        .sig
        .asyncness
        .as_ref()
        .map(|_| quote!(.asynchronous()));
    quote! {
        #private::FunctionSpec::new(
            #name,
            ::core::file!(),
            ::core::line!(),
            &[#(#parameters),*],
        ) #(#setters)* #asynchronous
    }
}

/// What makes a worker's state and takes it back, and how both are registered.
fn state(
    signature: &Signature,
    policy: &Policy,
    private: &TokenStream,
) -> (TokenStream, TokenStream) {
    let Some(setup) = &policy.setup else {
        return (TokenStream::new(), TokenStream::new());
    };
    let state = state_type(signature);
    let mut functions = quote! {
        fn set_up() -> #private::SetUp {
            #private::set_up::<#state, _>(#setup())
        }
    };
    let mut registration = quote!(.setup(set_up));
    if signature.changes_state() {
        registration.extend(quote!(.exclusive_state()));
    }
    if let Some(teardown) = &policy.teardown {
        functions.extend(quote! {
            fn tear_down(state: ::std::boxed::Box<dyn ::core::any::Any>) {
                #private::tear_down::<#state>(state, #teardown);
            }
        });
        registration.extend(quote!(.teardown(tear_down)));
    }
    (functions, registration)
}

/// The function that a worker calls for each input, and which kind it is.
fn run(
    function: &ItemFn,
    signature: &Signature,
    policy: &Policy,
    private: &TokenStream,
    arguments: &TokenStream,
) -> (TokenStream, TokenStream) {
    let stub = &function.sig.ident;
    let state = signature.state.as_ref().map(|_| {
        let state = state_type(signature);
        if signature.changes_state() {
            quote!(&mut *state.write::<#state>(),)
        } else {
            quote!(&*state.read::<#state>(),)
        }
    });
    let retry_if = policy
        .retry_if
        .as_ref()
        .map(|predicate| quote!(invocation.retry_if(&result, #predicate);));
    let reply = quote! {
        #retry_if
        invocation.retry({
            use #private::{Says as _, Silent as _};
            (&#private::Probe(&result)).ask()
        });
        #stub.__reply(invocation, result);
    };
    if policy.batch {
        let bind = state
            .is_some()
            .then(|| quote!(let state = #private::Invocation::shared_state(batch);));
        let run = quote! {
            fn run(batch: &mut [#private::Invocation]) {
                #bind
                #private::run_batch(
                    batch,
                    |inputs| #stub::__body(#state inputs),
                    |invocation, result| { #reply },
                );
            }
        };
        return (quote!(Batch), run);
    }
    let bindings: Vec<_> = (0..signature.parameters.len())
        .map(|position| format_ident!("argument{}", position))
        .collect();
    let passed = signature
        .parameters
        .iter()
        .zip(&bindings)
        .map(|(parameter, binding)| match parameter.referred() {
            Some(_) => quote!(&#binding),
            None => quote!(#binding),
        });
    let bind = state
        .is_some()
        .then(|| quote!(let state = invocation.state();));
    let call = quote!(#stub::__body(#state #(#passed),*));
    // The arguments are dropped before the answer is given.
    if function.sig.asyncness.is_some() {
        let run = quote! {
            fn run(
                mut owned: #private::Invocation,
            ) -> #private::LocalFuture<#private::Invocation> {
                ::std::boxed::Box::pin(async move {
                    let invocation = &mut owned;
                    #bind
                    let result = {
                        let ::core::option::Option::Some((#(#bindings,)*)) =
                            invocation.arguments::<#arguments>()
                        else {
                            return owned;
                        };
                        #call.await
                    };
                    #reply
                    owned
                })
            }
        };
        (quote!(Async), run)
    } else {
        let run = quote! {
            fn run(invocation: &mut #private::Invocation) {
                #bind
                let result = {
                    let ::core::option::Option::Some((#(#bindings,)*)) =
                        invocation.arguments::<#arguments>()
                    else {
                        return;
                    };
                    #call
                };
                #reply
            }
        };
        (quote!(Blocking), run)
    }
}

/// The type of the state behind the first parameter.
fn state_type(signature: &Signature) -> TokenStream {
    signature
        .state
        .as_ref()
        .and_then(|state| state.referred())
        .map_or_else(|| quote!(()), |reference| reference.elem.to_token_stream())
}

/// A function's attributes by where they go.
struct Attributes<'a> {
    /// To everything that is emitted.
    cfgs: Vec<&'a Attribute>,
    /// To the stub alone.
    docs: Vec<&'a Attribute>,
    /// To the stub and to the body.
    lints: Vec<&'a Attribute>,
    /// To the body alone.
    body: Vec<&'a Attribute>,
}

impl<'a> Attributes<'a> {
    fn sort(attributes: &'a [Attribute]) -> Self {
        let mut sorted = Self {
            cfgs: Vec::new(),
            docs: Vec::new(),
            lints: Vec::new(),
            body: Vec::new(),
        };
        for attribute in attributes {
            let path = attribute.path();
            if path.is_ident("cfg") {
                sorted.cfgs.push(attribute);
            } else if path.is_ident("doc") || path.is_ident("deprecated") {
                sorted.docs.push(attribute);
            } else if LINT_LEVELS.iter().any(|level| path.is_ident(level)) {
                sorted.lints.push(attribute);
            } else {
                sorted.body.push(attribute);
            }
        }
        sorted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(attribute: TokenStream, item: TokenStream) -> String {
        let tokens = function(attribute, item);
        let file = syn::parse2(tokens).expect("what comes out is Rust");
        prettyplease::unparse(&file)
    }

    #[test]
    fn every_kind_of_function_expands_to_rust() {
        for (attribute, item) in [
            (
                quote!(),
                quote!(
                    fn f() {}
                ),
            ),
            (
                quote!(retries = 3),
                quote!(
                    pub fn f(a: u64, b: &str) -> Result<u64, E> {
                        Ok(a)
                    }
                ),
            ),
            (
                quote!(setup = load),
                quote!(
                    fn f(s: &mut S, a: u64) -> u64 {
                        a
                    }
                ),
            ),
            (
                quote!(retry_if = is_io),
                quote!(
                    async fn f(a: &str, b: &[u8]) -> Result<(), E> {
                        Ok(())
                    }
                ),
            ),
        ] {
            let code = expanded(attribute, item);
            assert!(code.contains("struct f;"), "{code}");
            assert!(!code.contains("compile_error"), "{code}");
        }
    }

    #[test]
    fn after_a_wrong_option_the_stub_is_still_there() {
        let code = expanded(
            quote!(retries = -1, timeout = 3),
            quote!(
                fn f(a: u64) {}
            ),
        );
        assert!(code.contains("struct f;"), "{code}");
        assert_eq!(code.matches("compile_error").count(), 2, "{code}");
    }

    #[test]
    fn after_a_wrong_signature_the_function_is_still_there() {
        let code = expanded(
            quote!(),
            quote!(
                fn f<T>(&self, (a, b): (T, T)) {}
            ),
        );
        assert!(code.contains("fn f<T>"), "{code}");
        assert_eq!(code.matches("compile_error").count(), 3, "{code}");
    }

    #[test]
    fn half_typed_code_is_no_reason_to_panic() {
        for attribute in [quote!(retries =), quote!(retries()), quote!(,), quote!(=)] {
            function(
                attribute,
                quote!(
                    fn f() {}
                ),
            );
        }
        function(
            quote!(),
            quote!(
                struct S;
            ),
        );
        function(quote!(), quote!(fn f()));
    }
}
