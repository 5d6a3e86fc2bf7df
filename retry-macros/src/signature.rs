//! The function once checked.

use proc_macro2::{Span, TokenStream};
use quote::quote;
use syn::visit::Visit;
use syn::{FnArg, Ident, ItemFn, Lifetime, Pat, ReturnType, Type, TypeReference};

use crate::args::Errors;

/// The most parameters that callers may pass.
const MOST_PARAMETERS: usize = 12;

/// A parameter.
pub(crate) struct Parameter {
    pub(crate) name: Ident,
    pub(crate) ty: Type,
}

impl Parameter {
    /// What the parameter refers to, if it is a reference.
    pub(crate) fn referred(&self) -> Option<&TypeReference> {
        match &self.ty {
            Type::Reference(reference) => Some(reference),
            _ => None,
        }
    }
}

/// What is known of a function's signature.
pub(crate) struct Signature {
    /// The worker's state, which callers do not pass.
    pub(crate) state: Option<Parameter>,
    pub(crate) parameters: Vec<Parameter>,
    pub(crate) output: Type,
}

impl Signature {
    /// Whether the function may change its worker's state.
    pub(crate) fn changes_state(&self) -> bool {
        let state = self.state.as_ref().and_then(Parameter::referred);
        state.is_some_and(|reference| reference.mutability.is_some())
    }

    /// The state and the parameters.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Parameter> {
        self.state.iter().chain(&self.parameters)
    }
}

/// Checks a function's signature; `has_setup` says whether its first parameter is the state.
pub(crate) fn check(function: &ItemFn, has_setup: bool, errors: &mut Errors) -> Signature {
    let signature = &function.sig;
    let before = "a #[function] is called in another process, so it ";
    if let Some(token) = &signature.constness {
        errors.report(token, format!("{before}cannot be `const`"));
    }
    if let Some(token) = &signature.unsafety {
        errors.report(
            token,
            format!("{before}cannot be `unsafe`; wrap what is unsafe in a safe function"),
        );
    }
    if let Some(abi) = &signature.abi {
        errors.report(abi, format!("{before}cannot be `extern`"));
    }
    if let Some(variadic) = &signature.variadic {
        errors.report(variadic, format!("{before}cannot be variadic"));
    }
    if !signature.generics.params.is_empty() {
        errors.report(
            &signature.generics,
            format!(
                "{before}cannot be generic: a worker has to know which function to run; write \
                 one #[function] for each type"
            ),
        );
    }
    if signature.ident == "main" {
        errors.report(
            &signature.ident,
            "`main` cannot be a #[function]; use #[local_entrypoint] for it",
        );
    }
    let mut parameters: Vec<Parameter> = signature
        .inputs
        .iter()
        .filter_map(|input| parameter(input, errors))
        .collect();
    let state = (has_setup && !parameters.is_empty()).then(|| parameters.remove(0));
    if has_setup {
        match &state {
            Some(state) if state.referred().is_some() => {}
            Some(state) => errors.report(
                &state.ty,
                "with `setup` the first parameter is the worker's state: make it `&S` or `&mut S`",
            ),
            None => errors.report(
                &signature.ident,
                "with `setup` the first parameter has to be the worker's state, `&S` or `&mut S`",
            ),
        }
    }
    if parameters.len() > MOST_PARAMETERS {
        errors.report(
            &signature.inputs,
            format!("more than {MOST_PARAMETERS} parameters; put some of them into a struct"),
        );
    }
    for parameter in &parameters {
        if let Some(TypeReference {
            mutability: Some(_),
            ..
        }) = parameter.referred()
        {
            errors.report(
                &parameter.ty,
                "a `&mut` parameter would only change the worker's copy; return the new value",
            );
        }
    }
    for parameter in state.iter().chain(&parameters) {
        let inner = match parameter.referred() {
            Some(reference) => {
                if let Some(lifetime) = &reference.lifetime {
                    errors.report(
                        lifetime,
                        "leave the lifetime out: the worker owns the value",
                    );
                }
                &*reference.elem
            }
            None => &parameter.ty,
        };
        Borrows(
            errors,
            "a parameter may be a reference, but not contain one",
        )
        .visit_type(inner);
    }
    let output = match &signature.output {
        ReturnType::Default => syn::parse_quote!(()),
        ReturnType::Type(_, ty) => {
            let message = "the result is made in another process, so it cannot borrow; return an \
                           owned value";
            Borrows(errors, message).visit_type(ty);
            (**ty).clone()
        }
    };
    Signature {
        state,
        parameters,
        output,
    }
}

fn parameter(input: &FnArg, errors: &mut Errors) -> Option<Parameter> {
    let typed = match input {
        FnArg::Typed(typed) => typed,
        FnArg::Receiver(receiver) => {
            errors.report(
                receiver,
                "a #[function] cannot be a method; write a free function that takes the value",
            );
            return None;
        }
    };
    let name = match &*typed.pat {
        Pat::Ident(name) if name.by_ref.is_none() && name.subpat.is_none() => name.ident.clone(),
        pattern => {
            errors.report(
                pattern,
                "a parameter of a #[function] needs a name; take the pattern apart in the body",
            );
            return None;
        }
    };
    Some(Parameter {
        name,
        ty: (*typed.ty).clone(),
    })
}

/// Reports references, lifetimes and `impl Trait` inside a type.
struct Borrows<'a>(&'a mut Errors, &'static str);

impl<'ast> Visit<'ast> for Borrows<'_> {
    fn visit_type_reference(&mut self, reference: &'ast TypeReference) {
        let is_static = reference
            .lifetime
            .as_ref()
            .is_some_and(|lifetime| lifetime.ident == "static");
        let message = if is_static {
            "a `&'static` value cannot be made from what another process sends; use an owned type"
        } else {
            self.1
        };
        self.0.report(reference, message);
    }

    fn visit_lifetime(&mut self, lifetime: &'ast Lifetime) {
        if lifetime.ident != "static" {
            self.0.report(lifetime, self.1);
        }
    }

    fn visit_type_impl_trait(&mut self, ty: &'ast syn::TypeImplTrait) {
        self.0.report(
            ty,
            "`impl Trait` has no name by which another process could know it; name the type",
        );
    }

    // What stands in a function pointer or a trait object is not part of the value.
    fn visit_type_bare_fn(&mut self, _: &'ast syn::TypeBareFn) {}
}

/// A parameter's type as a marker for the runtime.
pub(crate) fn marker(parameter: &Parameter, private: &TokenStream) -> TokenStream {
    match parameter.referred() {
        Some(reference) => {
            let inner = &reference.elem;
            quote!(#private::Ref<#inner>)
        }
        None => {
            let ty = &parameter.ty;
            quote!(#private::Val<#ty>)
        }
    }
}

/// The type with one lifetime for all references, for a future that holds them.
pub(crate) fn with_lifetime(ty: &Type, lifetime: &str) -> Type {
    match ty {
        Type::Reference(reference) => {
            let mut reference = reference.clone();
            reference.lifetime = Some(Lifetime::new(lifetime, Span::call_site()));
            Type::Reference(reference)
        }
        other => other.clone(),
    }
}
