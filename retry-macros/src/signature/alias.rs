//! Names for the types of a signature.
//!
//! The compiler reports a type that leaves a lifetime out wherever the expansion has it, each time in other words and
//! some of them about generated code. So a type is written once, as that of an alias, and the error is there.

use proc_macro2::{Ident, TokenStream};
use quote::{ToTokens, format_ident, quote};
use syn::ext::IdentExt;
use syn::visit_mut::{self, VisitMut};
use syn::{PathSegment, TypePath};

use super::Signature;

/// Types that are known to have no lifetime.
const PLAIN: &[&str] = &[
    "bool", "char", "f32", "f64", "i128", "i16", "i32", "i64", "i8", "isize", "str", "u128", "u16",
    "u32", "u64", "u8", "usize", "Self", "String",
];

impl Signature {
    /// Returns the signature of a stub with an alias in the place of each type that may leave a lifetime out, and the
    /// aliases. Their names contain that of the stub.
    pub(crate) fn aliased(&self, stub: &Ident) -> (Self, Vec<TokenStream>) {
        let mut signature = self.clone();
        let mut aliases = Aliases {
            stub: stub.unraw(),
            all: Vec::new(),
        };
        let parameters = signature.parameters.iter_mut().map(|one| &mut one.ty);
        for ty in parameters.chain([&mut signature.output]) {
            aliases.visit_type_mut(ty);
        }
        let code = aliases.all.iter().map(|(name, ty)| {
            quote!(#[allow(dead_code, deprecated, non_camel_case_types)] type #name = #ty;)
        });
        (signature, code.collect())
    }
}

struct Aliases {
    stub: Ident,
    all: Vec<(Ident, TypePath)>,
}

impl Aliases {
    fn name(&mut self, path: &TypePath, last: &PathSegment) -> Ident {
        let text = path.to_token_stream().to_string();
        let mut known = self.all.iter();
        let known = known.find(|(_, other)| other.to_token_stream().to_string() == text);
        let span = last.ident.span();
        if let Some((name, _)) = known {
            let mut name = name.clone();
            name.set_span(span);
            return name;
        }
        let name = format_ident!("__{}_{}", self.stub, self.all.len(), span = span);
        self.all.push((name.clone(), path.clone()));
        name
    }
}

impl VisitMut for Aliases {
    fn visit_type_path_mut(&mut self, path: &mut TypePath) {
        let is_leaf = |segment: &PathSegment| segment.arguments.is_none();
        let is_plain = |segment: &PathSegment| PLAIN.iter().any(|plain| segment.ident == plain);
        let segments = &path.path.segments;
        if let Some(last) = segments.last()
            && path.qself.is_none()
            && segments.iter().all(|one| is_leaf(one) && !is_plain(one))
        {
            path.path = self.name(path, last).into();
        } else {
            visit_mut::visit_type_path_mut(self, path);
        }
    }

    /// Its lifetimes are its own.
    fn visit_type_bare_fn_mut(&mut self, _: &mut syn::TypeBareFn) {}
}
