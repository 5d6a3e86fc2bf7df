// #[function]
// fn f(a: u64) -> u64;

#[allow(non_camel_case_types)]
#[derive(::core::clone::Clone, ::core::marker::Copy, ::core::fmt::Debug)]
struct f;
impl f {
    #[doc(hidden)]
    fn __body(a: u64) -> u64 {
        ::core::unreachable!()
    }
    /// Calls the function in this process: an ordinary call, to which no policy applies.
    #[allow(dead_code, unused_variables, clippy::all, clippy::pedantic)]
    fn local(&self, a: u64) -> u64 {
        Self::__body(a)
    }
}
#[allow(clippy::all, clippy::pedantic, deprecated)]
const _: () = {
    static __SPEC: ::retry_runtime::__private0::FunctionSpec = ::retry_runtime::__private0::FunctionSpec::new(
        ::core::concat!(::core::module_path!(), "::", "f"),
        ::core::file!(),
        ::core::line!(),
        &["a"],
    );
    const _: () = ::retry_runtime::__private0::assert_sent::<u64>();
    const _: fn() = || {
        ::retry_runtime::__private0::Output::<u64>::NEW.value::<u64>();
        ::retry_runtime::__private0::Output::<u64>::NEW.error::<u64>();
    };
    static __REGISTRATION: ::retry_runtime::__private0::Registration = ::retry_runtime::__private0::Registration::new(
        &__SPEC,
        ::retry_runtime::__private0::Run::Blocking(__run),
    );
    fn __run(__invocation: &mut ::retry_runtime::__private0::Invocation) {
        let __result = {
            let ::core::option::Option::Some((__argument0,)) = ::retry_runtime::__private0::Input::<
                (::retry_runtime::__private0::Val<u64>,),
            >::NEW
                .arguments(__invocation, &__SPEC) else {
                return;
            };
            f::__body(__argument0)
        };
        __invocation
            .retry({
                use ::retry_runtime::__private0::{Says as _, Silent as _};
                (&::retry_runtime::__private0::Probe(&__result)).ask()
            });
        {
            use ::retry_runtime::__private0::{Debugged as _, Displayed as _, Mute as _};
            (&&::retry_runtime::__private0::Probe(&__result)).describe(__invocation);
        }
        f.__reply(__invocation, __result);
    }
    ::retry_runtime::__private0::inventory::submit! {
        ::retry_runtime::__private0::Submission(& __REGISTRATION)
    }
    impl ::core::ops::Deref for f {
        type Target = ::retry_runtime::__private0::Typed<
            fn(u64) -> u64,
            (::retry_runtime::__private0::Val<u64>,),
            u64,
        >;
        fn deref(&self) -> &Self::Target {
            static __STUB: ::retry_runtime::__private0::Typed<
                fn(u64) -> u64,
                (::retry_runtime::__private0::Val<u64>,),
                u64,
            > = ::retry_runtime::__private0::Typed::new(f::__body, &__REGISTRATION);
            &__STUB
        }
    }
};
::core::compile_error! {
    "a #[function] needs a body"
}
