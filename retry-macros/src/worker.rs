//! The worker's side of an expansion: how it runs a call, and what it keeps between calls.
//!
//! All names are of a kind that users do not choose. What users write in an option is resolved
//! next to them, and a function of theirs is a unit struct, which no binding can shadow.

use proc_macro2::TokenStream;
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::Expr;
use syn::spanned::Spanned;

use crate::expand::Expansion;
use crate::signature::Signature;

impl Expansion<'_> {
    /// What makes a worker's state and takes it back, and how both are registered.
    pub(crate) fn state(&self) -> (TokenStream, TokenStream) {
        let Self {
            signature,
            policy,
            private,
            ..
        } = self;
        if let Some(service) = &self.service {
            return (TokenStream::new(), quote!(#service));
        }
        let Some(setup) = &policy.setup else {
            return (TokenStream::new(), TokenStream::new());
        };
        let state = state_type(signature);
        let set_up = {
            let private = crate::respanned(private, setup.span());
            quote_spanned!(setup.span()=> #private::set_up::<#state, _>(#private::Made((#setup)()).value()))
        };
        let mut functions = quote! {
            fn __set_up() -> #private::SetUp {
                #[allow(unused_imports)]
                use #private::AtOnce as _;
                #set_up
            }
        };
        let mut registration = quote!(.setup(__set_up));
        if let Some(teardown) = &policy.teardown {
            let private = crate::respanned(private, teardown.span());
            let tear_down = quote_spanned! {teardown.span()=>
                if let ::core::option::Option::Some(__ended) =
                    #private::tear_down::<#state, _>(__state, #teardown)
                {
                    #private::torn_down(__ended.value());
                }
            };
            functions.extend(quote! {
                fn __tear_down(__state: ::std::boxed::Box<dyn ::core::any::Any>) {
                    #[allow(unused_imports)]
                    use #private::AtOnce as _;
                    #tear_down
                }
            });
            registration.extend(quote!(.teardown(__tear_down)));
        }
        (functions, registration)
    }

    /// Checks that a state which calls may change is not shared by several of them. If it is, that is to
    /// be said of the parameter.
    pub(crate) fn exclusive(&self) -> Option<TokenStream> {
        let state = self.signature.state.as_ref();
        let state = state.filter(|_| self.signature.changes_state())?;
        let span = state.ty.span();
        let private = crate::respanned(self.private, span);
        Some(quote_spanned! {span=>
            const _: () = #private::Registration::check_exclusive_state(&__REGISTRATION);
        })
    }

    /// The function that a worker calls for each input, and which kind it is.
    pub(crate) fn run(&self) -> (TokenStream, TokenStream) {
        let Self {
            function,
            signature,
            policy,
            private,
            arguments,
            result,
            ..
        } = self;
        let stub = &function.sig.ident;
        let state = signature.state.as_ref().map(|_| {
            let state = state_type(signature);
            if signature.changes_state() {
                quote!(&mut *__state.write::<#state>(),)
            } else {
                quote!(&*__state.read::<#state>(),)
            }
        });
        let retry_if = policy.retry_if.as_ref().map(|predicate| {
            let span = predicate.span();
            match predicate {
                Expr::Path(_) => quote_spanned! {span=>
                    #private::ask(&__result, &#predicate)
                        .retry_if(__invocation, &__result, #predicate);
                },
                // A closure has to be told what its parameter is.
                _ => quote_spanned! {span=>
                    #private::Output::<#result>::NEW
                        .retry_if_closure(__invocation, &__result, #predicate);
                },
            }
        });
        let reply = quote! {
            #retry_if
            __invocation.retry({
                use #private::{Says as _, Silent as _};
                (&#private::Probe(&__result)).ask()
            });
            {
                use #private::{Debugged as _, Displayed as _, Mute as _};
                (&&#private::Probe(&__result)).describe(__invocation);
            }
            __STUB.__reply(__invocation, __result);
        };
        let input = quote!(#private::Input::<#arguments>::NEW);
        if policy.batch {
            let bind = state
                .is_some()
                .then(|| quote!(let __state = #private::Invocation::shared_state(__batch);));
            let run = quote! {
                fn __run(__batch: &mut [#private::Invocation]) {
                    #bind
                    #input.batch(
                        __batch,
                        &__SPEC,
                        |__inputs| #stub::__body(#state __inputs),
                        |__invocation, __result| { #reply },
                    );
                }
            };
            return (quote!(Batch), run);
        }
        let bindings: Vec<_> = (0..signature.parameters.len())
            .map(|position| format_ident!("__argument{}", position))
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
            .then(|| quote!(let __state = __invocation.state();));
        let call = quote!(#stub::__body(#state #(#passed),*));
        // The arguments are dropped before the answer is given.
        if function.sig.asyncness.is_some() {
            let run = quote! {
                fn __run(
                    mut __owned: #private::Invocation,
                ) -> #private::LocalFuture<#private::Invocation> {
                    ::std::boxed::Box::pin(async move {
                        let __invocation = &mut __owned;
                        #bind
                        let __result = {
                            let ::core::option::Option::Some((#(#bindings,)*)) =
                                #input.arguments(__invocation, &__SPEC)
                            else {
                                return __owned;
                            };
                            #call.await
                        };
                        #reply
                        __owned
                    })
                }
            };
            (quote!(Async), run)
        } else {
            let run = quote! {
                fn __run(__invocation: &mut #private::Invocation) {
                    #bind
                    let __result = {
                        let ::core::option::Option::Some((#(#bindings,)*)) =
                            #input.arguments(__invocation, &__SPEC)
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
}

/// The type of the state behind the first parameter.
fn state_type(signature: &Signature) -> TokenStream {
    signature
        .state
        .as_ref()
        .and_then(|state| state.referred())
        .map_or_else(|| quote!(()), |reference| reference.elem.to_token_stream())
}
