//! `#[local_entrypoint]`: the worker check, then the command line, then the user's `main` in `run`.

use proc_macro2::{Span, TokenStream, TokenTree};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{Attribute, FnArg, Meta, Pat, Type, Visibility};

use crate::args::Errors;
use crate::fallback;
use crate::item::{self, Function};
use crate::{policy, signature};

/// The words in `#[arg(..)]` that keep a parameter from being a `--long` option.
const OWN_FORM: &[&str] = &[
    "long",
    "index",
    "last",
    "trailing_var_arg",
    "positional",
    "skip",
    "flatten",
    "subcommand",
];

/// The words in `#[arg(..)]` that say how the value of a parameter is made, so that its type is not checked.
const SAYS_HOW: &[&str] = &["value_parser", "action", "skip"];

pub(crate) fn local_entrypoint(attribute: TokenStream, item: TokenStream) -> TokenStream {
    let mut errors = Errors::default();
    let message =
        "#[local_entrypoint] takes no option but `crate`; the parameters of `main` are its options";
    let private = policy::only_module(attribute, message, &mut errors);
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
        return expand(main, &options, &private);
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

/// A parameter of `main`, which is an option of the program, or several.
struct Opt {
    name: syn::Ident,
    ty: Type,
    attributes: Vec<TokenStream>,
    form: Form,
}

/// The way in which the command line makes a parameter.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// From the text of one option.
    Text,
    /// From the text of one option, which is one of several names.
    Value,
    /// From several options: `#[command(flatten)]`.
    Options,
    /// From a subcommand: `#[command(subcommand)]`.
    Subcommand,
    /// As an attribute says.
    Own,
}

impl Form {
    fn of(words: &[String]) -> Self {
        let says = |word: &str| words.iter().any(|found| found == word);
        if says("flatten") {
            Self::Options
        } else if says("subcommand") {
            Self::Subcommand
        } else if SAYS_HOW.iter().any(|word| says(word)) {
            Self::Own
        } else if says("value_enum") {
            Self::Value
        } else {
            Self::Text
        }
    }

    /// Returns the generic types that clap knows by name in this form.
    fn outer(self) -> &'static [&'static str] {
        match self {
            Self::Text | Self::Value => &["Option", "Vec"],
            Self::Options | Self::Subcommand => &["Option"],
            Self::Own => &[],
        }
    }

    /// Returns the question whether a type has what this form takes, and the message if not.
    fn check(self, ty: &Type, private: &TokenStream) -> (TokenStream, TokenStream) {
        let text = ty.to_token_stream().to_string().replace(' ', "");
        let holds = |probe: &str| {
            let probe = format_ident!("{}", probe);
            quote! {{
                use #private::Otherwise as _;
                #private::#probe::<#ty>::IS
            }}
        };
        match self {
            Self::Text | Self::Own => {
                let subcommand = format!(
                    "`{text}` is a set of subcommands: write `#[command(subcommand)]` before this parameter"
                );
                let options = format!(
                    "`{text}` is a set of options: write `#[command(flatten)]` before this parameter"
                );
                let other = format!(
                    "an option cannot be made of `{text}`: implement `Clone` and `FromStr` for it, derive \
                     `Clone` and `clap::ValueEnum`, or take a `String`"
                );
                let message = quote!(#private::misplaced!(#ty, #subcommand, #options, #other));
                (quote!(#private::can_be_parsed!(#ty)), message)
            }
            Self::Value => {
                let message = format!(
                    "`{text}` is no list of names: add `#[derive(Clone, clap::ValueEnum)]` to it"
                );
                (holds("IsEnum"), message.to_token_stream())
            }
            Self::Options => {
                let message =
                    format!("`{text}` is no set of options: add `#[derive(clap::Args)]` to it");
                (holds("IsArgs"), message.to_token_stream())
            }
            Self::Subcommand => {
                let message = format!(
                    "`{text}` is no set of subcommands: add `#[derive(clap::Subcommand)]` to it"
                );
                (holds("IsSubcommand"), message.to_token_stream())
            }
        }
    }
}

impl Opt {
    /// Returns the type for clap. If it lacks what its form takes, a constant that cannot be evaluated
    /// reports that. A type that depends on the constant is an error already, so that the compiler does not
    /// report the traits that clap looks for.
    fn checked(&self, ty: &Type, private: &TokenStream, checks: &mut TokenStream) -> Type {
        let is_flag = matches!(ty, Type::Path(path) if path.path.is_ident("bool"));
        if self.form == Form::Own || is_flag || signature::is_unit(ty) {
            return ty.clone();
        }
        for outer in self.form.outer() {
            if let Some([inner]) = signature::generic_arguments(ty, outer).as_deref() {
                let inner = self.checked(inner, private, checks);
                let mut ty = ty.clone();
                signature::replace_argument(&mut ty, inner);
                return ty;
            }
        }
        let span = ty.span();
        let private = crate::tokens::respanned(private, span);
        let (holds, message) = self.form.check(ty, &private);
        let check = self.name.unraw().to_string().to_uppercase();
        let check = format_ident!("OPTION_{}", check);
        checks.extend(quote_spanned! {span=>
            #[allow(non_upper_case_globals)]
            const #check: bool = #private::check_option(#holds, #message);
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
            "main" => ASYNC_MAIN,
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
    if let Some(start) = made_by_tokio(main) {
        errors.push(syn::Error::new(start, ASYNC_MAIN));
    }
    let inputs = main.sig.inputs.iter_mut();
    inputs
        .filter_map(|input| errors.keep(option(input)))
        .collect()
}

/// The message about `#[tokio::main]`, above or below this attribute.
const ASYNC_MAIN: &str = "an async main already runs on tokio; remove this line";

/// Returns the place of `#[tokio::main]` if that has made the body: `let body = async { .. };`, and at the
/// end `.block_on(body)`. Above this attribute it is expanded first, and leaves nothing else behind.
fn made_by_tokio(main: &Function) -> Option<Span> {
    let mut tokens = main.block.stream().into_iter();
    let first = tokens.next()?;
    let starts = [
        Some(first.clone()),
        tokens.next(),
        tokens.next(),
        tokens.next(),
    ];
    let starts = starts.iter().flatten().map(ToString::to_string);
    let ends = tokens.last()?.to_string().replace(' ', "");
    let is_made = starts.eq(["let", "body", "=", "async"])
        && ends.contains("runtime::Builder")
        && ends.contains(".block_on(body)");
    is_made.then(|| first.span())
}

fn expand(mut main: Function, options: &[Opt], private: &TokenStream) -> TokenStream {
    let names: Vec<_> = options.iter().map(|option| &option.name).collect();
    let mut checks = TokenStream::new();
    let fields: Vec<_> = options
        .iter()
        .map(|option| {
            let Opt {
                name,
                ty,
                attributes,
                ..
            } = option;
            let ty = option.checked(ty, private, &mut checks);
            quote!(#(#attributes)* #name: #ty)
        })
        .collect();
    let (docs, attributes): (Vec<Attribute>, Vec<Attribute>) = main
        .attrs
        .drain(..)
        .partition(|attribute| attribute.path().is_ident("doc"));
    let vis = std::mem::replace(&mut main.vis, Visibility::Inherited);
    let output = &main.sig.output;
    let run = if main.sig.asyncness.is_some() {
        quote!(#private::run_async(main(#(#names),*)))
    } else if names.is_empty() {
        quote!(#private::run(main))
    } else {
        quote!(#private::run(move || main(#(#names),*)))
    };
    let arguments = (!fields.is_empty()).then(|| {
        // The derive names `clap` itself, which the user's crate need not depend on.
        quote! {
            #private::require_cli! {}
            let __Arguments { #(#names),* } = {
                use #private::clap;
                <__Arguments as clap::Parser>::parse()
            };
        }
    });
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
        #vis fn main() #output {
            #private::init();
            #definition
            #arguments
            #[allow(clippy::items_after_statements)]
            #main
            #run
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
    let words = words(&attributes);
    let has_own_form = words.iter().any(|word| OWN_FORM.contains(&word.as_str()));
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
        form: Form::of(&words),
    })
}

/// Returns the words in the attributes of clap.
fn words(attributes: &[Attribute]) -> Vec<String> {
    const CLAPS: &[&str] = &["arg", "command", "clap"];
    let mut words = Vec::new();
    for attribute in attributes {
        if let Meta::List(list) = &attribute.meta
            && CLAPS.iter().any(|name| list.path.is_ident(name))
        {
            let tokens = list.tokens.clone().into_iter();
            words.extend(tokens.filter_map(|token| match token {
                TokenTree::Ident(ident) => Some(ident.to_string()),
                _ => None,
            }));
        }
    }
    words
}

/// Returns whether an attribute is `#[arg(positional)]`, which is ours: an option without `long` is
/// positional for clap.
fn is_positional(attribute: &Attribute) -> bool {
    matches!(&attribute.meta, Meta::List(list)
        if list.path.is_ident("arg") && list.tokens.to_string() == "positional")
}
