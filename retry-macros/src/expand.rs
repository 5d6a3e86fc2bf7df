//! The code that comes out of `#[function]`.

use proc_macro2::TokenStream;
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::Type;
use syn::ext::IdentExt;
use syn::spanned::Spanned;

use crate::args::{self, Errors};
use crate::fallback;
use crate::item::{self, Function};
use crate::policy::{self, Policy};
use crate::signature::{self, Signature, Verdict};

/// Expands, or falls back.
pub(crate) fn function(attribute: TokenStream, item: TokenStream) -> TokenStream {
    let mut function: Function = match syn::parse2(item.clone()) {
        Ok(function) => function,
        Err(error) if item::looks_like_a_function(&item) => return fallback::item(&error, &item),
        Err(_) => {
            let message = "#[function] belongs on a function";
            let error = syn::Error::new_spanned(&item, message);
            return fallback::item(&error, &item);
        }
    };
    let mut errors = Errors::default();
    item::alone(&mut function, &mut errors);
    let args = args::parse(attribute, &mut errors);
    let runtime = policy::runtime(&args)
        .map_or_else(|| quote!(::retry_runtime), |path| path.to_token_stream());
    let private = crate::private_module(&runtime);
    let policy = policy::check(&args, &function.sig, &private, &mut errors);
    let has_setup = policy::mentions(&args, "setup");
    let (mut signature, verdict) =
        signature::check(&function.sig, has_setup, policy.batch, &mut errors);
    let Some(errors) = errors.to_compile_error() else {
        return Expansion::new(&function, &signature, &policy, &private).whole();
    };
    let item = match verdict {
        Verdict::Sound => {
            Expansion::new(&function, &signature, &policy.recovered(), &private).whole()
        }
        Verdict::Wrong => {
            signature.repair();
            Expansion::new(&function, &signature, &Policy::default(), &private).stub_alone()
        }
        Verdict::Hopeless => function.to_token_stream(),
    };
    quote!(#item #errors)
}

/// What an expansion is made of.
pub(crate) struct Expansion<'a> {
    pub(crate) function: &'a Function,
    pub(crate) signature: &'a Signature,
    pub(crate) policy: &'a Policy,
    pub(crate) private: &'a TokenStream,
    /// What callers pass, as a tuple of markers.
    pub(crate) arguments: TokenStream,
    /// What callers get.
    pub(crate) result: Type,
    /// Whether the signature is.
    pub(crate) is_sound: bool,
    /// The last part of the registered name, unless the options give it one.
    pub(crate) title: String,
    /// How the registration says that this is a method of a service.
    pub(crate) service: Option<TokenStream>,
}

impl<'a> Expansion<'a> {
    pub(crate) fn new(
        function: &'a Function,
        signature: &'a Signature,
        policy: &'a Policy,
        private: &'a TokenStream,
    ) -> Self {
        let markers = signature.parameters.iter().map(|parameter| {
            if policy.batch {
                let item = signature::batched(&parameter.ty, private);
                quote!(#private::Val<#item>)
            } else {
                signature::marker(parameter, private)
            }
        });
        let result = if policy.batch {
            signature::batched(&signature.output, private)
        } else {
            signature.output.clone()
        };
        Self {
            function,
            signature,
            policy,
            private,
            arguments: quote!((#(#markers,)*)),
            result,
            is_sound: true,
            title: function.sig.ident.unraw().to_string(),
            service: None,
        }
    }

    pub(crate) fn whole(&self) -> TokenStream {
        let private = self.private;
        let (kind, run) = self.run();
        let (state, with_state) = self.state();
        let probes = self.probes();
        let checks = &self.policy.checks;
        self.stub(&quote! {
            #probes
            #(#checks)*

            static __REGISTRATION: #private::Registration =
                #private::Registration::new(&__SPEC, #private::Run::#kind(__run)) #with_state;

            #state
            #run

            #private::inventory::submit! { #private::Submission(&__REGISTRATION) }
        })
    }

    /// What callers see, for a signature that was refused.
    fn stub_alone(mut self) -> TokenStream {
        self.is_sound = false;
        let private = self.private;
        self.stub(&quote! {
            static __REGISTRATION: #private::Registration =
                #private::Registration::new(&__SPEC, #private::Run::Blocking(|_| ()));
        })
    }

    /// Makes the compiler ask of each type whether it can be sent, with the span of the type.
    fn probes(&self) -> TokenStream {
        let private = self.private;
        let parameters = self.signature.parameters.iter().map(|parameter| {
            let (assert, ty) = match parameter.referred() {
                _ if self.policy.batch => {
                    ("assert_sent", signature::batched(&parameter.ty, private))
                }
                Some(reference) => ("assert_referred", (*reference.elem).clone()),
                None => ("assert_sent", parameter.ty.clone()),
            };
            let assert = format_ident!("{}", assert);
            quote_spanned!(ty.span()=> const _: () = #private::#assert::<#ty>();)
        });
        let result = &self.result;
        let (value, error) = signature::parts(result).unwrap_or((result, result));
        let output = (!signature::is_unit(result)).then(|| {
            let value = quote_spanned!(value.span()=> .value::<#value>());
            let error = quote_spanned!(error.span()=> .error::<#error>());
            quote! {
                const _: fn() = || {
                    #private::Output::<#result>::NEW #value;
                    #private::Output::<#result>::NEW #error;
                };
            }
        });
        quote!(#(#parameters)* #output)
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
