// #[function]
// fn f<'a>(text: &'a str, more: Cow<'a, str>) -> u64 { 1 }

#[allow(non_camel_case_types)]
#[derive(::core::clone::Clone, ::core::marker::Copy, ::core::fmt::Debug)]
struct f;
impl f {
    #[doc(hidden)]
    #[allow(dead_code)]
    fn __body<'a>(text: &'a str, more: Cow<'a, str>) -> u64 {
        1
    }
    /// Calls the function in this process: an ordinary call, to which no policy applies.
    #[allow(dead_code, unused_variables, clippy::all, clippy::pedantic)]
    fn local(&self, text: &str, more: Cow<'static, str>) -> u64 {
        ::core::unreachable!()
    }
}
#[allow(clippy::all, clippy::pedantic, deprecated)]
const _: () = {
    static __SPEC: ::retry_runtime::__private0::FunctionSpec = ::retry_runtime::__private0::FunctionSpec::new(
        ::core::concat!(::core::module_path!(), "::", "f"),
        ::core::file!(),
        ::core::line!(),
        &["text", "more"],
    );
    static __REGISTRATION: ::retry_runtime::__private0::Registration = ::retry_runtime::__private0::Registration::new(
        &__SPEC,
        ::retry_runtime::__private0::Run::Blocking(|_| ()),
    );
    impl ::core::ops::Deref for f {
        type Target = ::retry_runtime::__private0::Typed<
            fn(&str, Cow<'static, str>) -> u64,
            (
                ::retry_runtime::__private0::Ref<str>,
                ::retry_runtime::__private0::Val<Cow<'static, str>>,
            ),
            u64,
        >;
        fn deref(&self) -> &Self::Target {
            static __STUB: ::retry_runtime::__private0::Typed<
                fn(&str, Cow<'static, str>) -> u64,
                (
                    ::retry_runtime::__private0::Ref<str>,
                    ::retry_runtime::__private0::Val<Cow<'static, str>>,
                ),
                u64,
            > = ::retry_runtime::__private0::Typed::new(
                |_, _| ::core::unreachable!(),
                &__REGISTRATION,
            );
            &__STUB
        }
    }
};
::core::compile_error! {
    "leave the lifetimes out: the worker owns what the parameters refer to"
}
