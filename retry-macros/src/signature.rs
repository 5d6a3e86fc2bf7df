//! The function once checked.

mod alias;
mod check;
mod impossible;

use proc_macro2::{Ident, Span, TokenStream};
use quote::{ToTokens, quote};
use syn::visit::Visit;
use syn::visit_mut::{self, VisitMut};
use syn::{GenericArgument, Lifetime, PathArguments, PathSegment, Type, TypeReference};

pub(crate) use check::{METHOD, check};

/// The kind of a function, on which its rules and its name in errors depend.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// A function. With a set-up its first parameter is the state.
    Function { has_setup: bool },
    /// A method of a service, whose first parameter is the value.
    Method,
    /// The constructor of a service's value.
    Constructor,
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Function { .. } => "#[function]",
            Self::Method => "#[method]",
            Self::Constructor => "#[setup]",
        })
    }
}

/// A parameter.
#[derive(Clone)]
pub(crate) struct Parameter {
    pub(crate) name: Ident,
    pub(crate) ty: Type,
}

impl Parameter {
    /// Returns the reference that the parameter is.
    pub(crate) fn referred(&self) -> Option<&TypeReference> {
        match &self.ty {
            Type::Reference(reference) => Some(reference),
            _ => None,
        }
    }
}

/// A checked signature.
#[derive(Clone)]
pub(crate) struct Signature {
    /// The worker's state, which callers do not pass.
    pub(crate) state: Option<Parameter>,
    pub(crate) parameters: Vec<Parameter>,
    pub(crate) output: Type,
}

/// The result of a check, which determines the fallback.
pub(crate) enum Verdict {
    /// It is sound.
    Sound,
    /// It is wrong, but something can stand in its place.
    Wrong,
    /// It is wrong, and the compiler refuses it as well.
    Impossible,
    /// It is wrong, and nothing else can stand where it does: it is `main`, or a method.
    Unplaced,
}

impl Signature {
    /// Returns whether the function may change its worker's state.
    pub(crate) fn changes_state(&self) -> bool {
        let state = self.state.as_ref().and_then(Parameter::referred);
        state.is_some_and(|reference| reference.mutability.is_some())
    }

    /// Returns the state and the parameters.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Parameter> {
        self.state.iter().chain(&self.parameters)
    }
}

/// Writes `'static` for lifetimes that a result leaves out, if there is none that they could mean. A result
/// that borrows has been reported, and the compiler would report this as well.
pub(crate) fn make_elided_static(signature: &mut syn::Signature) {
    struct FindBorrow(bool);
    impl<'ast> Visit<'ast> for FindBorrow {
        fn visit_type_reference(&mut self, _: &'ast TypeReference) {
            self.0 = true;
        }
        fn visit_lifetime(&mut self, _: &'ast Lifetime) {
            self.0 = true;
        }
    }
    let mut find = FindBorrow(false);
    for input in &signature.inputs {
        find.visit_fn_arg(input);
    }
    find.visit_generics(&signature.generics);
    if !find.0 {
        StaticLifetimes.visit_return_type_mut(&mut signature.output);
    }
}

/// Returns whether this is a `Cow` without its lifetime, which need not be written.
fn leaves_lifetime_out(segment: &PathSegment) -> bool {
    let PathArguments::AngleBracketed(arguments) = &segment.arguments else {
        return false;
    };
    let is_type = |argument: &GenericArgument| matches!(argument, GenericArgument::Type(_));
    segment.ident == "Cow" && arguments.args.iter().all(is_type)
}

/// Turns a type that borrows into an owned one.
struct StaticLifetimes;

impl VisitMut for StaticLifetimes {
    fn visit_type_reference_mut(&mut self, reference: &mut TypeReference) {
        reference.lifetime = Some(Lifetime::new("'static", Span::call_site()));
        self.visit_type_mut(&mut reference.elem);
    }

    fn visit_path_segment_mut(&mut self, segment: &mut PathSegment) {
        if leaves_lifetime_out(segment)
            && let PathArguments::AngleBracketed(arguments) = &mut segment.arguments
        {
            let lifetime = Lifetime::new("'static", Span::call_site());
            arguments
                .args
                .insert(0, GenericArgument::Lifetime(lifetime));
        }
        visit_mut::visit_path_segment_mut(self, segment);
    }

    fn visit_lifetime_mut(&mut self, lifetime: &mut Lifetime) {
        *lifetime = Lifetime::new("'static", lifetime.span());
    }

    fn visit_type_bare_fn_mut(&mut self, _: &mut syn::TypeBareFn) {}
}

/// Returns the value and the error of a type that is spelled as a `Result`. They are only places for errors:
/// the compiler decides which type it is.
pub(crate) fn parts(ty: &Type) -> Option<(&Type, &Type)> {
    match generic_arguments(ty, "Result")?[..] {
        [value, error] => Some((value, error)),
        _ => None,
    }
}

/// Returns the item of a vector of a function with `batch`.
pub(crate) fn batched(ty: &Type, private: &TokenStream) -> Type {
    match generic_arguments(ty, "Vec").as_deref() {
        Some([item]) => (*item).clone(),
        _ => syn::parse_quote!(<#ty as #private::Batched>::Item),
    }
}

/// Returns the types between the angle brackets of a type whose path ends in that name.
pub(crate) fn generic_arguments<'a>(ty: &'a Type, name: &str) -> Option<Vec<&'a Type>> {
    let Type::Path(path) = ungrouped(ty) else {
        return None;
    };
    let last = path.path.segments.last()?;
    (last.ident == name)
        .then(|| arguments(&last.arguments))
        .filter(|types| !types.is_empty())
}

/// Returns the innermost types that a type is made of, each once; none for a type that is not made of
/// others.
pub(crate) fn innermost(ty: &Type) -> Vec<Type> {
    fn parts(ty: &Type) -> Vec<&Type> {
        match ungrouped(ty) {
            Type::Slice(slice) => vec![&slice.elem],
            Type::Array(array) => vec![&array.elem],
            Type::Tuple(tuple) => tuple.elems.iter().collect(),
            Type::Path(path) => path
                .path
                .segments
                .last()
                .map(|last| arguments(&last.arguments))
                .unwrap_or_default(),
            _ => Vec::new(),
        }
    }
    fn collect(ty: &Type, found: &mut Vec<Type>) {
        for part in parts(ty) {
            let text = || part.to_token_stream().to_string();
            if !parts(part).is_empty() {
                collect(part, found);
            } else if !found
                .iter()
                .any(|one| one.to_token_stream().to_string() == text())
            {
                found.push(part.clone());
            }
        }
    }
    let mut found = Vec::new();
    collect(ty, &mut found);
    found
}

fn arguments(arguments: &PathArguments) -> Vec<&Type> {
    let PathArguments::AngleBracketed(arguments) = arguments else {
        return Vec::new();
    };
    let types = arguments.args.iter().filter_map(|argument| match argument {
        GenericArgument::Type(ty) => Some(ty),
        _ => None,
    });
    types.collect()
}

/// Returns a type without the invisible parentheses that a macro puts around it.
pub(crate) fn ungrouped(ty: &Type) -> &Type {
    match ty {
        Type::Group(group) => ungrouped(&group.elem),
        Type::Paren(paren) => ungrouped(&paren.elem),
        ty => ty,
    }
}

/// Returns whether a type is written as `()`.
pub(crate) fn is_unit(ty: &Type) -> bool {
    matches!(ty, Type::Tuple(tuple) if tuple.elems.is_empty())
}

/// Returns a parameter's type as a marker for the runtime.
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

/// Returns a type with a name for the lifetime of its reference.
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
