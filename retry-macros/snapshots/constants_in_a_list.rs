// #[function(retries(max_retries = N, backoff_coefficient = C, initial_delay = FIRST, max_delay = "20s"), min_workers = FEWEST, max_workers = MOST)]
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
        .retries(
            ::retry_runtime::__private0::retries(
                __MAX_RETRIES,
                __BACKOFF_COEFFICIENT,
                __INITIAL_DELAY,
                ::core::time::Duration::from_nanos(20000000000u64),
                false,
            ),
        )
        .min_workers(__MIN_WORKERS)
        .max_workers(__MAX_WORKERS);
    const __MAX_RETRIES: ::core::primitive::u32 = N;
    const __BACKOFF_COEFFICIENT: ::core::primitive::f64 = C;
    const _: () = ::retry_runtime::__private0::check_coefficient(
        __BACKOFF_COEFFICIENT,
        "`backoff_coefficient` must be between 1.0 (fixed delay) and 10.0",
    );
    const __INITIAL_DELAY: ::core::time::Duration = FIRST;
    const _: () = ::retry_runtime::__private0::check_initial(
        ::retry_runtime::__private0::retries(
            __MAX_RETRIES,
            __BACKOFF_COEFFICIENT,
            __INITIAL_DELAY,
            ::core::time::Duration::from_nanos(20000000000u64),
            false,
        ),
        "`initial_delay` must not be longer than `max_delay`",
    );
    const __MIN_WORKERS: ::core::primitive::usize = FEWEST;
    const __MAX_WORKERS: ::core::primitive::usize = MOST;
    const _: () = ::retry_runtime::__private0::check_usize(
        __MAX_WORKERS,
        "`max_workers` must be at least 1",
    );
    const _: () = ::retry_runtime::__private0::check_workers(
        &__SPEC,
        "`min_workers` must not be larger than `max_workers`",
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
