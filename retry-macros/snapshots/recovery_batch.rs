// #[function(batch(max_size = 64), timeout = 3)]
// fn f(numbers: Vec<u64>) -> Vec<u64> { numbers }

#[allow(non_camel_case_types)]
#[derive(::core::clone::Clone, ::core::marker::Copy, ::core::fmt::Debug)]
struct f;
impl f {
    #[doc(hidden)]
    fn __body(numbers: Vec<u64>) -> Vec<u64> {
        numbers
    }
    /// Calls the function in this process: an ordinary call, to which no policy applies.
    #[allow(dead_code, unused_variables, clippy::all, clippy::pedantic)]
    fn local(&self, numbers: Vec<u64>) -> Vec<u64> {
        Self::__body(numbers)
    }
}
#[allow(clippy::all, clippy::pedantic, deprecated)]
const _: () = {
    static __SPEC: ::retry_runtime::__private0::FunctionSpec = ::retry_runtime::__private0::FunctionSpec::new(
        ::core::concat!(::core::module_path!(), "::", "f"),
        ::core::file!(),
        ::core::line!(),
        &["numbers"],
    );
    const _: () = ::retry_runtime::__private0::assert_sent::<u64>();
    const _: fn() = || {
        ::retry_runtime::__private0::Output::<u64>::NEW.value::<u64>();
        ::retry_runtime::__private0::Output::<u64>::NEW.error::<u64>();
    };
    static __REGISTRATION: ::retry_runtime::__private0::Registration = ::retry_runtime::__private0::Registration::new(
        &__SPEC,
        ::retry_runtime::__private0::Run::Batch(__run),
    );
    fn __run(__batch: &mut [::retry_runtime::__private0::Invocation]) {
        ::retry_runtime::__private0::Input::<
            (::retry_runtime::__private0::Val<u64>,),
        >::NEW
            .batch(
                __batch,
                &__SPEC,
                |__inputs| f::__body(__inputs),
                |__invocation, __result| {
                    __invocation
                        .retry({
                            use ::retry_runtime::__private0::{Says as _, Silent as _};
                            (&::retry_runtime::__private0::Probe(&__result)).ask()
                        });
                    {
                        use ::retry_runtime::__private0::{
                            Debugged as _, Displayed as _, Mute as _,
                        };
                        (&&::retry_runtime::__private0::Probe(&__result))
                            .describe(__invocation);
                    }
                    f.__reply(__invocation, __result);
                },
            );
    }
    ::retry_runtime::__private0::inventory::submit! {
        ::retry_runtime::__private0::Submission(& __REGISTRATION)
    }
    impl ::core::ops::Deref for f {
        type Target = ::retry_runtime::__private0::Typed<
            fn(Vec<u64>) -> Vec<u64>,
            (::retry_runtime::__private0::Val<u64>,),
            u64,
        >;
        fn deref(&self) -> &Self::Target {
            static __STUB: ::retry_runtime::__private0::Typed<
                fn(Vec<u64>) -> Vec<u64>,
                (::retry_runtime::__private0::Val<u64>,),
                u64,
            > = ::retry_runtime::__private0::Typed::new(f::__body, &__REGISTRATION);
            &__STUB
        }
    }
};
::core::compile_error! {
    "`timeout` needs a unit: write `timeout = \"3s\"`"
}
