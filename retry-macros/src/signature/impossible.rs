//! Types that the signature of no function can have.

use quote::ToTokens;
use syn::visit::{self, Visit};
use syn::{Expr, ExprLit, GenericArgument, Lit, Path, PathArguments, ReturnType, Type};

use super::{Parameter, Role, parts, ungrouped};
use crate::args::Errors;

/// Types of the standard library whose parameters have to have a size.
const CONTAINERS: &[&str] = &[
    "BTreeMap",
    "BTreeSet",
    "BinaryHeap",
    "HashMap",
    "HashSet",
    "LinkedList",
    "Option",
    "Result",
    "Vec",
    "VecDeque",
];

/// The most elements of an array for which serde implements its traits.
const LONGEST_ARRAY: usize = 32;

/// Reports types that cannot be in a signature, or cannot be sent, whatever they stand for. Returns whether the
/// compiler would refuse one of them as well, at each place where the expansion has it: a value without a size,
/// `_`, `!`, or `Self` outside of an `impl`.
pub(super) fn check(
    parameters: &[Parameter],
    output: &ReturnType,
    role: Role,
    errors: &mut Errors,
) -> bool {
    let mut impossible = Impossible {
        errors,
        is_method: !matches!(role, Role::Function { .. }),
        is_sent: true,
        place: Place::Parameter,
        error: match output {
            ReturnType::Type(_, ty) => parts(ty).map(|(_, error)| error),
            ReturnType::Default => None,
        },
        found: false,
    };
    for parameter in parameters {
        impossible.visit_at(Place::Parameter, &parameter.ty);
    }
    impossible.is_sent = role != Role::Constructor;
    match output {
        ReturnType::Type(_, ty) if matches!(ungrouped(ty), Type::Never(_)) => {
            impossible.report(ty, "a call waits for a result; leave the `-> !` out");
        }
        ReturnType::Type(_, ty) => impossible.visit_at(Place::Inside, ty),
        ReturnType::Default => {}
    }
    impossible.found
}

/// Returns the type that owns the value of one that has no size; `None` if the type has a size.
pub(super) fn sized(ty: &Type) -> Option<String> {
    match ungrouped(ty) {
        Type::Path(path) if path.path.is_ident("str") => Some("String".to_owned()),
        Type::Slice(slice) => Some(format!("Vec<{}>", spelled(&slice.elem))),
        Type::TraitObject(object) => Some(format!("Box<{}>", spelled(object))),
        _ => None,
    }
}

/// Returns whether the length of an array is a number that is too large. A constant is left to the compiler.
fn is_too_long(length: &Expr) -> bool {
    let Expr::Lit(ExprLit {
        lit: Lit::Int(number),
        ..
    }) = length
    else {
        return false;
    };
    number
        .base10_parse::<usize>()
        .is_ok_and(|number| number > LONGEST_ARRAY)
}

/// Returns the text of a type as it is usually written.
fn spelled(ty: &impl ToTokens) -> String {
    let mut text = ty.to_token_stream().to_string();
    for (loose, tight) in [
        (" :: ", "::"),
        (" < ", "<"),
        (" >", ">"),
        (" ,", ","),
        ("& ", "&"),
    ] {
        text = text.replace(loose, tight);
    }
    text
}

/// The place of a type.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// It is the whole type of a parameter.
    Parameter,
    /// It is a result, or a part of a type that holds it by value.
    Inside,
    /// A parameter is a reference to it.
    Referred,
    /// It is behind another pointer, or an argument of a type of which nothing is known.
    Behind,
}

struct Impossible<'a> {
    errors: &'a mut Errors,
    /// `Self` has a meaning.
    is_method: bool,
    /// The value goes to another process, by way of serde.
    is_sent: bool,
    place: Place,
    /// The error of the result, which arrives as its text if it cannot be sent.
    error: Option<&'a Type>,
    found: bool,
}

impl Impossible<'_> {
    fn report(&mut self, at: &impl ToTokens, message: impl std::fmt::Display) {
        self.errors.report(at, message);
        self.found = true;
    }

    fn visit_at(&mut self, place: Place, ty: &Type) {
        let outside = std::mem::replace(&mut self.place, place);
        self.visit_type(ty);
        self.place = outside;
    }
}

impl<'ast> Visit<'ast> for Impossible<'_> {
    fn visit_type(&mut self, ty: &'ast Type) {
        if matches!(self.place, Place::Parameter | Place::Inside)
            && let Some(owned) = sized(ty)
        {
            let spelled = spelled(ty);
            let instead = match (self.place, ty) {
                (Place::Parameter, Type::Path(_) | Type::Slice(_)) => format!("&{spelled}"),
                _ => owned,
            };
            let message = format!("`{spelled}` has no size of its own; write `{instead}`");
            return self.report(ty, message);
        }
        match ty {
            Type::Infer(_) => {
                self.report(ty, "the types of a signature have to be written out");
            }
            Type::Never(_) if self.error.is_some_and(|error| std::ptr::eq(error, ty)) => {
                let message = "`!` is not a type of stable Rust; write `std::convert::Infallible`";
                self.report(ty, message);
            }
            Type::Never(_) => {
                let message =
                    "`!` is not a type of stable Rust, and has no value to send; write `()`";
                self.report(ty, message);
            }
            Type::Group(_) | Type::Paren(_) => visit::visit_type(self, ty),
            Type::Reference(reference) => match (self.place, ungrouped(&reference.elem)) {
                (Place::Parameter, Type::TraitObject(_)) => {
                    let message = "a worker cannot know the type behind this `dyn`; name the type";
                    self.report(ty, message);
                }
                (Place::Parameter, elem) => self.visit_at(Place::Referred, elem),
                (_, elem) => self.visit_at(Place::Behind, elem),
            },
            Type::Ptr(pointer) => self.visit_at(Place::Behind, &pointer.elem),
            Type::Slice(slice) => self.visit_at(Place::Inside, &slice.elem),
            Type::Array(array) => {
                if self.is_sent && self.place != Place::Behind && is_too_long(&array.len) {
                    let item = spelled(&array.elem);
                    let message = format!(
                        "serde reads arrays of at most {LONGEST_ARRAY} elements; write `Vec<{item}>`"
                    );
                    self.errors.report(array, message);
                }
                self.visit_at(Place::Inside, &array.elem);
            }
            Type::Tuple(tuple) => {
                for elem in &tuple.elems {
                    self.visit_at(Place::Inside, elem);
                }
            }
            Type::Path(path) => self.visit_path(&path.path),
            // Other types that these are made of are not part of a value.
            _ => {}
        }
    }

    fn visit_path(&mut self, path: &'ast Path) {
        let Some((first, last)) = path.segments.first().zip(path.segments.last()) else {
            return;
        };
        if first.ident == "Self" && !self.is_method {
            self.report(
                &first.ident,
                "`Self` has no meaning outside of an `impl`; name the type",
            );
        }
        let PathArguments::AngleBracketed(arguments) = &last.arguments else {
            return;
        };
        let is_container = CONTAINERS.iter().any(|one| last.ident == one);
        let place = if is_container {
            Place::Inside
        } else {
            Place::Behind
        };
        for argument in &arguments.args {
            if let GenericArgument::Type(ty) = argument {
                self.visit_at(place, ty);
            }
        }
    }
}
