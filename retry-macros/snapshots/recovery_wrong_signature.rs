// #[function(retries = 3)]
// fn f((a, b): (u64, u64), text: &mut str) -> &str { text }

#[allow(non_camel_case_types)]
#[derive(::core::clone::Clone, ::core::marker::Copy, ::core::fmt::Debug)]
struct f;
impl f {
    #[doc(hidden)]
    #[allow(dead_code)]
    fn __body((a, b): (u64, u64), text: &mut str) -> &str {
        text
    }
    /// Calls the function in this process: an ordinary call, to which no policy applies.
    #[allow(dead_code, unused_variables, clippy::all, clippy::pedantic)]
    fn local(&self, argument0: (u64, u64), text: &mut str) -> &'static str {
        ::core::unreachable!()
    }
}
#[allow(clippy::all, clippy::pedantic, deprecated)]
const _: () = {
    static __SPEC: ::retry_runtime::__private0::FunctionSpec = ::retry_runtime::__private0::FunctionSpec::new(
        ::core::concat!(::core::module_path!(), "::", "f"),
        ::core::file!(),
        ::core::line!(),
        &["argument0", "text"],
    );
    static __REGISTRATION: ::retry_runtime::__private0::Registration = ::retry_runtime::__private0::Registration::new(
        &__SPEC,
        ::retry_runtime::__private0::Run::Blocking(|_| ()),
    );
    impl ::core::ops::Deref for f {
        type Target = ::retry_runtime::__private0::Typed<
            fn((u64, u64), &mut str) -> &'static str,
            (
                ::retry_runtime::__private0::Val<(u64, u64)>,
                ::retry_runtime::__private0::Ref<str>,
            ),
            &'static str,
        >;
        fn deref(&self) -> &Self::Target {
            static __STUB: ::retry_runtime::__private0::Typed<
                fn((u64, u64), &mut str) -> &'static str,
                (
                    ::retry_runtime::__private0::Val<(u64, u64)>,
                    ::retry_runtime::__private0::Ref<str>,
                ),
                &'static str,
            > = ::retry_runtime::__private0::Typed::new(
                |_, _| ::core::unreachable!(),
                &__REGISTRATION,
            );
            &__STUB
        }
    }
};
::core::compile_error! {
    "a parameter of a #[function] needs a name; take the pattern apart in the body"
}
::core::compile_error! {
    "a `&mut` parameter would only change the worker's copy; return the new value"
}
::core::compile_error! {
    "the result is made in another process, so it cannot borrow; return an owned value"
}
