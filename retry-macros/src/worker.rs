//! The worker's side of an expansion: the call, and the state between calls.
//!
//! All names begin with `__`. An expression of an option is resolved next to them, and a function of the
//! user's is a unit struct, which no binding can shadow.

use proc_macro2::TokenStream;
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::Expr;
use syn::ext::IdentExt;
use syn::spanned::Spanned;

use crate::expand::Expansion;
use crate::signature::Signature;

impl Expansion<'_> {
    /// Returns the functions that make a worker's state and take it back, and their registration.
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
            let private = crate::tokens::respanned(private, setup.span());
            let function = match setup {
                Expr::Path(_) => quote_spanned! {setup.span()=>
                    #private::beginning::<#state, _>(&#setup).__making(#setup)
                },
                // Two closures have two types.
                _ => quote_spanned!(setup.span()=> (#setup)),
            };
            quote_spanned! {setup.span()=>
                #private::IntoState::<#state>::into_state(#private::Made(#function()).__value())
            }
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
            let private = crate::tokens::respanned(private, teardown.span());
            let span = teardown.span();
            let ended = match teardown {
                Expr::Path(_) => quote_spanned! {span=>
                    #private::TearDown::<#state, _>::tear_down(
                        #private::ending::<#state, _>(&#teardown).__fitted(#teardown),
                        __state,
                    )
                },
                // A closure needs the type of its parameter.
                _ => {
                    quote_spanned!(span=> (&#private::STATE).tear_down::<#state, _>(__state, #teardown))
                }
            };
            let tear_down = quote_spanned! {span=>
                if let ::core::option::Option::Some(__ended) = #ended {
                    #private::Nothing::torn_down(__ended.__value());
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

    /// Returns a check that concurrent calls do not share a state that they may change. The compiler
    /// reports it at the parameter.
    pub(crate) fn exclusive(&self) -> Option<TokenStream> {
        let state = self.signature.state.as_ref();
        let state = state.filter(|_| self.signature.changes_state())?;
        let span = state.ty.span();
        let private = crate::tokens::respanned(self.private, span);
        Some(quote_spanned! {span=>
            const _: () = #private::Registration::check_exclusive_state(&__REGISTRATION);
        })
    }

    /// Returns the kind of the function that a worker calls for each input, and the function.
    pub(crate) fn run(&self) -> (TokenStream, TokenStream) {
        if self.policy.batch {
            (quote!(Batch), self.run_batch())
        } else if self.function.sig.asyncness.is_some() {
            (quote!(Async), self.run_async())
        } else {
            (quote!(Blocking), self.run_blocking())
        }
    }

    fn run_batch(&self) -> TokenStream {
        let private = self.private;
        let (stub, body) = (&self.function.sig.ident, self.body_name());
        let input = self.input();
        let state = self.passed_state();
        let bind = state
            .is_some()
            .then(|| quote!(let __state = #private::Invocation::shared_state(__batch);));
        let reply = self.reply();
        quote! {
            fn __run(__batch: &mut [#private::Invocation]) {
                #bind
                #input.__batch(
                    __batch,
                    &__SPEC,
                    |__inputs| #stub::#body(#state __inputs),
                    |__invocation, __result| { #reply },
                );
            }
        }
    }

    fn run_async(&self) -> TokenStream {
        let private = self.private;
        let result = self.result_of_call(&quote!(__owned), &quote!(.await));
        let reply = self.reply();
        quote! {
            fn __run(
                mut __owned: #private::Invocation,
            ) -> #private::LocalFuture<#private::Invocation> {
                ::std::boxed::Box::pin(async move {
                    let __invocation = &mut __owned;
                    #result
                    #reply
                    __owned
                })
            }
        }
    }

    fn run_blocking(&self) -> TokenStream {
        let private = self.private;
        let result = self.result_of_call(&TokenStream::new(), &TokenStream::new());
        let reply = self.reply();
        quote! {
            fn __run(__invocation: &mut #private::Invocation) {
                #result
                #reply
            }
        }
    }

    /// Returns the statements that decode the arguments and call the function. The arguments are dropped
    /// before the answer is given.
    fn result_of_call(&self, returned: &TokenStream, await_it: &TokenStream) -> TokenStream {
        let private = self.private;
        let (stub, body) = (&self.function.sig.ident, self.body_name());
        let input = self.input();
        let state = self.passed_state();
        let bind = state
            .is_some()
            .then(|| quote!(let __state = #private::Invocation::state(__invocation);));
        let parameters = &self.signature.parameters;
        let bindings: Vec<_> = (0..parameters.len())
            .map(|position| format_ident!("__argument{}", position))
            .collect();
        let passed = parameters
            .iter()
            .zip(&bindings)
            .map(|(parameter, binding)| match parameter.referred() {
                Some(_) => quote!(&#binding),
                None => quote!(#binding),
            });
        quote! {
            #bind
            let __result = {
                let ::core::option::Option::Some((#(#bindings,)*)) =
                    #input.__arguments(__invocation, &__SPEC)
                else {
                    return #returned;
                };
                #stub::#body(#state #(#passed),*) #await_it
            };
        }
    }

    /// Returns the function that shows the arguments of a call in failure reports.
    pub(crate) fn show(&self) -> TokenStream {
        let private = self.private;
        let input = self.input();
        let parameters = &self.signature.parameters;
        let bindings: Vec<_> = (0..parameters.len())
            .map(|position| format_ident!("__argument{}", position))
            .collect();
        let texts = parameters
            .iter()
            .zip(&bindings)
            .map(|(parameter, binding)| {
                let name = parameter.name.unraw().to_string();
                let held = match parameter.referred() {
                    Some(_) if !self.policy.batch => quote!(&*#binding),
                    _ => quote!(&#binding),
                };
                let text = if self.policy.redact.contains(&name) {
                    quote!(#private::redacted())
                } else {
                    quote!((&#private::Shown(#held)).__text())
                };
                quote!((#name, #text))
            });
        quote! {
            fn __show(
                __message: &[::core::primitive::u8],
            ) -> ::core::option::Option<::std::string::String> {
                #[allow(unused_imports)]
                use #private::{Debugs as _, Opaque as _};
                #[allow(unused_variables)]
                let (#(#bindings,)*) = #input.__decoded(__message)?;
                #private::shown(&[#(#texts),*])
            }
        }
    }

    /// Returns the probe that decodes the arguments.
    fn input(&self) -> TokenStream {
        let (private, arguments) = (self.private, &self.arguments);
        quote!(#private::Input::<#arguments>::NEW)
    }

    /// Returns the state as the function's first argument.
    fn passed_state(&self) -> Option<TokenStream> {
        let (private, signature) = (self.private, &self.signature);
        signature.state.as_ref().map(|_| {
            let state = state_type(signature);
            if signature.changes_state() {
                quote!(&mut *#private::State::write::<#state>(&__state),)
            } else {
                quote!(&*#private::State::read::<#state>(&__state),)
            }
        })
    }

    /// Returns the statements that decide about a retry and send the result.
    fn reply(&self) -> TokenStream {
        let (private, result) = (self.private, &self.result);
        let retry_if = self.policy.retry_if.as_ref().map(|predicate| {
            let span = predicate.span();
            match predicate {
                Expr::Path(_) => quote_spanned! {span=>
                    #private::ask(&__result, &#predicate)
                        .retry_if_function(__invocation, &__result, #predicate);
                },
                // A closure needs the type of its parameter.
                _ => quote_spanned! {span=>
                    #private::Output::<#result>::NEW
                        .retry_if_closure(__invocation, &__result, #predicate);
                },
            }
        });
        quote! {
            #retry_if
            #private::Invocation::retry(__invocation, {
                use #private::{Says as _, Silent as _};
                (&#private::Probe(&__result)).__ask()
            });
            {
                use #private::{Debugged as _, Displayed as _, Mute as _};
                (&&#private::Probe(&__result)).__describe(__invocation);
            }
            __STUB.__reply(__invocation, __result);
        }
    }
}

/// Returns the type of the state behind the first parameter.
fn state_type(signature: &Signature) -> TokenStream {
    signature
        .state
        .as_ref()
        .and_then(|state| state.referred())
        .map_or_else(|| quote!(()), |reference| reference.elem.to_token_stream())
}
