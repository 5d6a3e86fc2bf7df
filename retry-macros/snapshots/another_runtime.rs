// #[function(crate = ::my::runtime)]
// fn f() {}

#[allow(non_camel_case_types)]
#[derive(::core::clone::Clone, ::core::marker::Copy, ::core::fmt::Debug)]
struct f;
impl f {
    #[doc(hidden)]
    fn __body() {}
    /// Calls the function in this process: an ordinary call, to which no policy applies.
    #[allow(dead_code, unused_variables, clippy::all, clippy::pedantic)]
    fn local(&self) {
        Self::__body()
    }
}
#[allow(clippy::all, clippy::pedantic, deprecated)]
const _: () = {
    static __SPEC: ::my::runtime::__private0::FunctionSpec = ::my::runtime::__private0::FunctionSpec::new(
        ::core::concat!(::core::module_path!(), "::", "f"),
        ::core::file!(),
        ::core::line!(),
        &[],
    );
    static __REGISTRATION: ::my::runtime::__private0::Registration = ::my::runtime::__private0::Registration::new(
        &__SPEC,
        ::my::runtime::__private0::Run::Blocking(__run),
    );
    fn __run(__invocation: &mut ::my::runtime::__private0::Invocation) {
        let __result = {
            let ::core::option::Option::Some(()) = ::my::runtime::__private0::Input::<
                (),
            >::NEW
                .arguments(__invocation, &__SPEC) else {
                return;
            };
            f::__body()
        };
        __invocation
            .retry({
                use ::my::runtime::__private0::{Says as _, Silent as _};
                (&::my::runtime::__private0::Probe(&__result)).ask()
            });
        {
            use ::my::runtime::__private0::{Debugged as _, Displayed as _, Mute as _};
            (&&::my::runtime::__private0::Probe(&__result)).describe(__invocation);
        }
        f.__reply(__invocation, __result);
    }
    ::my::runtime::__private0::inventory::submit! {
        ::my::runtime::__private0::Submission(& __REGISTRATION)
    }
    impl ::core::ops::Deref for f {
        type Target = ::my::runtime::__private0::Typed<fn() -> (), (), ()>;
        fn deref(&self) -> &Self::Target {
            static __STUB: ::my::runtime::__private0::Typed<fn() -> (), (), ()> = ::my::runtime::__private0::Typed::new(
                f::__body,
                &__REGISTRATION,
            );
            &__STUB
        }
    }
};
