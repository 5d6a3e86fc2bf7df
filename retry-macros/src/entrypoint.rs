//! `#[local_entrypoint]`: the worker check, then the command line, then the user's `main` in `run`.

mod settings;

use std::collections::BTreeMap;

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Attribute, FnArg, Ident, Pat, Type, Visibility};

use crate::args::Errors;
use crate::fallback;
use crate::item::{self, Function};
use crate::{policy, signature};
use settings::Settings;

/// The words in `#[arg(..)]` that say how the value of a parameter is made, so that its type is not checked.
const SAYS_HOW: &[&str] = &["value_parser", "action", "skip"];

pub(crate) fn local_entrypoint(attribute: TokenStream, item: TokenStream) -> TokenStream {
    entrypoint(attribute, item, cfg!(feature = "cli"))
}

fn entrypoint(attribute: TokenStream, item: TokenStream, has_cli: bool) -> TokenStream {
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
    let commands: Vec<Attribute> = main
        .attrs
        .extract_if(.., |attribute| is_of_command(attribute))
        .collect();
    if let Some(first) = commands.first().filter(|_| main.sig.inputs.is_empty()) {
        let message = "a `main` without parameters reads no command line; remove this line";
        errors.report(first, message);
    }
    check_shorts(&options, &commands, &mut errors);
    if let Some(first) = main.sig.inputs.first().filter(|_| !has_cli) {
        let message = "the parameters of `main` are the program's options, which needs the feature `cli` of \
                       retry-runtime";
        errors.report(first, message);
    }
    let Some(errors) = errors.to_compile_error() else {
        return expand(main, &options, &commands, &private);
    };
    main.sig.constness = None;
    if main.sig.receiver().is_some() {
        // The compiler refuses a `self` outside of an `impl`.
        quote! {
            fn main() {}
            #errors
        }
    } else if main.sig.ident == "main" {
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
    ty: Type,
    /// The conditions under which the parameter exists.
    cfgs: Vec<Attribute>,
    form: Form,
    settings: Settings,
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
    fn of(settings: &Settings) -> Self {
        if settings.has("flatten") {
            Self::Options
        } else if settings.has("subcommand") {
            Self::Subcommand
        } else if SAYS_HOW.iter().any(|word| settings.has(word)) {
            Self::Own
        } else if settings.has("value_enum") {
            Self::Value
        } else {
            Self::Text
        }
    }

    /// Returns the names of the types around that of one value, from the outside, and the type of one value.
    /// clap knows these types by their names alone, so that a parser of one's own may return a whole
    /// `std::vec::Vec`; without one that would be the bytes of the text.
    fn split(self, mut ty: &Type) -> (Vec<&'static str>, &Type) {
        let known: &[&[&str]] = match self {
            Self::Text | Self::Value | Self::Own => &[&["Option", "Vec"], &["Option", "Vec"]],
            Self::Options | Self::Subcommand => &[&["Option"]],
        };
        let mut outer = Vec::new();
        for names in known {
            let found = names
                .iter()
                .find_map(|name| Some((*name, inner(ty, name, self != Self::Own)?)));
            let Some((name, inner)) = found else { break };
            outer.push(name);
            ty = inner;
            if name == "Vec" {
                break;
            }
        }
        (outer, ty)
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
                let unshared = format!(
                    "the value of an option is `Send` and `Sync`, and `{text}` is not: take a `String`, and make \
                     it of that"
                );
                let message = quote! {
                    #private::misplaced!(#ty, #subcommand, #options, #unshared, #other)
                };
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
    /// Returns the definition of the type alias `value` for clap, and the type of the field, in which clap
    /// finds `Option` and `Vec` by their names. If the type lacks what its form takes, the constant `check`
    /// cannot be evaluated and reports that. A type that depends on the constant is an error already, so that
    /// the compiler does not report the traits that clap looks for.
    fn value(&self, value: &Ident, check: &Ident, private: &TokenStream) -> (TokenStream, Type) {
        let whole = signature::ungrouped(&self.ty);
        let is_flag = matches!(whole, Type::Path(path) if path.path.is_ident("bool"));
        if is_flag || signature::is_unit(whole) {
            return (TokenStream::new(), whole.clone());
        }
        let (ty, field) = self.parts(value);
        let span = ty.span();
        let cfgs = &self.cfgs;
        if self.form == Form::Own {
            return (quote_spanned!(span=> #(#cfgs)* type #value = #ty;), field);
        }
        let private = crate::tokens::respanned(private, span);
        let (holds, message) = self.form.check(ty, &private);
        let definition = quote_spanned! {span=>
            #(#cfgs)*
            const #check: bool = #private::check_option(#holds, #message);
            #(#cfgs)*
            type #value = <#ty as #private::CommandLine<{ #check }>>::Value;
        };
        (definition, field)
    }

    /// Returns the condition under which the parameter exists.
    fn condition(&self) -> Option<TokenStream> {
        let conditions = self
            .cfgs
            .iter()
            .filter_map(|cfg| cfg.meta.require_list().ok());
        let conditions: Vec<_> = conditions.map(|list| &list.tokens).collect();
        (!conditions.is_empty()).then(|| quote!(all(#(#conditions),*)))
    }

    /// Returns the type of one value, and the whole type with `value` in its place.
    fn parts<'a>(&'a self, value: &Ident) -> (&'a Type, Type) {
        let (outer, ty) = self.form.split(&self.ty);
        let span = ty.span();
        let field = syn::parse_quote_spanned!(span=> #value);
        let field = outer.iter().rev().fold(field, |inner: Type, outer| {
            let outer = Ident::new(outer, span);
            syn::parse_quote_spanned!(span=> #outer<#inner>)
        });
        (ty, field)
    }
}

/// Returns the type between the angle brackets of one with that name, which may be written with its path in
/// the standard library if `with_path` is true.
fn inner<'a>(ty: &'a Type, name: &str, with_path: bool) -> Option<&'a Type> {
    let Type::Path(path) = signature::ungrouped(ty) else {
        return None;
    };
    let first = &path.path.segments.first()?.ident;
    let is_alone = path.path.segments.len() == 1 && path.path.leading_colon.is_none();
    let is_known =
        is_alone || (with_path && ["std", "core", "alloc"].iter().any(|name| first == name));
    match signature::generic_arguments(ty, name)?[..] {
        [inner] if is_known && path.qself.is_none() => Some(inner),
        _ => None,
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
    if let Some(keyword) = &main.sig.unsafety {
        let message = "`main` cannot be `unsafe`: use an `unsafe` block in it";
        errors.report(keyword, message);
    }
    if let Some(keyword) = &main.sig.constness {
        errors.report(keyword, "`main` cannot be `const`; remove the word");
    }
    if let Some(abi) = &main.sig.abi {
        errors.report(abi, "`main` cannot be `extern`; remove this");
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

fn expand(
    mut main: Function,
    options: &[Opt],
    commands: &[Attribute],
    private: &TokenStream,
) -> TokenStream {
    let (docs, attributes): (Vec<Attribute>, Vec<Attribute>) = main
        .attrs
        .drain(..)
        .partition(|attribute| attribute.path().is_ident("doc"));
    let vis = std::mem::replace(&mut main.vis, Visibility::Inherited);
    let output = &main.sig.output;
    let arguments = (!options.is_empty()).then(|| arguments(&docs, options, commands, private));
    let run = calls(options).into_iter().map(|(condition, arguments)| {
        let run = if main.sig.asyncness.is_some() {
            quote!(#private::run_async(main(#(#arguments),*)))
        } else if options.is_empty() {
            quote!(#private::run(main))
        } else {
            quote!(#private::run(move || main(#(#arguments),*)))
        };
        match condition {
            Some(condition) => quote!(#[cfg(#condition)] { #run }),
            None => run,
        }
    });
    quote! {
        #(#docs)*
        #(#attributes)*
        #vis fn main() #output {
            #private::init();
            #arguments
            #[allow(clippy::items_after_statements)]
            #main
            #(#run)*
        }
    }
}

/// The options that clap adds, with their letters and the settings that remove them.
const BUILT_IN: &[(&str, char, &str)] = &[
    ("help", 'h', "disable_help_flag"),
    ("version", 'V', "disable_version_flag"),
];

/// Returns whether an attribute of `main` is about its command line.
fn is_of_command(attribute: &Attribute) -> bool {
    ["command", "clap", "group"]
        .iter()
        .any(|name| attribute.path().is_ident(name))
}

/// Reports each option with a letter that one of clap's own options has.
fn check_shorts(options: &[Opt], commands: &[Attribute], errors: &mut Errors) {
    for (name, letter, disable) in BUILT_IN {
        let is_removed = options.iter().any(|option| option.settings.is_called(name))
            || commands
                .iter()
                .any(|command| command.to_token_stream().to_string().contains(disable));
        let same = options
            .iter()
            .filter_map(|option| option.settings.short(*letter));
        for place in same.filter(|_| !is_removed) {
            let message = format!(
                "`-{letter}` is the letter of `--{name}`: write another one, as in `short = 'x'`"
            );
            errors.report(place, message);
        }
    }
}

/// Returns the name of the field for a parameter. It differs from the name of the parameter, which as a
/// pattern in the code of clap would mean a constant of that name.
fn field(index: usize) -> Ident {
    format_ident!("__argument{index}")
}

/// Returns the statement that parses the command line. Its blocks contain all that is generated, so that the
/// user's `main` does not see it: the outer one has the parameters' types, and the inner one the name `clap`,
/// which the derive refers to and which the types may use for something else.
fn arguments(
    docs: &[Attribute],
    options: &[Opt],
    commands: &[Attribute],
    private: &TokenStream,
) -> TokenStream {
    let replaced = BUILT_IN.iter().flat_map(|(name, _, disable)| {
        let disable = Ident::new(disable, Span::call_site());
        let same = options
            .iter()
            .filter(|option| option.settings.is_called(name));
        same.map(move |option| {
            let condition = option.condition().unwrap_or_else(|| quote!(all()));
            quote!(#[cfg_attr(#condition, command(#disable = true))])
        })
    });
    let mut definitions = TokenStream::new();
    let mut fields = Vec::new();
    for (index, option) in options.iter().enumerate() {
        let name = field(index);
        let value = format_ident!("__Value{index}");
        // The compiler's message contains this name.
        let check = format_ident!("OPTION_{index}__");
        let (definition, ty) = option.value(&value, &check, private);
        definitions.extend(definition);
        let (cfgs, attributes) = (&option.cfgs, option.settings.for_field());
        fields.push(quote!(#(#cfgs)* #(#attributes)* #name: #ty));
    }
    quote! {
        let __arguments = {
            #definitions
            {
                use #private::clap;
                // The derive refers to these by their names, for which the user may have something else.
                #[allow(unused_imports, redundant_imports)]
                use ::std::{
                    format,
                    prelude::v1::{
                        Clone, Default, From, Into, Iterator, None, Option, Some, String, ToString, Vec,
                    },
                };
                #(#docs)*
                #[derive(clap::Parser)]
                #[command(version, after_help = #private::ABOUT_VARIABLES)]
                #(#replaced)*
                #(#commands)*
                #[allow(clippy::all, clippy::pedantic)]
                struct __Arguments { #(#fields),* }
                <__Arguments as clap::Parser>::parse()
            }
        };
    }
}

/// Returns the arguments that are passed to `main`, for each set of parameters that `#[cfg]` may leave, together
/// with the condition of that set. An argument of a call cannot have a `#[cfg]` itself.
fn calls(options: &[Opt]) -> Vec<(Option<TokenStream>, Vec<TokenStream>)> {
    let mut conditions = BTreeMap::new();
    for condition in options.iter().filter_map(Opt::condition) {
        conditions.insert(condition.to_string(), condition);
    }
    let sets = 0..1_usize << conditions.len();
    let call = |set: usize| {
        let holds = |place: usize| set & 1 << place != 0;
        let all = conditions.values().enumerate().map(|(place, condition)| {
            if holds(place) {
                condition.clone()
            } else {
                quote!(not(#condition))
            }
        });
        let all: Vec<_> = all.collect();
        let is_there = |option: &Opt| {
            let Some(condition) = option.condition() else {
                return true;
            };
            let text = condition.to_string();
            conditions
                .keys()
                .position(|one| *one == text)
                .is_some_and(holds)
        };
        let arguments = options
            .iter()
            .enumerate()
            .filter(|(_, option)| is_there(option));
        let arguments = arguments.map(|(index, option)| {
            // The compiler reports here that a type is not the one that clap took it for.
            let place = Span::call_site().located_at(option.ty.span());
            let field = Ident::new(&field(index).to_string(), place);
            quote_spanned!(place=> __arguments.#field)
        });
        let condition = (!all.is_empty()).then(|| quote!(all(#(#all),*)));
        (condition, arguments.collect())
    };
    sets.map(call).collect()
}

/// Returns one parameter as an option, and takes the attributes for clap away.
fn option(input: &mut FnArg) -> syn::Result<Opt> {
    let FnArg::Typed(typed) = input else {
        return Err(syn::Error::new_spanned(
            input,
            "`main` has no `self`: it belongs to no type; remove it",
        ));
    };
    let (own, claps) = typed.attrs.drain(..).partition(stays);
    typed.attrs = own;
    let Pat::Ident(name) = &*typed.pat else {
        let message = "a parameter of `main` needs a name, which is that of its option";
        return Err(syn::Error::new_spanned(&typed.pat, message));
    };
    if let Type::Reference(_) = &*typed.ty {
        let message = "an option owns its value; take `String` or `PathBuf` instead";
        return Err(syn::Error::new_spanned(&typed.ty, message));
    }
    let settings = Settings::new(&name.ident, claps);
    let form = Form::of(&settings);
    let (_, one) = form.split(&typed.ty);
    let is_list = |name: &&str| signature::generic_arguments(one, name).is_some();
    if matches!(form, Form::Text | Form::Value) && ["Option", "Vec"].iter().any(is_list) {
        return Err(syn::Error::new_spanned(one, UNKNOWN_OUTER));
    }
    Ok(Opt {
        ty: (*typed.ty).clone(),
        cfgs: typed
            .attrs
            .iter()
            .filter(|attribute| attribute.path().is_ident("cfg"))
            .cloned()
            .collect(),
        form,
        settings,
    })
}

/// The message about an `Option` or `Vec` where clap does not look for one.
const UNKNOWN_OUTER: &str = "an option is a `T`, `Option<T>`, `Vec<T>`, `Option<Vec<T>>` or `Option<Option<T>>` of the \
                             standard library, and `T` is none of these";

/// Returns whether an attribute belongs to the parameter of the function, and not to the option.
fn stays(attribute: &Attribute) -> bool {
    const KEPT: &[&str] = &["cfg", "allow", "expect", "warn", "deny", "forbid"];
    KEPT.iter().any(|name| attribute.path().is_ident(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_of_main_need_the_feature() {
        let expanded = |item: &str, has_cli| {
            let item = item.parse().expect("the case consists of tokens");
            entrypoint(TokenStream::new(), item, has_cli).to_string()
        };
        let main = "fn main(#[arg(long)] count: u64, paths: Vec<String>) {}";
        let refused = expanded(main, false);
        assert_eq!(refused.matches("needs the feature `cli`").count(), 1);
        assert!(
            !refused.contains("clap") && !refused.contains("arg"),
            "{refused}"
        );
        assert!(!expanded(main, true).contains("needs the feature"));
        assert!(!expanded("fn main() {}", false).contains("needs the feature"));
    }
}
