//! `#[service]`: a type whose methods run in workers that hold one value of it each.
//!
//! Each method becomes a function of its own, whose state is the value, and the type gets `with`,
//! which gives a handle with one field for each method.

mod check;
mod options;
mod parts;

use proc_macro2::{Ident, Span, TokenStream};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::visit_mut::VisitMut;
use syn::{FnArg, ImplItemFn, Receiver, ReturnType, parse_quote_spanned};

use crate::args::{self, Args, Errors};
use crate::expand::Expansion;
use crate::fallback;
use crate::item::{self, Function};
use crate::policy;
use crate::signature::{self, Role, Verdict};
use check::{SelfIs, Service};
use parts::Parts;

pub(crate) fn service(attribute: TokenStream, item: TokenStream) -> TokenStream {
    let mut block = match parts::read(item.clone()) {
        Ok(block) => block,
        Err(error) if item::looks_like("impl", &item) => {
            return fallback::item(&error, &parts::strip(item));
        }
        Err(_) => {
            let message = "#[service] belongs on an `impl` of a type";
            let error = syn::Error::new_spanned(&item, message);
            return fallback::item(&error, &item);
        }
    };
    let mut errors = Errors::default();
    let args = args::parse(attribute, &mut errors);
    let runtime = policy::runtime(&args)
        .map_or_else(|| quote!(::retry_runtime), |path| path.to_token_stream());
    let private = crate::private_module(&runtime);
    let parts = Parts::take(&mut block, &mut errors);
    let code = Service::check(&args, &block, parts, &private, &mut errors)
        .map(|service| service.expand(&mut errors));
    let errors = errors.to_compile_error();
    quote!(#block #code #errors)
}

impl Service<'_> {
    /// What callers see is there after a mistake, too, so that they are not told of it again.
    fn expand(self, errors: &mut Errors) -> TokenStream {
        let Self {
            private, ty, name, ..
        } = &self;
        let pool = format_ident!("__service_{}", name.unraw());
        let handle = format_ident!("{}Handle", name.unraw());
        let mut stubs = Vec::new();
        let mut fields = Vec::new();
        for (place, (options, method)) in self.methods.iter().enumerate() {
            let place = u16::try_from(place).unwrap_or(u16::MAX);
            let Some(stub) = self.stub(&pool, place, options, method, errors) else {
                continue;
            };
            stubs.push(stub);
            let (vis, field) = (&method.vis, &method.sig.ident);
            let stub = self.stub_name(field);
            let docs = method.attrs.iter().filter(|one| one.path().is_ident("doc"));
            let cfgs = method.attrs.iter().filter(|one| one.path().is_ident("cfg"));
            let cfgs: Vec<_> = cfgs.collect();
            fields.push((
                quote! {
                    #(#docs)*
                    #(#cfgs)*
                    #vis #field: <#stub as ::core::ops::Deref>::Target
                },
                quote!(#(#cfgs)* #field: #stub.of_service(&__config)),
                quote!(#(#cfgs)* #field: self.#field.on(__runtime)),
            ));
        }
        let declared = fields.iter().map(|(declared, ..)| declared);
        let made = fields.iter().map(|(_, made, _)| made);
        let moved = fields.iter().map(|(_, _, moved)| moved);
        let names: Vec<_> = self.parameters.iter().map(|one| &one.name).collect();
        let types: Vec<_> = self.parameters.iter().map(|one| &one.ty).collect();
        let (vis, constructor) = (&self.setup.vis, &self.setup.sig.ident);
        let with = format!(
            "`{name}` in worker processes, one value of it in each: workers and values are shared \
             by all handles that were made with the same parameters, which are those of `{constructor}`."
        );
        let about = format!("The methods of [`{name}`] in worker processes.");
        let description = self.description(errors);
        let (set_up, tear_down) = (self.set_up(), self.tear_down());
        let make = if self.is_sound {
            let passed = quote_spanned!(self.parameters_span()=> &(#(#names,)*));
            quote! {
                let __config = #private::configure(#passed);
                #handle { #(#made,)* }
            }
        } else {
            quote!(::core::unreachable!())
        };
        quote! {
            #[doc = #about]
            #[allow(private_interfaces, dead_code)]
            #[derive(::core::clone::Clone, ::core::fmt::Debug)]
            #vis struct #handle {
                #(#declared,)*
            }

            #[allow(private_interfaces, dead_code, unused_variables, clippy::all, clippy::pedantic)]
            impl #ty {
                #[doc = #with]
                ///
                /// # Panics
                ///
                /// If the parameters cannot be encoded.
                #[track_caller]
                #vis fn with(#(#names: #types),*) -> #handle {
                    #make
                }
            }

            #[allow(private_interfaces, dead_code, clippy::all, clippy::pedantic)]
            impl #handle {
                /// The same with the workers of a runtime of its own.
                #vis fn on(&self, __runtime: &#private::Runtime) -> Self {
                    Self { #(#moved,)* }
                }
            }

            #[doc(hidden)]
            #[allow(non_upper_case_globals)]
            static #pool: #private::Service = {
                static __SPEC: #private::FunctionSpec = #description;
                #private::Service {
                    spec: &__SPEC,
                    set_up: #set_up,
                    tear_down: #tear_down,
                }
            };

            #(#stubs)*
        }
    }

    /// What holds for the workers.
    fn description(&self, errors: &Errors) -> TokenStream {
        let private = self.private;
        let name = match &self.policy.name {
            Some(name) => quote!(#name),
            None => {
                let name = self.name.unraw().to_string();
                quote!(::core::concat!(::core::module_path!(), "::", #name))
            }
        };
        let is_sound = errors.is_empty();
        let setters = self.policy.setters.iter().filter(|_| is_sound);
        let checks = self.policy.checks.iter().filter(|_| is_sound);
        quote! {{
            #(#checks)*
            #private::FunctionSpec::new(#name, ::core::file!(), ::core::line!(), &[]) #(#setters)*
        }}
    }

    /// Where it is said that a parameter of the constructor cannot be sent.
    fn parameters_span(&self) -> Span {
        match &self.parameters[..] {
            [] => Span::call_site(),
            [parameter, ..] => parameter.ty.span(),
        }
    }

    /// Makes the value in a worker. A constructor that was refused is not called.
    fn set_up(&self) -> TokenStream {
        if !self.is_sound {
            return quote!(|_| ::core::unreachable!());
        }
        let ty = &self.ty;
        let private = self.private;
        let constructor = &self.setup.sig.ident;
        let names: Vec<_> = self.parameters.iter().map(|one| &one.name).collect();
        let types = self.parameters.iter().map(|one| &one.ty);
        let types = quote_spanned!(self.parameters_span()=> (#(#types,)*));
        // What is wrong with what it returns is to be said there.
        let span = self.setup.sig.output.span();
        let made = {
            let private = crate::respanned(private, span);
            quote_spanned! {span=>
                #private::set_up::<#ty, _>(#private::Made(<#ty>::#constructor(#(#names),*)).value())
            }
        };
        quote! {
            |__config| {
                #[allow(unused_imports)]
                use #private::AtOnce as _;
                let (#(#names,)*) = #private::configuration::<#types>(__config)?;
                #made
            }
        }
    }

    fn tear_down(&self) -> TokenStream {
        let Some(teardown) = &self.teardown else {
            return quote!(::core::option::Option::None);
        };
        let (private, ty, teardown) = (self.private, &self.ty, &teardown.sig.ident);
        quote! {
            ::core::option::Option::Some(|__state| {
                #[allow(unused_imports)]
                use #private::AtOnce as _;
                if let ::core::option::Option::Some(__ended) =
                    #private::tear_down::<#ty, _>(__state, <#ty>::#teardown)
                {
                    #private::torn_down(__ended.value());
                }
            })
        }
    }

    fn stub_name(&self, method: &Ident) -> Ident {
        let name = self.name.unraw();
        format_ident!("__{}_{}", name, method.unraw(), span = method.span())
    }

    /// A method as a function whose state is the service's value; `None` if its types have no
    /// names outside of it.
    fn stub(
        &self,
        pool: &Ident,
        place: u16,
        options: &Args,
        method: &ImplItemFn,
        errors: &mut Errors,
    ) -> Option<TokenStream> {
        let (private, ty) = (self.private, &self.ty);
        let options = options::of_method(options, errors);
        let mut sig = method.sig.clone();
        SelfIs(ty).visit_signature_mut(&mut sig);
        let Some(FnArg::Receiver(Receiver {
            reference: Some(_),
            mutability,
            ..
        })) = sig.inputs.first()
        else {
            let message = "#[method] needs `&self` or `&mut self` first";
            match method.sig.inputs.first() {
                Some(first) => errors.report(first, message),
                None => errors.report(&method.sig.ident, message),
            }
            return None;
        };
        if self.policy.is_concurrent && mutability.is_some() {
            let message = "with `concurrency` several calls share the value: take it as `&self`";
            errors.report(&method.sig.inputs[0], message);
        }
        let span = method.sig.inputs[0].span();
        sig.inputs[0] = parse_quote_spanned!(span=> __service: &#mutability #ty);
        let policy = policy::check(&options, &sig, private, errors);
        let (mut signature, verdict) = signature::check(&sig, Role::Method, &policy, errors);
        let is_sound = match verdict {
            Verdict::Sound => true,
            Verdict::Wrong => false,
            Verdict::Hopeless => return None,
        };
        if !is_sound {
            signature.repair();
        }
        let inputs = signature.all().map(|parameter| {
            let (name, ty) = (&parameter.name, &parameter.ty);
            quote!(#name: #ty)
        });
        let (original, stub) = (&method.sig.ident, self.stub_name(&method.sig.ident));
        let asyncness = &sig.asyncness;
        let output = &signature.output;
        let output = match &sig.output {
            ReturnType::Default => None,
            ReturnType::Type(..) => Some(quote!(-> #output)),
        };
        let names = signature.all().map(|parameter| &parameter.name);
        let body = if is_sound {
            let await_it = asyncness.map(|_| quote!(.await));
            quote!(<#ty>::#original(#(#names),*) #await_it)
        } else {
            quote!(::core::unreachable!())
        };
        let cfgs = method.attrs.iter().filter(|one| one.path().is_ident("cfg"));
        let function: Function = syn::parse2(quote! {
            #(#cfgs)*
            #[allow(dead_code, deprecated, unused_variables)]
            #asyncness fn #stub(#(#inputs),*) #output { #body }
        })
        .ok()?;
        let policy = if errors.is_empty() {
            policy
        } else {
            policy.recovered()
        };
        let mut expansion = Expansion::new(&function, &signature, &policy, private);
        expansion.title = format!("{}::{}", self.name.unraw(), original.unraw());
        if !is_sound {
            return Some(expansion.stub_alone());
        }
        expansion.service = Some(quote!(.method_of(&#pool, #place)));
        Some(expansion.whole())
    }
}
