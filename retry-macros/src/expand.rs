//! The expansion of `#[function]`.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::Type;
use syn::ext::IdentExt;
use syn::spanned::Spanned;

use crate::args::{self, Errors};
use crate::conditional;
use crate::fallback;
use crate::item::{self, Function};
use crate::place::{self, Block};
use crate::policy::{self, Policy};
use crate::signature::{self, Role, Signature, Verdict};

/// Expands `#[function]`, or falls back.
pub(crate) fn function(attribute: TokenStream, item: TokenStream) -> TokenStream {
    let mut function: Function = match syn::parse2(item.clone()) {
        Ok(function) => function,
        Err(error) if item::looks_like("fn", &item) => return fallback::item(&error, &item),
        Err(_) => {
            let message = "#[function] belongs on a function";
            let error = syn::Error::new_spanned(&item, message);
            return fallback::item(&error, &item);
        }
    };
    let mut errors = Errors::default();
    let args = args::parse(attribute.clone(), &mut errors);
    if let Some(either) = conditional::function(&function) {
        let runtime = policy::runtime(&args);
        return either.below(&quote!(#runtime::function), &attribute);
    }
    item::check(&mut function, &mut errors);
    let private = policy::module(&args);
    let policy = policy::check(&args, &function.sig, &private, &mut errors);
    let role = Role::Function {
        has_setup: policy::mentions(&args, "setup"),
    };
    let mut wrong = Errors::default();
    let (signature, verdict) = signature::check(&function.sig, role, &policy, &mut wrong);
    let has_self = function.sig.receiver().is_some();
    let block = place::block();
    if block == Some(Block::Foreign) {
        let message = "a #[function] needs a body";
        let error = syn::Error::new_spanned(&function.sig.ident, message);
        return fallback::item(&error, &item);
    }
    // A function with a `self` has been refused already.
    if block.is_some() && !has_self {
        errors.report(&function.sig.ident, signature::METHOD);
    } else {
        errors.append(wrong);
    }
    let Some(first) = errors.first() else {
        return Expansion::new(&function, &signature, &policy, &private).whole();
    };
    let item = match verdict {
        // The compiler would refuse its `self` as well.
        _ if has_self && block.is_none() => fallback::name(&function, &first),
        _ if has_self => function.to_token_stream(),
        _ if block == Some(Block::Inherent) => fallback::associated(&function, &first),
        _ if block.is_some() => function.to_token_stream(),
        Verdict::Sound => {
            Expansion::new(&function, &signature, &policy.recovered(), &private).whole()
        }
        Verdict::Wrong => fallback::poisoned(&function, &first),
        Verdict::Impossible => fallback::name(&function, &first),
        Verdict::Unplaced => function.to_token_stream(),
    };
    let errors = errors.to_compile_error();
    quote!(#item #errors)
}

/// The parts of an expansion.
pub(crate) struct Expansion<'a> {
    pub(crate) function: &'a Function,
    pub(crate) signature: Signature,
    /// The aliases of the signature's types.
    pub(crate) aliases: Vec<TokenStream>,
    pub(crate) policy: &'a Policy,
    pub(crate) private: &'a TokenStream,
    /// The types that callers pass, as a tuple of markers.
    pub(crate) arguments: TokenStream,
    /// The type that callers get.
    pub(crate) result: Type,
    /// The last part of the registered name, unless the options give it one.
    pub(crate) title: String,
    /// The place of the attribute in the source.
    pub(crate) place: Span,
    /// The registration's call for a method of a service.
    pub(crate) service: Option<TokenStream>,
}

impl<'a> Expansion<'a> {
    pub(crate) fn new(
        function: &'a Function,
        signature: &Signature,
        policy: &'a Policy,
        private: &'a TokenStream,
    ) -> Self {
        let (signature, aliases) = signature.aliased(&function.sig.ident);
        let markers = signature.parameters.iter().map(|parameter| {
            if policy.batch {
                let item = signature::batched(&parameter.ty, private);
                quote!(#private::Val<#item>)
            } else {
                signature::marker(parameter, private)
            }
        });
        let arguments = quote!((#(#markers,)*));
        let result = if policy.batch {
            signature::batched(&signature.output, private)
        } else {
            signature.output.clone()
        };
        Self {
            function,
            signature,
            aliases,
            policy,
            private,
            arguments,
            result,
            title: function.sig.ident.unraw().to_string(),
            place: Span::call_site(),
            service: None,
        }
    }

    pub(crate) fn whole(&self) -> TokenStream {
        let (private, arguments, result) = (self.private, &self.arguments, &self.result);
        let (kind, run) = self.run();
        let (state, with_state) = self.state();
        let exclusive = self.exclusive();
        let show = self.show();
        let probes = self.probes();
        let checks = &self.policy.checks;
        self.stub(&quote! {
            #probes
            #(#checks)*

            static __REGISTRATION: #private::Registration =
                #private::Registration::new(
                    &__SPEC,
                    #private::Run::#kind(__run),
                    ::core::any::type_name::<(#arguments, #result)>,
                )
                .shown_by(__show) #with_state;
            #exclusive

            #state
            #run
            #show

            #private::inventory::submit! { #private::Submission(&__REGISTRATION) }
        })
    }

    /// Returns a check of each type, with the type's span, that it can be sent.
    fn probes(&self) -> TokenStream {
        let private = self.private;
        let parameters =
            self.signature
                .parameters
                .iter()
                .map(|parameter| match parameter.referred() {
                    _ if self.policy.batch => {
                        check_sent(&signature::batched(&parameter.ty, private), private)
                    }
                    Some(reference) => check(&reference.elem, "IsReferred", "Referred", private),
                    None => check_sent(&parameter.ty, private),
                });
        let result = &self.result;
        let spelled = signature::parts(result);
        let (value, error) = spelled.unwrap_or((result, result));
        let output = (!signature::is_unit(result)).then(|| {
            let suspects = Suspects {
                whole: result,
                part: value,
                can_be_sent: quote! {
                    (#private::IsPlain::<#result>::IS || #private::IsSuccess::<#result>::IS)
                },
                is_alias: match spelled {
                    Some(_) => quote!(false),
                    None => quote!(#private::IsResult::<#result>::IS),
                },
            };
            let values = suspects.to_ask(private).into_iter().map(|(ty, at)| {
                let value = quote_spanned!(at.span()=> .sent_value::<#at>());
                quote!(#private::Output::<#ty>::NEW #value;)
            });
            let error = quote_spanned!(error.span()=> .sent_error::<#error>());
            quote! {
                const _: fn() = || {
                    #(#values)*
                    #private::Output::<#result>::NEW #error;
                };
            }
        });
        quote!(#(#parameters)* #output)
    }
}

/// Returns a check that a type can be sent.
pub(crate) fn check_sent(ty: &Type, private: &TokenStream) -> TokenStream {
    check(ty, "IsPlain", "Sent", private)
}

/// Returns a check by a probe of the runtime and by the trait that it asks about.
fn check(ty: &Type, probe: &str, holds: &str, private: &TokenStream) -> TokenStream {
    let probe = format_ident!("{}", probe);
    let suspects = Suspects {
        whole: ty,
        part: ty,
        can_be_sent: quote!(#private::#probe::<#ty>::IS),
        is_alias: quote!(false),
    };
    // A part is held by value.
    let traits = std::iter::once(holds).chain(std::iter::repeat("Sent"));
    let asked = suspects.to_ask(private).into_iter().zip(traits);
    let asked = asked.map(|((ty, at), holds)| {
        let private = crate::tokens::respanned(private, at.span());
        let holds = format_ident!("{}", holds);
        quote_spanned!(at.span()=> const _: () = <#ty as #private::#holds>::HOLDS;)
    });
    quote!(#(#asked)*)
}

/// A type with a part at which the error is reported if it cannot be sent: for `Vec<Job>` that is `Job`.
struct Suspects<'a> {
    whole: &'a Type,
    /// The part of it that is reported.
    part: &'a Type,
    /// An expression: the whole can be sent.
    can_be_sent: TokenStream,
    /// An expression: the whole is the alias of a type, so that it is unknown which of the parts are sent.
    is_alias: TokenStream,
}

impl Suspects<'_> {
    /// Returns the types to check, each with the place to report. If the whole cannot be sent, the parts that
    /// cannot be sent either are checked, or the whole if there are none. `()` takes the place of a type that
    /// needs no check.
    fn to_ask(&self, private: &TokenStream) -> Vec<(TokenStream, Type)> {
        let Self {
            whole,
            part,
            can_be_sent,
            is_alias,
        } = self;
        let innermost = signature::innermost(part);
        if innermost.is_empty() {
            return vec![(quote!(#whole), (*part).clone())];
        }
        let suspect = |ty: &Type, at: &Type, is_suspect: TokenStream| {
            let private = crate::tokens::respanned(private, at.span());
            let ty = quote_spanned! {at.span()=>
                <#ty as #private::Suspect<{ #[allow(unused_imports)] use #private::Otherwise as _; #is_suspect }>>::Type
            };
            (ty, at.clone())
        };
        let can_parts = quote!(#(#private::IsPlain::<#innermost>::IS)&&*);
        let is_whole = quote!(!#can_be_sent && (#is_alias || #can_parts));
        let mut asked = vec![suspect(whole, part, is_whole)];
        let is_part = quote!(!#can_be_sent && !#is_alias);
        asked.extend(innermost.iter().map(|ty| suspect(ty, ty, is_part.clone())));
        asked
    }
}

#[cfg(test)]
mod tests {
    use proc_macro2::{LineColumn, TokenTree};

    use super::*;

    /// Collects the positions of an identifier in an expansion, each with its place in the source.
    fn places(tokens: TokenStream, ident: &str, found: &mut Vec<(usize, LineColumn)>) {
        for token in tokens {
            let position = found.len();
            match token {
                TokenTree::Ident(other) if other == ident => {
                    found.push((position, other.span().start()));
                }
                TokenTree::Group(group) => places(group.stream(), ident, found),
                _ => {}
            }
        }
    }

    fn expanded(attribute: &str, item: &str) -> TokenStream {
        let parse = |text: &str| text.parse().expect("the case consists of tokens");
        function(parse(attribute), parse(item))
    }

    /// An editor looks up the name under the cursor in the expansion, so the stub comes first and its name
    /// has the span of the function's.
    #[test]
    fn the_stub_is_named_where_the_function_is() {
        for (attribute, item) in [
            ("", "fn name(a: u64) {}"),
            ("retries = -1", "fn name(a: u64) {}"),
            ("retries =", "fn name(a: u64) { a. }"),
            ("", "fn name((a, b): (u64, u64)) {}"),
            ("", "fn name<T>(a: T) {}"),
        ] {
            let mut found = Vec::new();
            places(expanded(attribute, item), "name", &mut found);
            let (_, first) = found.first().expect("it is there");
            assert_eq!((first.line, first.column), (1, 3), "{attribute} {item}");
        }
    }

    /// The same holds for the body, where most code is typed.
    #[test]
    fn the_body_keeps_its_place() {
        let mut found = Vec::new();
        places(
            expanded("", "fn f(a: u64) { cursor. }"),
            "cursor",
            &mut found,
        );
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].1.column, 15);
    }

    /// A constant is refused in the attribute, not at its declaration.
    #[test]
    fn a_constant_is_checked_where_it_is_written() {
        for (attribute, check) in [
            ("max_workers = MOST", "check_usize"),
            ("timeout     = LIMIT", "check_duration"),
            ("concurrency = MANY", "check_at_once"),
        ] {
            let mut found = Vec::new();
            let code = expanded(attribute, "async fn f() {}");
            places(code, check, &mut found);
            assert_eq!(found.len(), 1, "{attribute}");
            assert_eq!(found[0].1.column, 14, "{attribute}");
        }
    }

    #[test]
    fn a_method_and_main_stay_as_they_are() {
        for (block, item) in [
            (Some(Block::Inherent), "fn f (& self) { }"),
            (None, "fn main () { }"),
        ] {
            place::IN_TEST.set(block);
            let code = expanded("", item).to_string();
            place::IN_TEST.set(None);
            let (left, _) = code.split_once(":: core").expect("there is an error");
            assert_eq!(left.trim(), item);
        }
    }

    /// The compiler would report the `self` as well.
    #[test]
    fn a_method_outside_of_an_impl_becomes_a_constant() {
        let code = expanded("", "fn f (& self) { }").to_string();
        assert!(code.contains("const f"), "{code}");
        assert!(!code.contains("& self"), "{code}");
    }

    #[test]
    fn a_refused_function_becomes_a_constant() {
        for item in [
            "fn f (a : u64 , ...) { }",
            "fn f (a : impl Copy) { }",
            "fn f () -> impl Copy { }",
            "fn f < T > (a : T) { }",
            "fn f (a : Vec < & str >) { }",
        ] {
            let code = expanded("", item).to_string();
            assert!(
                code.contains("const f : [() ; :: core :: compile_error !"),
                "{code}"
            );
            assert!(code.contains(item), "{code}");
        }
    }

    #[test]
    fn errors_come_after_the_item() {
        for item in ["fn f(a: u64) {}", "fn f<T>(a: T) {}", "struct S;"] {
            let code = expanded("retries = -1", item).to_string();
            let error = code.find("compile_error").expect("there is an error");
            assert!(
                code.find(['f', 'S']).is_some_and(|item| item < error),
                "{code}"
            );
        }
    }

    #[test]
    fn half_typed_code_does_not_panic() {
        let attributes = [
            "",
            ",",
            "=",
            "==",
            "retries",
            "retries =",
            "retries = =",
            "retries()",
            "retries(,)",
            "retries(=)",
            "retries(max_retries)",
            "retries(max_retries =)",
            "batch",
            "batch()",
            "batch(max_size =)",
            "batch(max_size = x)",
            "setup",
            "setup =",
            "setup = |",
            "timeout = \"",
            "timeout = \"\"",
            "timeout = 1e999s",
            "timeout = \"1e999s\"",
            "memory = \".\"",
            "memory = \"1.99999999999999999999999999999999999999999B\"",
            "name = name",
            "crate =",
            "crate = 3",
            "3",
            "'a'",
            "retries = 3;",
            "a::b = 3",
            "-",
            "#",
        ];
        let items = [
            "",
            "f",
            "fn",
            "fn f",
            "fn f(",
            "fn f()",
            "fn f();",
            "fn f() {",
            "fn f() {}",
            "fn f(self) {}",
            "fn f(&self, a: u64) {}",
            "fn f(a) {}",
            "fn f(a: ) {}",
            "fn f(a: &) {}",
            "fn f(...) {}",
            "fn f(_: u64, _: &'a &str) -> &'b dyn Fn(&str) {}",
            "fn f<'a, T>(a: &'a mut T) -> impl Fn(T) {}",
            "async fn f(a: &'static [&str]) {}",
            "pub(in) fn f() {}",
            "const unsafe extern \"C\" fn f() {}",
            "fn r#fn(r#type: u64) {}",
            "fn f(a: u64) -> {}",
            "fn f(a: fn(&str) -> &str) {}",
            "impl S {}",
            "#[x] #[function] fn f() {}",
        ];
        for attribute in attributes {
            for item in items {
                // The compiler itself does not pass on text that has no tokens.
                let (Ok(attribute), Ok(item)) = (attribute.parse(), item.parse()) else {
                    continue;
                };
                function(attribute, item);
            }
        }
    }
}
