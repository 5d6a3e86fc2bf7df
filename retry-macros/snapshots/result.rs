// #[function(retries(max_retries = 5, initial_delay = "200ms", max_delay = "20s", jitter), retry_if = is_transient)]
// fn fetch(url: String) -> Result<Vec<u8>, FetchError> { get(url) }

#[allow(non_camel_case_types)]
#[derive(::core::clone::Clone, ::core::marker::Copy, ::core::fmt::Debug)]
struct fetch;
impl fetch {
    #[doc(hidden)]
    fn __body(url: String) -> Result<Vec<u8>, FetchError> {
        get(url)
    }
    /// Calls the function in this process: an ordinary call, to which no policy applies.
    #[allow(dead_code, unused_variables, clippy::all, clippy::pedantic)]
    fn local(&self, url: String) -> Result<Vec<u8>, FetchError> {
        Self::__body(url)
    }
}
#[allow(clippy::all, clippy::pedantic, deprecated)]
const _: () = {
    static __SPEC: ::retry_runtime::__private0::FunctionSpec = ::retry_runtime::__private0::FunctionSpec::new(
            ::core::concat!(::core::module_path!(), "::", "fetch"),
            ::core::file!(),
            ::core::line!(),
            &["url"],
        )
        .retries(
            ::retry_runtime::__private0::retries(
                5,
                2.0,
                ::core::time::Duration::from_nanos(200000000u64),
                ::core::time::Duration::from_nanos(20000000000u64),
                true,
            ),
        );
    const _: () = ::retry_runtime::__private0::assert_sent::<String>();
    const _: fn() = || {
        ::retry_runtime::__private0::Output::<Result<Vec<u8>, FetchError>>::NEW
            .value::<Vec<u8>>();
        ::retry_runtime::__private0::Output::<Result<Vec<u8>, FetchError>>::NEW
            .error::<FetchError>();
    };
    static __REGISTRATION: ::retry_runtime::__private0::Registration = ::retry_runtime::__private0::Registration::new(
        &__SPEC,
        ::retry_runtime::__private0::Run::Blocking(__run),
    );
    fn __run(__invocation: &mut ::retry_runtime::__private0::Invocation) {
        let __result = {
            let ::core::option::Option::Some((__argument0,)) = ::retry_runtime::__private0::Input::<
                (::retry_runtime::__private0::Val<String>,),
            >::NEW
                .arguments(__invocation, &__SPEC) else {
                return;
            };
            fetch::__body(__argument0)
        };
        ::retry_runtime::__private0::ask(&__result, &is_transient)
            .retry_if(__invocation, &__result, is_transient);
        __invocation
            .retry({
                use ::retry_runtime::__private0::{Says as _, Silent as _};
                (&::retry_runtime::__private0::Probe(&__result)).ask()
            });
        {
            use ::retry_runtime::__private0::{Debugged as _, Displayed as _, Mute as _};
            (&&::retry_runtime::__private0::Probe(&__result)).describe(__invocation);
        }
        fetch.__reply(__invocation, __result);
    }
    ::retry_runtime::__private0::inventory::submit! {
        ::retry_runtime::__private0::Submission(& __REGISTRATION)
    }
    impl ::core::ops::Deref for fetch {
        type Target = ::retry_runtime::__private0::Typed<
            fn(String) -> Result<Vec<u8>, FetchError>,
            (::retry_runtime::__private0::Val<String>,),
            Result<Vec<u8>, FetchError>,
        >;
        fn deref(&self) -> &Self::Target {
            static __STUB: ::retry_runtime::__private0::Typed<
                fn(String) -> Result<Vec<u8>, FetchError>,
                (::retry_runtime::__private0::Val<String>,),
                Result<Vec<u8>, FetchError>,
            > = ::retry_runtime::__private0::Typed::new(fetch::__body, &__REGISTRATION);
            &__STUB
        }
    }
};
