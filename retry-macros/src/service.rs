//! `#[service]`: a type whose methods run in workers that hold one value of it each.
//!
//! Each method becomes a function of its own, whose state is the value, and the type gets `with`,
//! which gives a handle with one field for each method.

mod check;
mod options;
mod parts;

use proc_macro2::{Ident, Span, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::visit_mut::VisitMut;
use syn::{FnArg, ImplItemFn, ItemImpl, ReturnType, Type, parse_quote_spanned};

use crate::args::{self, Args, Errors};
use crate::expand::{self, Expansion};
use crate::fallback;
use crate::item::{self, Attributes, Function};
use crate::policy;
use crate::signature::{self, Role, Verdict};
use crate::stub;
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
    let args = args::parse(attribute.clone(), &mut errors);
    if let Some(either) = parts::conditional(&block) {
        let runtime = policy::runtime(&args);
        return either.below(&quote!(#runtime::service), &attribute);
    }
    let private = policy::module(&args);
    let parts = Parts::take(&mut block, &mut errors);
    let code = match Service::check(&args, &block, parts, &private, &mut errors) {
        Some(service) => Some(service.expand(&mut errors)),
        None => no_handle(&block, &errors),
    };
    let errors = errors.to_compile_error();
    quote!(#block #code #errors)
}

/// Returns a constant in the place of `with`, if there can be no handle.
fn no_handle(block: &ItemImpl, errors: &Errors) -> Option<TokenStream> {
    let is_taken = check::with(block).is_some();
    let Type::Path(ty) = signature::ungrouped(&block.self_ty) else {
        return None;
    };
    let poison = fallback::poison(&errors.first()?);
    let (generics, _, clause) = block.generics.split_for_impl();
    (!is_taken).then(|| {
        quote! {
            #[allow(non_upper_case_globals, dead_code)]
            impl #generics #ty #clause {
                pub const with: #poison = loop {};
            }
        }
    })
}

/// The methods of a service in its expansion.
#[derive(Default)]
struct Methods {
    /// Each as a function of its own.
    stubs: Vec<TokenStream>,
    /// The declarations of the handle's fields.
    declared: Vec<TokenStream>,
    /// The fields of a new handle.
    made: Vec<TokenStream>,
    /// The fields of a handle for another runtime.
    moved: Vec<TokenStream>,
    /// A method was refused.
    is_incomplete: bool,
}

impl Service<'_> {
    /// Expands a service. After a mistake callers still find all names, so that it is reported once.
    fn expand(self, errors: &mut Errors) -> TokenStream {
        let Self {
            private, ty, name, ..
        } = &self;
        let pool = format_ident!("{}_service", name.unraw());
        let handle = format_ident!("{}Handle", name.unraw());
        let methods = self.methods(&pool, errors);
        let with = self.with(&handle, &methods, errors);
        let workers = self.workers(&pool, errors);
        let Methods {
            stubs,
            declared,
            moved,
            ..
        } = &methods;
        let vis = &self.setup.vis;
        let shadows = stub::shadows(&self.parameters);
        let about = format!("The methods of [`{name}`] in worker processes.");
        quote! {
            #[doc = #about]
            #[allow(private_interfaces, dead_code)]
            #[derive(::core::clone::Clone, ::core::fmt::Debug)]
            #vis struct #handle {
                #(#declared,)*
            }

            const _: () = {
                #shadows

                #[allow(
                    clippy::all,
                    clippy::pedantic,
                    dead_code,
                    deprecated,
                    private_interfaces,
                    unused_variables
                )]
                impl #ty {
                    #with
                }
            };

            #[allow(clippy::all, clippy::pedantic, dead_code, deprecated, private_interfaces)]
            impl #handle {
                /// Returns the same methods in the workers of a runtime of its own.
                #vis fn on(&self, __runtime: &#private::Runtime) -> Self {
                    Self { #(#moved,)* }
                }
            }

            #workers

            #(#stubs)*
        }
    }

    /// Expands the methods.
    fn methods(&self, pool: &Ident, errors: &mut Errors) -> Methods {
        let mut methods = Methods::default();
        for (place, annotated) in self.methods.iter().enumerate() {
            let (_, _, method) = annotated;
            let place = u16::try_from(place).unwrap_or(u16::MAX);
            let (vis, field) = (&method.vis, &method.sig.ident);
            let stub = self.stub_name(field);
            let ty = match self.stub(pool, place, annotated, errors) {
                Some(code) => {
                    methods.stubs.push(code);
                    quote!(#stub)
                }
                None => {
                    methods.is_incomplete = true;
                    fallback::poison(&errors.first().unwrap_or_default())
                }
            };
            let Attributes { docs, cfgs, .. } = Attributes::sort(&method.attrs);
            let cfgs = quote!(#(#cfgs)*);
            methods.declared.push(quote! {
                #(#docs)*
                #cfgs
                #vis #field: #ty
            });
            methods
                .made
                .push(quote!(#cfgs #field: #stub::__of_service(&__config)));
            methods
                .moved
                .push(quote!(#cfgs #field: (&self.#field).on(__runtime)));
        }
        methods
    }

    /// Returns the function with which callers make a handle.
    fn with(&self, handle: &Ident, methods: &Methods, errors: &Errors) -> TokenStream {
        let Self { private, name, .. } = self;
        let (vis, constructor) = (&self.setup.vis, &self.setup.sig.ident);
        if !self.is_sound {
            let poison = fallback::poison(&errors.first().unwrap_or_default());
            return quote! {
                #[allow(non_upper_case_globals)]
                #vis const with: #poison = loop {};
            };
        }
        let names: Vec<_> = self.parameters.iter().map(|one| &one.name).collect();
        let types: Vec<_> = self.parameters.iter().map(|one| &one.ty).collect();
        let docs = format!(
            "`{name}` in worker processes, one value of it in each: workers and values are shared \
             by all handles that were made with the same parameters, which are those of `{constructor}`."
        );
        let attributes = self.setup.attrs.iter();
        let deprecated = attributes.filter(|one| one.path().is_ident("deprecated"));
        let made = &methods.made;
        let make = if methods.is_incomplete {
            quote!(::core::unreachable!())
        } else {
            let sent = types.iter().map(|ty| expand::check_sent(ty, private));
            quote! {
                #(#sent)*
                let __config =
                    #private::Configuration::<(#(#types,)*)>::NEW.__configure(&(#(#names,)*));
                #handle { #(#made,)* }
            }
        };
        quote! {
            #[doc = #docs]
            ///
            /// # Panics
            ///
            /// If the parameters cannot be encoded.
            #(#deprecated)*
            #[track_caller]
            #vis fn with(#(#names: #types),*) -> #handle {
                #make
            }
        }
    }

    /// Returns the static description of the workers.
    fn workers(&self, pool: &Ident, errors: &Errors) -> TokenStream {
        let private = self.private;
        let (checks, description) = self.description(errors);
        let (set_up, tear_down) = (self.set_up(), self.tear_down());
        // The types of a refused constructor are reported elsewhere.
        let types = self.parameters.iter().filter(|_| self.is_sound);
        let types = types.map(|one| &one.ty);
        quote! {
            #[doc(hidden)]
            #[allow(deprecated, non_upper_case_globals)]
            static #pool: #private::Service = {
                static __SPEC: #private::FunctionSpec = #description;
                #checks
                #private::Service {
                    spec: &__SPEC,
                    set_up: #set_up,
                    types: ::core::any::type_name::<(#(#types,)*)>,
                    tear_down: #tear_down,
                }
            };
        }
    }

    /// Returns the checks for the compiler, and the static description of the workers.
    fn description(&self, errors: &Errors) -> (TokenStream, TokenStream) {
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
        let description = quote! {
            #private::FunctionSpec::new(#name, ::core::file!(), ::core::line!(), &[]) #(#setters)*
        };
        (quote!(#(#checks)*), description)
    }

    /// Returns the function that makes the value in a worker. A refused constructor is not called.
    fn set_up(&self) -> TokenStream {
        if !self.is_sound {
            return quote!(|_| ::core::unreachable!());
        }
        let ty = &self.ty;
        let private = self.private;
        let constructor = &self.setup.sig.ident;
        let names: Vec<_> = (0..self.parameters.len())
            .map(|position| format_ident!("__argument{}", position))
            .collect();
        let types = self.parameters.iter().map(|one| &one.ty);
        // An error about the type that it returns belongs there.
        let span = match &self.setup.sig.output {
            ReturnType::Type(_, ty) => ty.span(),
            ReturnType::Default => self.setup.sig.ident.span(),
        };
        let made = {
            let private = crate::tokens::respanned(private, span);
            quote_spanned! {span=>
                #private::IntoService::<#ty>::into_service(
                    #private::Made(<#ty>::#constructor(#(#names),*)).__value()
                )
            }
        };
        quote! {
            |__config| {
                #[allow(unused_imports)]
                use #private::AtOnce as _;
                let (#(#names,)*) = #private::Configuration::<(#(#types,)*)>::NEW.__read(__config)?;
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
                    (&#private::STATE).tear_down::<#ty, _>(__state, <#ty>::#teardown)
                {
                    #private::Nothing::torn_down(__ended.__value());
                }
            })
        }
    }

    fn stub_name(&self, method: &Ident) -> Ident {
        let name = self.name.unraw();
        format_ident!("{}_{}", name, method.unraw(), span = method.span())
    }

    /// Returns a method as a function whose state is the service's value; `None` if it was refused.
    fn stub(
        &self,
        pool: &Ident,
        place: u16,
        (attribute, options, method): &(Span, Args, ImplItemFn),
        errors: &mut Errors,
    ) -> Option<TokenStream> {
        let (private, ty) = (self.private, &self.ty);
        let mut options = options::of_method(options, errors);
        SelfIs(ty).visit_args_mut(&mut options);
        let mut sig = method.sig.clone();
        SelfIs(ty).visit_signature_mut(&mut sig);
        let borrowed = match method.sig.inputs.first() {
            Some(FnArg::Receiver(receiver)) => check::borrowed(receiver),
            _ => None,
        };
        let Some(mutability) = borrowed else {
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
        let (signature, verdict) = signature::check(&sig, Role::Method, &policy, errors);
        let Verdict::Sound = verdict else { return None };
        let inputs = signature.all().map(|parameter| {
            let (name, ty) = (&parameter.name, &parameter.ty);
            quote!(#name: #ty)
        });
        let (original, stub) = (&method.sig.ident, self.stub_name(&method.sig.ident));
        let (vis, asyncness) = (&method.vis, &sig.asyncness);
        let output = &signature.output;
        let output = match &sig.output {
            ReturnType::Default => None,
            ReturnType::Type(..) => Some(quote!(-> #output)),
        };
        let names = signature.all().map(|parameter| &parameter.name);
        let await_it = asyncness.map(|_| quote!(.await));
        let cfgs = method.attrs.iter().filter(|one| one.path().is_ident("cfg"));
        let function: Function = syn::parse2(quote! {
            #(#cfgs)*
            #[allow(dead_code, deprecated, unused_variables)]
            #vis #asyncness fn #stub(#(#inputs),*) #output {
                <#ty>::#original(#(#names),*) #await_it
            }
        })
        .ok()?;
        let policy = if errors.is_empty() {
            policy
        } else {
            policy.recovered()
        };
        let mut expansion = Expansion::new(&function, &signature, &policy, private);
        expansion.title = format!("{}::{}", self.name.unraw(), original.unraw());
        expansion.place = *attribute;
        expansion.service = Some(quote!(.method_of(&#pool, #place)));
        Some(expansion.whole())
    }
}
