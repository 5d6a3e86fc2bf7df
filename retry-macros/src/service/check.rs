//! The parts that a service needs.

use proc_macro2::{Ident, Span, TokenStream};
use syn::visit_mut::{self, VisitMut};
use syn::{
    ExprPath, FnArg, ImplItem, ImplItemFn, ItemImpl, Path, Receiver, ReturnType, Token, Type,
    parse_quote_spanned,
};

use super::options;
use super::parts::Parts;
use crate::args::{Args, Errors, Value};
use crate::policy::{self, Policy};
use crate::signature::{self, Parameter, Role};

/// A service with all the parts that it needs.
pub(super) struct Service<'a> {
    pub(super) private: &'a TokenStream,
    /// The type, and its last segment.
    pub(super) ty: Path,
    pub(super) name: Ident,
    /// The options of the workers.
    pub(super) policy: Policy,
    pub(super) setup: ImplItemFn,
    /// The parameters of the constructor.
    pub(super) parameters: Vec<Parameter>,
    /// The constructor can be called.
    pub(super) is_sound: bool,
    pub(super) teardown: Option<ImplItemFn>,
    pub(super) methods: Vec<(Span, Args, ImplItemFn)>,
}

impl<'a> Service<'a> {
    /// Checks a service. Returns `None` if there can be no handle.
    pub(super) fn check(
        args: &Args,
        block: &ItemImpl,
        parts: Parts,
        private: &'a TokenStream,
        errors: &mut Errors,
    ) -> Option<Self> {
        let has_setup_option = policy::mentions(args, "setup");
        let mut args = options::of_service(args, errors);
        if let Some((_, path, _)) = &block.trait_ {
            let message = "#[service] belongs on the type's own methods: `impl Type`";
            errors.report(path, message);
            return None;
        }
        if !block.generics.params.is_empty() {
            let message = "a service cannot be generic: a worker has to know which type to make; \
                           write a #[service] for a type that has no parameters";
            errors.report(&block.generics, message);
            return None;
        }
        let Type::Path(ty) = signature::ungrouped(&block.self_ty) else {
            let message = "#[service] belongs on a struct or an enum: `impl Type`";
            errors.report(&block.self_ty, message);
            return None;
        };
        let Some(mut setup) = parts.setup else {
            // The error about an option `setup` says the same.
            if !has_setup_option {
                let message = "a service needs a constructor: put #[setup] on `fn new(..) -> Self`";
                errors.report(&block.self_ty, message);
            }
            return None;
        };
        if let Some(with) = with(block) {
            let message = "`with` is what callers make a handle with, which #[service] writes; \
                           rename this";
            errors.report(with, message);
            return None;
        }
        if parts.methods.is_empty() {
            let message = "a service needs something to call: put #[method] on a method";
            errors.report(&block.self_ty, message);
        }
        SelfIs(&ty.path).visit_signature_mut(&mut setup.sig);
        let (parameters, is_sound) = constructor(&setup.sig, errors);
        let teardown = parts
            .teardown
            .filter(|method| teardown(&method.sig, errors));
        let mut workers = setup.sig.clone();
        let asyncness = |(_, _, method): &(Span, Args, ImplItemFn)| method.sig.asyncness;
        workers.asyncness = parts.methods.iter().find_map(asyncness);
        SelfIs(&ty.path).visit_args_mut(&mut args);
        let policy = policy::check(&args, &workers, private, errors);
        Some(Self {
            private,
            ty: ty.path.clone(),
            name: ty.path.segments.last()?.ident.clone(),
            policy,
            setup,
            parameters,
            is_sound,
            teardown,
            methods: parts.methods,
        })
    }
}

/// Returns the name of a method that takes the name of the function that makes a handle.
pub(super) fn with(block: &ItemImpl) -> Option<&Ident> {
    block.items.iter().find_map(|item| match item {
        ImplItem::Fn(function) if function.sig.ident == "with" => Some(&function.sig.ident),
        _ => None,
    })
}

/// Returns the parameters of the constructor, and whether it can be called.
fn constructor(sig: &syn::Signature, errors: &mut Errors) -> (Vec<Parameter>, bool) {
    let mut wrong = Errors::default();
    let (signature, _) = signature::check(sig, Role::Constructor, &Policy::default(), &mut wrong);
    if signature::is_unit(&signature.output) {
        let message = "#[setup] makes the value: `-> Self`, or `-> Result<Self, _>`";
        match &sig.output {
            ReturnType::Default => wrong.report(&sig.ident, message),
            ReturnType::Type(_, ty) => wrong.report(ty, message),
        }
    }
    let is_sound = wrong.is_empty();
    errors.append(wrong);
    (signature.parameters, is_sound)
}

/// Returns whether a teardown can be called.
fn teardown(sig: &syn::Signature, errors: &mut Errors) -> bool {
    let mut wrong = Errors::default();
    let takes_the_value = matches!(sig.inputs.first(), Some(FnArg::Receiver(receiver))
        if receiver.reference.is_none() && receiver.colon_token.is_none());
    if !takes_the_value || sig.inputs.len() > 1 {
        let message = "#[teardown] takes the value and nothing else: `fn close(self)`";
        if sig.inputs.is_empty() {
            wrong.report(&sig.ident, message);
        } else {
            wrong.report(&sig.inputs, message);
        }
    }
    if let ReturnType::Type(_, ty) = &sig.output
        && !signature::is_unit(ty)
    {
        let message = "#[teardown] returns nothing: a worker's last step has no caller";
        wrong.report(ty, message);
    }
    let is_sound = wrong.is_empty();
    errors.append(wrong);
    is_sound
}

/// Returns the `mut` of a receiver that borrows, as `&mut self` or `self: &mut Self` does; `None` if it does not
/// borrow.
pub(super) fn borrowed(receiver: &Receiver) -> Option<Option<Token![mut]>> {
    match signature::ungrouped(&receiver.ty) {
        Type::Reference(reference) => match signature::ungrouped(&reference.elem) {
            Type::Path(path) if path.path.is_ident("Self") => Some(reference.mutability),
            _ => None,
        },
        _ => None,
    }
}

/// Replaces `Self` by the type.
pub(super) struct SelfIs<'a>(pub(super) &'a Path);

impl SelfIs<'_> {
    /// Replaces it in the values of options.
    pub(super) fn visit_args_mut(&mut self, args: &mut Args) {
        for arg in args {
            match &mut arg.value {
                Value::Given(value) => self.visit_expr_mut(value),
                Value::List(list) => self.visit_args_mut(list),
                Value::Flag | Value::Broken => {}
            }
        }
    }
}

impl VisitMut for SelfIs<'_> {
    // `self` has this type without saying so.
    fn visit_receiver_mut(&mut self, _: &mut syn::Receiver) {}

    fn visit_path_mut(&mut self, path: &mut Path) {
        if path.is_ident("Self") {
            *path = self.0.clone();
        }
        visit_mut::visit_path_mut(self, path);
    }

    fn visit_expr_path_mut(&mut self, path: &mut ExprPath) {
        let first = path.path.segments.first();
        if let Some(span) = first
            .filter(|first| first.ident == "Self")
            .map(|first| first.ident.span())
            && path.path.segments.len() > 1
        {
            let ty = self.0;
            let rest = path.path.segments.iter().skip(1);
            *path = parse_quote_spanned!(span=> <#ty>::#(#rest)::*);
        }
        visit_mut::visit_expr_path_mut(self, path);
    }
}
