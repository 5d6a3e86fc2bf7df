// #[function(retries = POLICY, timeout = LIMIT, deadline = "1m", at_most_once)]
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
    static __SPEC: ::retry_runtime::__private0::FunctionSpec = ::retry_runtime::__private0::FunctionSpec::new(
            ::core::concat!(::core::module_path!(), "::", "f"),
            ::core::file!(),
            ::core::line!(),
            &[],
        )
        .retries(__RETRIES.0)
        .timeout(__TIMEOUT)
        .deadline(::core::time::Duration::from_nanos(60000000000u64))
        .at_most_once();
    const __RETRIES: ::retry_runtime::__private0::RetriesOr = ::retry_runtime::__private0::RetriesFrom(
            POLICY,
        )
        .get();
    const _: () = ::retry_runtime::__private0::RetriesOr::check(__RETRIES);
    const __TIMEOUT: ::core::time::Duration = LIMIT;
    const _: () = ::retry_runtime::__private0::check_duration(
        __TIMEOUT,
        "`timeout` must be longer than zero; leave it out for no limit",
    );
    const _: () = ::retry_runtime::__private0::check_deadline(
        &__SPEC,
        "`deadline` must not be shorter than `timeout`: it covers the queue, all attempts and the delays between them",
    );
    const _: () = ::retry_runtime::__private0::check_once(
        &__SPEC,
        "`at_most_once` and `retries` contradict each other: remove one of them",
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
            f::__body()
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
        type Target = ::retry_runtime::__private0::Typed<fn() -> (), (), ()>;
        fn deref(&self) -> &Self::Target {
            static __STUB: ::retry_runtime::__private0::Typed<fn() -> (), (), ()> = ::retry_runtime::__private0::Typed::new(
                f::__body,
                &__REGISTRATION,
            );
            &__STUB
        }
    }
};
