//! The attributes of clap on a parameter of `main`: `#[arg(..)]` and `#[command(..)]`.

use proc_macro2::{Ident, TokenStream, TokenTree};
use quote::{ToTokens, quote};
use syn::ext::IdentExt;
use syn::parse::{Parse, ParseStream};
use syn::punctuated::Punctuated;
use syn::{Attribute, Expr, ExprLit, Lit, Meta, Token, token};

/// The settings with which clap does not name an option after its field.
const NAMELESS: &[&str] = &["id", "skip", "from_global", "flatten", "subcommand"];

/// The settings in `#[arg(..)]` that keep a parameter from being a `--long` option.
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

type List = Punctuated<Setting, Token![,]>;

/// One `key`, `key = value` or `key(..)`.
#[derive(Clone)]
struct Setting {
    key: Ident,
    value: Option<Expr>,
    arguments: Option<TokenTree>,
}

impl Parse for Setting {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let key = input.call(Ident::parse_any)?;
        let is_assigned = input.parse::<Option<Token![=]>>()?.is_some();
        let is_called = !is_assigned && input.peek(token::Paren);
        Ok(Self {
            key,
            value: is_assigned.then(|| input.parse()).transpose()?,
            arguments: is_called.then(|| input.parse()).transpose()?,
        })
    }
}

impl ToTokens for Setting {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        let Self {
            key,
            value,
            arguments,
        } = self;
        let value = value.as_ref().map(|value| quote!(= #value));
        tokens.extend(quote!(#key #value #arguments));
    }
}

impl Setting {
    /// Returns the text of a literal value.
    fn text(&self) -> Option<String> {
        match &self.value {
            Some(Expr::Lit(ExprLit { lit, .. })) => match lit {
                Lit::Str(text) => Some(text.value()),
                Lit::Char(letter) => Some(letter.value().to_string()),
                _ => None,
            },
            _ => None,
        }
    }
}

/// Returns whether an attribute is one of clap, which takes settings.
fn is_claps(attribute: &Attribute) -> bool {
    const CLAPS: &[&str] = &["arg", "command", "clap"];
    CLAPS.iter().any(|name| attribute.path().is_ident(name))
}

/// Returns the settings of an attribute; `None` if clap has to report what is wrong with it.
fn read(attribute: &Attribute) -> Option<List> {
    match &attribute.meta {
        Meta::List(list) if is_claps(attribute) => {
            list.parse_args_with(Punctuated::parse_terminated).ok()
        }
        _ => None,
    }
}

/// The names that clap would make of the name of a parameter.
struct Names {
    id: String,
    /// The name of a `--long` option.
    long: String,
    /// The name of the value in the help, and that of an environment variable.
    value: String,
    /// The letter of a short option.
    short: Option<char>,
}

impl Names {
    fn new(parameter: &Ident) -> Self {
        let id = parameter.unraw().to_string();
        let mut words = vec![String::new()];
        let mut last_is_lower = false;
        for letter in id.chars() {
            if letter == '_' || (last_is_lower && letter.is_uppercase()) {
                words.push(String::new());
            }
            last_is_lower = letter.is_lowercase();
            if let Some(word) = words.last_mut().filter(|_| letter != '_') {
                word.extend(letter.to_lowercase());
            }
        }
        words.retain(|word| !word.is_empty());
        let long = words.join("-");
        Self {
            id,
            value: words.join("_").to_uppercase(),
            short: long.chars().next(),
            long,
        }
    }
}

/// The settings of one parameter.
pub(super) struct Settings {
    names: Names,
    attributes: Vec<(Attribute, Option<List>)>,
}

impl Settings {
    pub(super) fn new(parameter: &Ident, attributes: Vec<Attribute>) -> Self {
        let attributes = attributes.into_iter().map(|attribute| {
            let list = read(&attribute);
            (attribute, list)
        });
        Self {
            names: Names::new(parameter),
            attributes: attributes.collect(),
        }
    }

    fn find(&self, key: &str) -> Option<&Setting> {
        let lists = self.attributes.iter().filter_map(|(_, list)| list.as_ref());
        lists.flatten().find(|setting| setting.key == key)
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.find(key).is_some()
    }

    /// Returns whether clap names the option after its field.
    fn is_named_after_field(&self) -> bool {
        !NAMELESS.iter().any(|key| self.has(key))
    }

    /// Returns whether the parameter is an option with this id or this long name.
    pub(super) fn is_called(&self, name: &str) -> bool {
        let names = &self.names;
        let id = self
            .find("id")
            .map_or(Some(names.id.clone()), Setting::text);
        let long = match self.find("long") {
            Some(Setting { value: Some(_), .. }) => self.find("long").and_then(Setting::text),
            _ if self.has("id") => id.clone(),
            _ => Some(names.long.clone()),
        };
        let is_option = self.has("id") || self.is_named_after_field();
        is_option && [id, long].iter().flatten().any(|found| found == name)
    }

    /// Returns the place of the letter of the short option, if it is this one.
    pub(super) fn short(&self, letter: char) -> Option<&Ident> {
        let short = self.find("short")?;
        let found = match &short.value {
            Some(_) => short.text()?.chars().next(),
            None => self.names.short,
        };
        (found == Some(letter)).then_some(&short.key)
    }

    /// Returns the attributes for a field that is not called like the parameter.
    pub(super) fn for_field(&self) -> Vec<TokenStream> {
        let is_long = !OWN_FORM.iter().any(|key| self.has(key));
        let mut attributes = Vec::new();
        let is_named_after_field = self.is_named_after_field();
        let Names {
            id,
            long,
            value,
            short,
        } = &self.names;
        if is_named_after_field {
            attributes.push(quote!(#[arg(id = #id, value_name = #value)]));
        }
        for (attribute, list) in &self.attributes {
            let Some(list) = list else {
                attributes.push(attribute.to_token_stream());
                continue;
            };
            let mut kept = List::new();
            for mut setting in list.iter().cloned() {
                // An option without `long` is positional for clap; the word is ours.
                if setting.key == "positional" {
                    continue;
                }
                if is_named_after_field && setting.value.is_none() {
                    let place = setting.key.span();
                    setting.value = match setting.key.to_string().as_str() {
                        "long" => Some(syn::parse_quote_spanned!(place=> #long)),
                        "short" => Some(syn::parse_quote_spanned!(place=> #short)),
                        "env" => Some(syn::parse_quote_spanned!(place=> #value)),
                        _ => None,
                    };
                }
                kept.push(setting);
            }
            let path = attribute.path();
            if !kept.is_empty() {
                attributes.push(quote!(#[#path(#kept)]));
            }
        }
        if is_long && is_named_after_field {
            attributes.push(quote!(#[arg(long = #long)]));
        } else if is_long {
            attributes.push(quote!(#[arg(long)]));
        }
        attributes
    }
}
