// #[function]
// fn refresh() {}

#[allow(non_camel_case_types)]
#[derive(::core::clone::Clone, ::core::marker::Copy, ::core::fmt::Debug)]
struct refresh;
impl refresh {
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
    static __SPEC: ::retry_runtime::__private0::FunctionSpec = ::retry_runtime::__private0::FunctionSpec::new(
        ::core::concat!(::core::module_path!(), "::", "refresh"),
        ::core::file!(),
        ::core::line!(),
        &[],
    );
    static __REGISTRATION: ::retry_runtime::__private0::Registration = ::retry_runtime::__private0::Registration::new(
        &__SPEC,
        ::retry_runtime::__private0::Run::Blocking(__run),
    );
    fn __run(__invocation: &mut ::retry_runtime::__private0::Invocation) {
        let __result = {
            let ::core::option::Option::Some(()) = ::retry_runtime::__private0::Input::<
                (),
            >::NEW
                .arguments(__invocation, &__SPEC) else {
                return;
            };
            refresh::__body()
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
        refresh.__reply(__invocation, __result);
    }
    ::retry_runtime::__private0::inventory::submit! {
        ::retry_runtime::__private0::Submission(& __REGISTRATION)
    }
    impl ::core::ops::Deref for refresh {
        type Target = ::retry_runtime::__private0::Typed<fn() -> (), (), ()>;
        fn deref(&self) -> &Self::Target {
            static __STUB: ::retry_runtime::__private0::Typed<fn() -> (), (), ()> = ::retry_runtime::__private0::Typed::new(
                refresh::__body,
                &__REGISTRATION,
            );
            &__STUB
        }
    }
};
