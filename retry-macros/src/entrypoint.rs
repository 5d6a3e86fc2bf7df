//! `#[local_entrypoint]`: the worker check, then the command line, then the user's `main`.

use proc_macro2::TokenStream;
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{Attribute, FnArg, Meta, Pat, Type};

use crate::args::Errors;
use crate::fallback;
use crate::item::{self, Function};
use crate::signature;

/// The arguments of `#[arg(..)]` that keep a parameter from being a `--long` option.
const OWN_FORM: &[&str] = &["long", "index", "last", "trailing_var_arg", "positional"];

pub(crate) fn local_entrypoint(attribute: TokenStream, item: TokenStream) -> TokenStream {
    let mut errors = Errors::default();
    if !attribute.is_empty() {
        let message = "#[local_entrypoint] takes no arguments; those of `main` are its options";
        errors.report(&attribute, message);
    }
    let mut main: Function = match syn::parse2(item.clone()) {
        Ok(main) => main,
        Err(error) if item::looks_like("fn", &item) => return fallback::item(&error, &item),
        Err(_) => {
            errors.report(&item, "#[local_entrypoint] belongs on `fn main`");
            let errors = errors.to_compile_error();
            return quote!(#item #errors);
        }
    };
    let options = check(&mut main, &mut errors);
    let Some(errors) = errors.to_compile_error() else {
        return expand(main, &options);
    };
    if main.sig.ident == "main" {
        // The compiler refuses a `main` with parameters, so it gets another one.
        quote! {
            #[allow(dead_code)]
            fn main() { #main }
            #errors
        }
    } else {
        quote!(#main #errors)
    }
}

/// A parameter of `main`, which is an option of the program.
struct Opt {
    name: syn::Ident,
    ty: Type,
    attributes: Vec<TokenStream>,
}

impl Opt {
    /// Returns the type for clap. If it cannot be made of text and no attribute says how else, a constant
    /// that cannot be evaluated reports that. A type that depends on the constant is an error already, so
    /// that the compiler does not report the traits that clap looks for.
    fn checked(&self, ty: &Type, private: &TokenStream, checks: &mut TokenStream) -> Type {
        const SAYS_HOW: &[&str] = &[
            "value_parser",
            "value_enum",
            "action",
            "flatten",
            "subcommand",
        ];
        let says_how = self.attributes.iter().any(|attribute| {
            let text = attribute.to_string();
            SAYS_HOW.iter().any(|word| text.contains(word))
        });
        let is_flag = matches!(ty, Type::Path(path) if path.path.is_ident("bool"));
        if says_how || is_flag || signature::is_unit(ty) {
            return ty.clone();
        }
        // Clap knows these by name.
        for outer in ["Option", "Vec"] {
            if let Some([inner]) = signature::generic_arguments(ty, outer).as_deref() {
                let inner = self.checked(inner, private, checks);
                let mut ty = ty.clone();
                signature::replace_argument(&mut ty, inner);
                return ty;
            }
        }
        let span = ty.span();
        let private = crate::tokens::respanned(private, span);
        let text = ty.to_token_stream().to_string().replace(' ', "");
        let message = format!(
            "an option cannot be made of `{text}`: implement `Clone` and `FromStr` for it, derive \
             `Clone` and `clap::ValueEnum`, or take a `String`"
        );
        let check = self.name.unraw().to_string().to_uppercase();
        let check = format_ident!("OPTION_{}", check);
        checks.extend(quote_spanned! {span=>
            #[allow(non_upper_case_globals)]
            const #check: bool =
                #private::check_option(#private::can_be_parsed!(#ty), #message);
        });
        syn::parse_quote_spanned!(span=> <#ty as #private::CommandLine<{ #check }>>::Value)
    }
}

fn check(main: &mut Function, errors: &mut Errors) -> Vec<Opt> {
    main.attrs.retain(|attribute| {
        let Some(last) = attribute.path().segments.last() else {
            return true;
        };
        let message = match last.ident.to_string().as_str() {
            "function" => "`main` cannot be a #[function]: it calls them; remove this line",
            // The attribute of tokio or of another async runtime.
            "main" => "#[local_entrypoint] starts a tokio runtime for an `async fn main`; remove this line",
            "local_entrypoint" => "#[local_entrypoint] is written twice; remove this line",
            _ => return true,
        };
        errors.report(attribute, message);
        false
    });
    if main.sig.ident != "main" {
        errors.report(&main.sig.ident, "#[local_entrypoint] belongs on `fn main`");
    }
    if !main.sig.generics.params.is_empty() {
        errors.report(&main.sig.generics, "`main` cannot be generic");
    }
    let inputs = main.sig.inputs.iter_mut();
    inputs
        .filter_map(|input| errors.keep(option(input)))
        .collect()
}

fn expand(mut main: Function, options: &[Opt]) -> TokenStream {
    let private = crate::tokens::private_module(&quote!(::retry_runtime));
    let names: Vec<_> = options.iter().map(|option| &option.name).collect();
    let mut checks = TokenStream::new();
    let fields: Vec<_> = options
        .iter()
        .map(|option| {
            let Opt {
                name,
                ty,
                attributes,
            } = option;
            let ty = option.checked(ty, &private, &mut checks);
            quote!(#(#attributes)* #name: #ty)
        })
        .collect();
    let (docs, attributes): (Vec<Attribute>, Vec<Attribute>) = main
        .attrs
        .drain(..)
        .partition(|attribute| attribute.path().is_ident("doc"));
    let output = &main.sig.output;
    let call = if main.sig.asyncness.is_some() {
        quote!(#private::block_on_main(main(#(#names),*)))
    } else {
        quote!(main(#(#names),*))
    };
    let arguments = if fields.is_empty() {
        let about = about(&docs);
        quote!(#private::no_arguments(::core::env!("CARGO_PKG_NAME"), #about);)
    } else {
        // The derive names `clap` itself, which the user's crate need not depend on.
        quote! {
            #private::require_cli! {}
            let __Arguments { #(#names),* } = {
                use #private::clap;
                <__Arguments as clap::Parser>::parse()
            };
        }
    };
    let definition = (!fields.is_empty()).then(|| {
        quote! {
            use #private::clap;
            #checks
            #(#docs)*
            #[derive(clap::Parser)]
            #[command(version, after_help = #private::ABOUT_VARIABLES)]
            #[allow(non_camel_case_types, clippy::all, clippy::pedantic)]
            struct __Arguments { #(#fields),* }
        }
    });
    quote! {
        #(#docs)*
        #(#attributes)*
        fn main() #output {
            #private::init();
            #private::begin();
            #definition
            #arguments
            #[allow(clippy::items_after_statements)]
            #main
            let __result = #call;
            #private::finish();
            __result
        }
    }
}

/// Returns one parameter as an option, and takes its attributes away.
fn option(input: &mut FnArg) -> syn::Result<Opt> {
    let FnArg::Typed(typed) = input else {
        return Err(syn::Error::new_spanned(input, "`main` has no `self`"));
    };
    let Pat::Ident(name) = &*typed.pat else {
        let message = "a parameter of `main` needs a name, which is that of its option";
        return Err(syn::Error::new_spanned(&typed.pat, message));
    };
    if let Type::Reference(_) = &*typed.ty {
        let message = "an option owns its value; take `String` or `PathBuf` instead";
        return Err(syn::Error::new_spanned(&typed.ty, message));
    }
    let name = name.ident.clone();
    let name = format_ident!("{}", name, span = name.span());
    let attributes: Vec<Attribute> = typed.attrs.drain(..).collect();
    let has_own_form = attributes.iter().any(|attribute| {
        let Meta::List(list) = &attribute.meta else {
            return false;
        };
        list.path.is_ident("arg")
            && list.tokens.clone().into_iter().any(|token| {
                matches!(&token, proc_macro2::TokenTree::Ident(ident)
                    if OWN_FORM.iter().any(|form| ident == form))
            })
    });
    let mut passed: Vec<TokenStream> = attributes
        .iter()
        .filter(|attribute| !is_positional(attribute))
        .map(|attribute| quote!(#attribute))
        .collect();
    if !has_own_form {
        passed.push(quote!(#[arg(long)]));
    }
    Ok(Opt {
        name,
        ty: (*typed.ty).clone(),
        attributes: passed,
    })
}

/// Returns whether an attribute is `#[arg(positional)]`, which is ours: an option without `long` is
/// positional for clap.
fn is_positional(attribute: &Attribute) -> bool {
    matches!(&attribute.meta, Meta::List(list)
        if list.path.is_ident("arg") && list.tokens.to_string() == "positional")
}

/// Returns the doc comment of `main` as one text.
fn about(docs: &[Attribute]) -> String {
    let lines: Vec<String> = docs
        .iter()
        .filter_map(|doc| match &doc.meta {
            Meta::NameValue(pair) => match &pair.value {
                syn::Expr::Lit(syn::ExprLit {
                    lit: syn::Lit::Str(text),
                    ..
                }) => Some(text.value().trim().to_owned()),
                _ => None,
            },
            _ => None,
        })
        .collect();
    lines.join("\n")
}
