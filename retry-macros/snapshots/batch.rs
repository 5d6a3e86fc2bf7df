// #[function(batch(max_size = 64, max_wait = "5ms"))]
// fn embed(texts: Vec<String>) -> Vec<Result<Vec<f32>, String>> { run(texts) }

#[allow(non_camel_case_types)]
#[derive(::core::clone::Clone, ::core::marker::Copy, ::core::fmt::Debug)]
struct embed;
impl embed {
    #[doc(hidden)]
    fn __body(texts: Vec<String>) -> Vec<Result<Vec<f32>, String>> {
        run(texts)
    }
    /// Calls the function in this process: an ordinary call, to which no policy applies.
    #[allow(dead_code, unused_variables, clippy::all, clippy::pedantic)]
    fn local(&self, texts: Vec<String>) -> Vec<Result<Vec<f32>, String>> {
        Self::__body(texts)
    }
}
#[allow(clippy::all, clippy::pedantic, deprecated)]
const _: () = {
    static __SPEC: ::retry_runtime::__private0::FunctionSpec = ::retry_runtime::__private0::FunctionSpec::new(
            ::core::concat!(::core::module_path!(), "::", "embed"),
            ::core::file!(),
            ::core::line!(),
            &["texts"],
        )
        .batch(64, ::core::time::Duration::from_nanos(5000000u64));
    const _: () = ::retry_runtime::__private0::assert_sent::<String>();
    const _: fn() = || {
        ::retry_runtime::__private0::Output::<Result<Vec<f32>, String>>::NEW
            .value::<Vec<f32>>();
        ::retry_runtime::__private0::Output::<Result<Vec<f32>, String>>::NEW
            .error::<String>();
    };
    static __REGISTRATION: ::retry_runtime::__private0::Registration = ::retry_runtime::__private0::Registration::new(
        &__SPEC,
        ::retry_runtime::__private0::Run::Batch(__run),
    );
    fn __run(__batch: &mut [::retry_runtime::__private0::Invocation]) {
        ::retry_runtime::__private0::Input::<
            (::retry_runtime::__private0::Val<String>,),
        >::NEW
            .batch(
                __batch,
                &__SPEC,
                |__inputs| embed::__body(__inputs),
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
                    embed.__reply(__invocation, __result);
                },
            );
    }
    ::retry_runtime::__private0::inventory::submit! {
        ::retry_runtime::__private0::Submission(& __REGISTRATION)
    }
    impl ::core::ops::Deref for embed {
        type Target = ::retry_runtime::__private0::Typed<
            fn(Vec<String>) -> Vec<Result<Vec<f32>, String>>,
            (::retry_runtime::__private0::Val<String>,),
            Result<Vec<f32>, String>,
        >;
        fn deref(&self) -> &Self::Target {
            static __STUB: ::retry_runtime::__private0::Typed<
                fn(Vec<String>) -> Vec<Result<Vec<f32>, String>>,
                (::retry_runtime::__private0::Val<String>,),
                Result<Vec<f32>, String>,
            > = ::retry_runtime::__private0::Typed::new(embed::__body, &__REGISTRATION);
            &__STUB
        }
    }
};
