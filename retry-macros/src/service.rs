//! `#[service]`: a type whose methods run in workers that hold one value of it each.
//!
//! Each method becomes a function of its own, whose state is the value, and the type gets `with`,
//! which gives a handle with one field for each method.

use proc_macro2::{Ident, TokenStream};
use quote::{ToTokens, format_ident, quote};
use syn::ext::IdentExt;
use syn::visit_mut::VisitMut;
use syn::{
    Attribute, FnArg, ImplItem, ImplItemFn, ItemImpl, Meta, Path, Receiver, Type, parse_quote,
};

use crate::args::{self, Args, Errors};
use crate::expand::Expansion;
use crate::fallback;
use crate::item::Function;
use crate::policy::{self, Policy};
use crate::signature::{self, Parameter, Verdict};

/// The options that are about workers, which all methods share.
const OF_WORKERS: &[&str] = &[
    "max_workers",
    "min_workers",
    "scaledown_window",
    "startup_timeout",
    "max_calls_per_worker",
    "single_use_workers",
    "memory",
    "max_rss_growth",
    "concurrency",
    "grace",
    "crash_limit",
];

/// The options that are about calls, which each method has for itself.
const OF_CALLS: &[&str] = &["retries", "retry_if", "timeout", "deadline", "at_most_once"];

/// Those that both may have.
const OF_BOTH: &[&str] = &["name"];

pub(crate) fn service(attribute: TokenStream, item: TokenStream) -> TokenStream {
    let mut block: ItemImpl = match syn::parse2(item.clone()) {
        Ok(block) => block,
        Err(error) => return fallback::item(&error, &item),
    };
    let mut errors = Errors::default();
    let args = args::parse(attribute, &mut errors);
    let runtime = policy::runtime(&args)
        .map_or_else(|| quote!(::retry_runtime), |path| path.to_token_stream());
    let private = crate::private_module(&runtime);
    let parts = Parts::take(&mut block, &mut errors);
    let code = Service::check(&args, &block, parts, &private, &mut errors)
        .map(|service| service.expand(&args, &mut errors));
    match (code, errors.to_compile_error()) {
        (Some(code), None) => quote!(#block #code),
        (_, errors) => quote!(#block #errors),
    }
}

/// The methods with an attribute of ours, which they then lose.
#[derive(Default)]
struct Parts {
    setup: Option<ImplItemFn>,
    teardown: Option<ImplItemFn>,
    methods: Vec<(Args, ImplItemFn)>,
}

impl Parts {
    fn take(block: &mut ItemImpl, errors: &mut Errors) -> Self {
        let mut parts = Self::default();
        for item in &mut block.items {
            let ImplItem::Fn(method) = item else { continue };
            let ours = |attribute: &Attribute| {
                ["setup", "method", "teardown"]
                    .into_iter()
                    .find(|name| attribute.path().is_ident(name))
            };
            let Some(at) = method.attrs.iter().position(|one| ours(one).is_some()) else {
                continue;
            };
            let attribute = method.attrs.remove(at);
            if let Some(second) = method.attrs.iter().find(|one| ours(one).is_some()) {
                errors.report(second, "a method has one of these attributes, not several");
            }
            match ours(&attribute) {
                Some("setup") if parts.setup.is_some() => {
                    errors.report(&attribute, "a service has one #[setup]");
                }
                Some("setup") => parts.setup = Some(method.clone()),
                Some("teardown") if parts.teardown.is_some() => {
                    errors.report(&attribute, "a service has one #[teardown]");
                }
                Some("teardown") => parts.teardown = Some(method.clone()),
                _ => {
                    let options = match &attribute.meta {
                        Meta::List(list) => list.tokens.clone(),
                        _ => TokenStream::new(),
                    };
                    let args = args::parse(options, errors);
                    parts.methods.push((args, method.clone()));
                }
            }
        }
        parts
    }
}

/// A service once its parts are known to be there.
struct Service<'a> {
    private: &'a TokenStream,
    /// The type, and its last segment.
    ty: Path,
    name: Ident,
    setup: ImplItemFn,
    /// The parameters of the constructor.
    parameters: Vec<Parameter>,
    teardown: Option<ImplItemFn>,
    methods: Vec<(Args, ImplItemFn)>,
}

impl<'a> Service<'a> {
    fn check(
        args: &Args,
        block: &ItemImpl,
        parts: Parts,
        private: &'a TokenStream,
        errors: &mut Errors,
    ) -> Option<Self> {
        for arg in args {
            let key = arg.key.to_string();
            if OF_CALLS.contains(&key.as_str()) {
                let message = format!("`{key}` is for single methods: #[method({key} ..)]");
                errors.report(&arg.key, message);
            } else if ["setup", "teardown", "batch"].contains(&key.as_str()) {
                let message =
                    format!("a service has no `{key} = ..`; see #[setup] and #[teardown]");
                errors.report(&arg.key, message);
            }
        }
        if let Some((_, path, _)) = &block.trait_ {
            errors.report(
                path,
                "#[service] belongs on the type's own methods: `impl Type`",
            );
        }
        if !block.generics.params.is_empty() {
            let message = "a service cannot be generic: a worker has to know which type to make";
            errors.report(&block.generics, message);
        }
        let (Type::Path(ty), Some(setup)) = (&*block.self_ty, parts.setup) else {
            let message = "a service needs a constructor: put #[setup] on `fn new(..) -> Self`";
            errors.report(&block.self_ty, message);
            return None;
        };
        let name = ty.path.segments.last()?.ident.clone();
        if parts.methods.is_empty() {
            let message = "a service needs something to call: put #[method] on a method";
            errors.report(&block.self_ty, message);
        }
        if let Some(token) = &setup.sig.asyncness {
            errors.report(
                token,
                "#[setup] cannot be `async`; use a runtime's `block_on` in it",
            );
        }
        let mut constructor = setup.sig.clone();
        constructor.output = syn::ReturnType::Default;
        let (signature, _) = signature::check(&constructor, false, &Policy::default(), errors);
        for parameter in &signature.parameters {
            if parameter.referred().is_some() {
                let message = "the value is made in each worker: take the parameter by value";
                errors.report(&parameter.ty, message);
            }
        }
        if let Some(teardown) = &parts.teardown
            && !matches!(teardown.sig.inputs.first(), Some(FnArg::Receiver(receiver))
                if receiver.reference.is_none())
        {
            errors.report(
                &teardown.sig,
                "#[teardown] takes the value: `fn close(self)`",
            );
        }
        Some(Self {
            private,
            ty: ty.path.clone(),
            name,
            setup,
            parameters: signature.parameters,
            teardown: parts.teardown,
            methods: parts.methods,
        })
    }

    fn expand(&self, args: &Args, errors: &mut Errors) -> TokenStream {
        let Self {
            private, ty, name, ..
        } = self;
        let pool = format_ident!("__service_{}", name.unraw());
        let handle = format_ident!("{}Handle", name.unraw());
        let description = self.description(args, errors);
        let mut stubs = Vec::new();
        let mut fields = Vec::new();
        for (place, (options, method)) in self.methods.iter().enumerate() {
            let place = u16::try_from(place).unwrap_or(u16::MAX);
            stubs.extend(self.stub(&pool, place, options, method, errors));
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
        let tear_down = match &self.teardown {
            Some(teardown) => {
                let teardown = &teardown.sig.ident;
                quote! {
                    ::core::option::Option::Some(|__state| {
                        #private::tear_down::<#ty>(__state, <#ty>::#teardown);
                    })
                }
            }
            None => quote!(::core::option::Option::None),
        };
        quote! {
            #[doc = #about]
            #[allow(private_interfaces, dead_code)]
            #vis struct #handle {
                #(#declared,)*
            }

            #[allow(private_interfaces, dead_code, clippy::all, clippy::pedantic)]
            impl #ty {
                #[doc = #with]
                ///
                /// # Panics
                ///
                /// If the parameters cannot be encoded.
                #[track_caller]
                #vis fn with(#(#names: #types),*) -> #handle {
                    let __config = #private::configure(&(#(#names,)*));
                    #handle { #(#made,)* }
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
                    set_up: |__config| {
                        let (#(#names,)*) = #private::configuration::<(#(#types,)*)>(__config)?;
                        #private::set_up::<#ty, _>(<#ty>::#constructor(#(#names),*))
                    },
                    tear_down: #tear_down,
                }
            };

            #(#stubs)*
        }
    }

    /// What holds for the workers.
    fn description(&self, args: &Args, errors: &mut Errors) -> TokenStream {
        let private = self.private;
        let mut signature = self.setup.sig.clone();
        let is_async = |(_, method): &(Args, ImplItemFn)| method.sig.asyncness;
        signature.asyncness = self.methods.iter().find_map(is_async);
        let known = |arg: &&args::Arg| {
            let key = arg.key.to_string();
            !OF_CALLS.contains(&key.as_str())
                && !["setup", "teardown", "batch"].contains(&key.as_str())
        };
        let kept: Vec<_> = args.iter().filter(known).cloned().collect();
        let policy = policy::check(&kept, &signature, private, errors);
        let name = match &policy.name {
            Some(name) => quote!(#name),
            None => {
                let name = self.name.unraw().to_string();
                quote!(::core::concat!(::core::module_path!(), "::", #name))
            }
        };
        let (setters, checks) = (&policy.setters, &policy.checks);
        quote! {{
            #(#checks)*
            #private::FunctionSpec::new(#name, ::core::file!(), ::core::line!(), &[]) #(#setters)*
        }}
    }

    fn stub_name(&self, method: &Ident) -> Ident {
        format_ident!("__{}_{}", self.name.unraw(), method.unraw())
    }

    /// A method as a function whose state is the service's value.
    fn stub(
        &self,
        pool: &Ident,
        place: u16,
        options: &Args,
        method: &ImplItemFn,
        errors: &mut Errors,
    ) -> Option<TokenStream> {
        let (private, ty) = (self.private, &self.ty);
        for arg in options {
            let key = arg.key.to_string();
            if !OF_CALLS.contains(&key.as_str()) && !OF_BOTH.contains(&key.as_str()) {
                let message = if OF_WORKERS.contains(&key.as_str()) {
                    format!(
                        "`{key}` is for the workers, which all methods share: #[service({key} ..)]"
                    )
                } else {
                    let known = OF_CALLS.join(", ");
                    format!("unknown option `{key}` of a method; known are: {known}, name")
                };
                errors.report(&arg.key, message);
                return None;
            }
        }
        let mut sig = method.sig.clone();
        SelfIs(ty).visit_signature_mut(&mut sig);
        let Some(FnArg::Receiver(Receiver {
            reference: Some(_),
            mutability,
            ..
        })) = sig.inputs.first()
        else {
            errors.report(&method.sig, "#[method] needs `&self` or `&mut self` first");
            return None;
        };
        sig.inputs[0] = parse_quote!(__service: &#mutability #ty);
        let original = &method.sig.ident;
        sig.ident = self.stub_name(original);
        let names: Vec<Ident> = sig
            .inputs
            .iter()
            .filter_map(|input| match input {
                FnArg::Typed(typed) => match &*typed.pat {
                    syn::Pat::Ident(pat) => Some(pat.ident.clone()),
                    _ => None,
                },
                FnArg::Receiver(_) => None,
            })
            .collect();
        let await_it = sig.asyncness.map(|_| quote!(.await));
        let body = quote!({ <#ty>::#original(#(#names),*) #await_it });
        let function = Function {
            attrs: method
                .attrs
                .iter()
                .filter(|one| one.path().is_ident("cfg"))
                .cloned()
                .collect(),
            vis: syn::Visibility::Inherited,
            block: syn::parse2(body).ok()?,
            has_body: true,
            sig,
        };
        let policy = policy::check(options, &function.sig, private, errors);
        let (signature, verdict) = signature::check(&function.sig, true, &policy, errors);
        let Verdict::Sound = verdict else { return None };
        let mut expansion = Expansion::new(&function, &signature, &policy, private);
        expansion.title = format!("{}::{}", self.name.unraw(), original.unraw());
        expansion.service = Some(quote!(.method_of(&#pool, #place)));
        Some(expansion.whole())
    }
}

/// Writes out what `Self` is.
struct SelfIs<'a>(&'a Path);

impl VisitMut for SelfIs<'_> {
    fn visit_path_mut(&mut self, path: &mut Path) {
        if path.is_ident("Self") {
            *path = self.0.clone();
        }
        syn::visit_mut::visit_path_mut(self, path);
    }
}
