//! The rules of a signature.

use quote::{ToTokens, format_ident};
use syn::visit::{self, Visit};
use syn::{
    FnArg, GenericArgument, GenericParam, Generics, Lifetime, Pat, PathArguments, PathSegment,
    ReturnType, Type, TypeParamBound, TypeReference,
};

use super::{
    Parameter, Role, Signature, Verdict, impossible, leaves_lifetime_out, parts, ungrouped,
};
use crate::args::Errors;
use crate::policy::Policy;

/// The most parameters that callers may pass.
const MOST_PARAMETERS: usize = 12;

/// The refusal of a function in an `impl`.
pub(crate) const METHOD: &str = "a #[function] cannot be a method: write a free function, or a \
                                 #[service] whose methods run in workers";

/// Checks a function's signature.
pub(crate) fn check(
    signature: &syn::Signature,
    role: Role,
    policy: &Policy,
    errors: &mut Errors,
) -> (Signature, Verdict) {
    let mut wrong = Errors::default();
    check_kind(signature, role, &mut wrong);
    check_generics(&signature.generics, role, &mut wrong);
    let mut parameters: Vec<Parameter> = signature
        .inputs
        .iter()
        .enumerate()
        .filter_map(|(position, input)| parameter(role, position, input, &mut wrong))
        .collect();
    let has_setup = matches!(role, Role::Function { has_setup: true } | Role::Method);
    let state = (has_setup && !parameters.is_empty()).then(|| parameters.remove(0));
    if has_setup {
        check_state(signature, state.as_ref(), policy, &mut wrong);
    }
    if parameters.len() > MOST_PARAMETERS {
        wrong.report(
            &signature.inputs,
            format!("more than {MOST_PARAMETERS} parameters; put some of them into a struct"),
        );
    }
    for parameter in state.iter().chain(&parameters) {
        check_parameter(parameter, role, &signature.generics, &mut wrong);
    }
    for parameter in &parameters {
        if role != Role::Constructor
            && let Some(reference) = parameter.referred()
            && reference.mutability.is_some()
        {
            let message =
                "a `&mut` parameter would only change the worker's copy; return the new value";
            wrong.report(&parameter.ty, message);
        }
    }
    let output = match &signature.output {
        ReturnType::Default => syn::parse_quote!(()),
        // The value stays where it is made.
        ReturnType::Type(_, ty) if role == Role::Constructor => (**ty).clone(),
        ReturnType::Type(_, ty) => {
            let message = "the result is made in another process, so it cannot borrow";
            Borrows::new(&mut wrong, message, &Generics::default()).visit_type(ty);
            ungrouped(ty).clone()
        }
    };
    if policy.batch {
        check_batch(signature, &parameters, &output, &mut wrong);
    }
    let is_impossible = impossible::check(&parameters, &signature.output, role, &mut wrong);
    let verdict = if wrong.is_empty() {
        Verdict::Sound
    } else if has_its_place(signature, role) {
        Verdict::Unplaced
    } else if is_impossible {
        Verdict::Impossible
    } else {
        Verdict::Wrong
    };
    errors.append(wrong);
    let signature = Signature {
        state,
        parameters,
        output,
    };
    (signature, verdict)
}

/// Returns whether nothing else can stand where the function does.
fn has_its_place(signature: &syn::Signature, role: Role) -> bool {
    let is_a_function = matches!(role, Role::Function { .. });
    is_a_function && signature.ident == "main" || signature.receiver().is_some()
}

/// Checks the words before `fn`, and the name. A method is called by its name, where `const` and `extern`
/// change nothing.
fn check_kind(signature: &syn::Signature, role: Role, errors: &mut Errors) {
    let before = format!("a {role} is called in another process, so it");
    if let Some(token) = &signature.unsafety {
        errors.report(
            token,
            format!("{before} cannot be `unsafe`; wrap what is unsafe in a safe function"),
        );
    }
    if let Some(variadic) = &signature.variadic {
        errors.report(
            variadic,
            format!("{before} cannot be variadic; take a `Vec`"),
        );
    }
    let Role::Function { .. } = role else { return };
    if let Some(token) = &signature.constness {
        errors.report(
            token,
            format!("{before} cannot be `const`; remove the word"),
        );
    }
    if let Some(abi) = &signature.abi {
        errors.report(abi, format!("{before} cannot be `extern`; remove the word"));
    }
    if signature.ident == "main" {
        errors.report(
            &signature.ident,
            "`main` cannot be a #[function]; use #[local_entrypoint] for it",
        );
    }
}

fn check_generics(generics: &Generics, role: Role, errors: &mut Errors) {
    let is_lifetime = |param: &GenericParam| matches!(param, GenericParam::Lifetime(_));
    if let (true, Some(clause)) = (generics.params.is_empty(), &generics.where_clause) {
        errors.report(
            clause,
            format!("a {role} has no type parameters; remove the `where`"),
        );
    }
    if generics.params.is_empty() {
        return;
    }
    if generics.params.iter().all(is_lifetime) {
        // A constructor cannot use a lifetime. If it does, another check reports that.
        if role == Role::Constructor {
            return;
        }
        errors.report(
            generics,
            "leave the lifetimes out: the worker owns what the parameters refer to",
        );
    } else if role == Role::Constructor {
        errors.report(
            generics,
            "a #[setup] is called in another process, so it cannot be generic; name the types",
        );
    } else {
        errors.report(
            generics,
            format!(
                "a {role} is called in another process, so it cannot be generic: a worker has to \
                 know which function to run; write one {role} for each type"
            ),
        );
    }
}

fn check_state(
    signature: &syn::Signature,
    state: Option<&Parameter>,
    policy: &Policy,
    errors: &mut Errors,
) {
    let Some(state) = state else {
        errors.report(
            &signature.ident,
            "with `setup` the first parameter has to be the worker's state, `&S` or `&mut S`",
        );
        return;
    };
    match state.referred() {
        Some(reference) if policy.is_concurrent && reference.mutability.is_some() => errors.report(
            &state.ty,
            "with `concurrency` several calls share the state: take it as `&S`",
        ),
        Some(reference) => {
            if let Some(form) = impossible::sized(&reference.elem) {
                let and = reference.mutability.map_or("", |_| "mut ");
                let message = format!(
                    "the state is the value that `setup` returns, so it has a size: write \
                     `&{and}{form}`"
                );
                errors.report(&state.ty, message);
            }
        }
        None => errors.report(
            &state.ty,
            "with `setup` the first parameter is the worker's state: make it `&S` or `&mut S`",
        ),
    }
}

/// Checks that a batch is one vector, and that its results are. An alias may stand for one, which the compiler
/// decides.
fn check_batch(
    signature: &syn::Signature,
    parameters: &[Parameter],
    output: &Type,
    errors: &mut Errors,
) {
    if let Some(asyncness) = &signature.asyncness {
        let message = "`batch` is for a function that blocks; an `async fn` executes several calls \
                       at once with `concurrency`";
        errors.report(asyncness, message);
    }
    let inputs = "with `batch` a function takes all inputs of an execution as one `Vec<T>`";
    match parameters {
        [parameter] if cannot_be_a_vector(&parameter.ty) => errors.report(&parameter.ty, inputs),
        [_] => {}
        [] => errors.report(&signature.ident, inputs),
        [_, second, ..] => errors.report(&second.ty, inputs),
    }
    if cannot_be_a_vector(output) {
        let message = match parts(output) {
            Some(_) => "each input of a batch has a result of its own; write `Vec<Result<R, E>>`",
            None => "with `batch` a function returns one result for each input, as a `Vec<R>`",
        };
        match &signature.output {
            ReturnType::Default => errors.report(&signature.ident, message),
            ReturnType::Type(_, ty) => errors.report(ty, message),
        }
    }
}

/// Returns whether a type is spelled as one that cannot be an alias of a vector.
fn cannot_be_a_vector(ty: &Type) -> bool {
    const OTHERS: &[&str] = &[
        "bool", "char", "String", "f32", "f64", "i8", "i16", "i32", "i64", "i128", "isize", "u8",
        "u16", "u32", "u64", "u128", "usize", "Arc", "BTreeMap", "BTreeSet", "Box", "HashMap",
        "HashSet", "Option", "Rc", "Result", "VecDeque",
    ];
    match ty {
        // A type of the same name elsewhere may be an alias.
        Type::Path(path) if path.path.segments.len() == 1 => {
            let only = &path.path.segments[0].ident;
            OTHERS.iter().any(|other| only == other)
        }
        Type::Reference(_) | Type::Slice(_) | Type::Array(_) | Type::Tuple(_) => true,
        _ => false,
    }
}

fn parameter(role: Role, position: usize, input: &FnArg, errors: &mut Errors) -> Option<Parameter> {
    let typed = match input {
        FnArg::Typed(typed) => typed,
        FnArg::Receiver(receiver) => {
            let message = match role {
                Role::Constructor => {
                    "#[setup] makes the value, so there is no `self` yet: remove it"
                }
                _ => METHOD,
            };
            errors.report(receiver, message);
            return None;
        }
    };
    let name = match &*typed.pat {
        Pat::Ident(name) if name.by_ref.is_none() && name.subpat.is_none() => name.ident.clone(),
        Pat::Wild(_) => format_ident!("argument{}", position),
        pattern => {
            errors.report(
                pattern,
                format!("a parameter of a {role} needs a name; take the pattern apart in the body"),
            );
            format_ident!("argument{}", position)
        }
    };
    Some(Parameter {
        name,
        ty: ungrouped(&typed.ty).clone(),
    })
}

fn check_parameter(parameter: &Parameter, role: Role, generics: &Generics, errors: &mut Errors) {
    if role == Role::Constructor {
        let message = "the value is made in each worker, so it cannot be made of what is borrowed";
        Borrows::new(errors, message, &Generics::default()).visit_type(&parameter.ty);
        return;
    }
    let inner = match parameter.referred() {
        Some(reference) => {
            if let Some(lifetime) = &reference.lifetime
                && !declares(generics, lifetime)
            {
                let message = "leave the lifetime out: the worker owns what a parameter refers to";
                errors.report(lifetime, message);
            }
            &*reference.elem
        }
        None => &parameter.ty,
    };
    let message = "a parameter may be a reference, but not contain one";
    Borrows::new(errors, message, generics).visit_type(inner);
}

/// Returns whether the function has the lifetime as a parameter, which has been reported.
fn declares(generics: &Generics, lifetime: &Lifetime) -> bool {
    generics
        .lifetimes()
        .any(|param| param.lifetime.ident == lifetime.ident)
}

/// Returns the owned form of a type behind a reference, as code; `None` if none can be sent.
fn owned(referred: &Type) -> Option<String> {
    fn form(referred: &Type) -> Option<String> {
        match ungrouped(referred) {
            Type::Slice(slice) => Some(format!("Vec<{}>", form(&slice.elem)?)),
            Type::Reference(reference) => form(&reference.elem),
            Type::Path(path) if path.qself.is_none() => {
                let text: String = path.to_token_stream().to_string();
                let text = text.replace(' ', "");
                Some(match text.rsplit("::").next()? {
                    "str" => "String".to_owned(),
                    "Path" => "PathBuf".to_owned(),
                    "OsStr" => "OsString".to_owned(),
                    "CStr" => "CString".to_owned(),
                    _ if text.contains(['&', '\'']) => return None,
                    _ => text,
                })
            }
            _ => None,
        }
    }
    form(referred).map(|form| format!("`{form}`"))
}

/// Reports references, lifetimes and `impl Trait` inside a type.
struct Borrows<'a> {
    errors: &'a mut Errors,
    message: &'static str,
    /// Lifetimes that have been reported where they are declared.
    generics: &'a Generics,
}

impl<'a> Borrows<'a> {
    fn new(errors: &'a mut Errors, message: &'static str, generics: &'a Generics) -> Self {
        Self {
            errors,
            message,
            generics,
        }
    }

    /// Reports what borrows a type, with the type to write instead.
    fn refuse(&mut self, borrows: &impl ToTokens, message: &str, borrowed: &Type) {
        let instead = owned(borrowed).unwrap_or_else(|| "an owned type".to_owned());
        self.errors
            .report(borrows, format!("{message}; write {instead}"));
    }
}

impl<'ast> Visit<'ast> for Borrows<'_> {
    fn visit_type_reference(&mut self, reference: &'ast TypeReference) {
        let is_static = |lifetime: &Lifetime| lifetime.ident == "static";
        let message = if reference.lifetime.as_ref().is_some_and(is_static) {
            "a `&'static` value cannot be made from what another process sends"
        } else {
            self.message
        };
        self.refuse(reference, message, &reference.elem);
    }

    fn visit_path_segment(&mut self, segment: &'ast PathSegment) {
        // The compiler would report the lifetime in generated code.
        if leaves_lifetime_out(segment)
            && let PathArguments::AngleBracketed(arguments) = &segment.arguments
            && let Some(GenericArgument::Type(inner)) = arguments.args.first()
        {
            return self.refuse(segment, self.message, inner);
        }
        visit::visit_path_segment(self, segment);
    }

    fn visit_lifetime(&mut self, lifetime: &'ast Lifetime) {
        if lifetime.ident != "static" && !declares(self.generics, lifetime) {
            self.errors.report(lifetime, self.message);
        }
    }

    fn visit_type_impl_trait(&mut self, ty: &'ast syn::TypeImplTrait) {
        self.errors.report(
            ty,
            "`impl Trait` has no name by which another process could know it; name the type",
        );
    }

    // The types in a function pointer or a trait object are not part of the value.
    fn visit_type_bare_fn(&mut self, _: &'ast syn::TypeBareFn) {}

    fn visit_type_trait_object(&mut self, object: &'ast syn::TypeTraitObject) {
        for bound in &object.bounds {
            if let TypeParamBound::Lifetime(lifetime) = bound {
                self.visit_lifetime(lifetime);
            }
        }
    }
}
