// #[function(retries(max_retries = 5, initial_delay = "200ms", max_delay = "20s", jitter), retry_if = is_transient)]
// fn fetch(url: String) -> Result<Vec<u8>, FetchError> { get(url) }

#[allow(non_camel_case_types)]
#[derive(::core::clone::Clone, ::core::marker::Copy, ::core::fmt::Debug)]
struct fetch;
const _: () = {
    #[allow(dead_code, deprecated, non_camel_case_types)]
    type __fetch_0 = FetchError;
    #[allow(dead_code, non_snake_case, clippy::all, clippy::pedantic)]
    fn url() {}
    #[allow(deprecated)]
    type __Stub = fetch;
    impl __Stub {
        #[doc(hidden)]
        fn fetch(url: String) -> Result<Vec<u8>, FetchError> {
            get(url)
        }
        /// Calls the function in this process: an ordinary call, to which no policy applies.
        #[allow(dead_code, unused_variables, clippy::all, clippy::pedantic)]
        fn local(&self, url: String) -> Result<Vec<u8>, __fetch_0> {
            Self::fetch(url)
        }
    }
};
#[allow(clippy::all, clippy::pedantic, dead_code, deprecated, private_interfaces)]
const _: () = {
    #[allow(dead_code, deprecated, non_camel_case_types)]
    type __fetch_0 = FetchError;
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
    static __STUB: ::retry_runtime::__private0::Typed<
        fn(String) -> Result<Vec<u8>, __fetch_0>,
        (::retry_runtime::__private0::Val<String>,),
        Result<Vec<u8>, __fetch_0>,
    > = ::retry_runtime::__private0::Typed::new(fetch::fetch, &__REGISTRATION);
    const _: () = <String as ::retry_runtime::__private0::Sent>::HOLDS;
    const _: fn() = || {
        ::retry_runtime::__private0::Output::<
            <Result<
                Vec<u8>,
                __fetch_0,
            > as ::retry_runtime::__private0::Suspect<
                {
                    #[allow(unused_imports)]
                    use ::retry_runtime::__private0::Otherwise as _;
                    !(::retry_runtime::__private0::IsPlain::<
                        Result<Vec<u8>, __fetch_0>,
                    >::IS
                        || ::retry_runtime::__private0::IsSuccess::<
                            Result<Vec<u8>, __fetch_0>,
                        >::IS)
                        && (false || ::retry_runtime::__private0::IsPlain::<u8>::IS)
                },
            >>::Type,
        >::NEW
            .sent_value::<Vec<u8>>();
        ::retry_runtime::__private0::Output::<
            <u8 as ::retry_runtime::__private0::Suspect<
                {
                    #[allow(unused_imports)]
                    use ::retry_runtime::__private0::Otherwise as _;
                    !(::retry_runtime::__private0::IsPlain::<
                        Result<Vec<u8>, __fetch_0>,
                    >::IS
                        || ::retry_runtime::__private0::IsSuccess::<
                            Result<Vec<u8>, __fetch_0>,
                        >::IS) && !false
                },
            >>::Type,
        >::NEW
            .sent_value::<u8>();
        ::retry_runtime::__private0::Output::<Result<Vec<u8>, __fetch_0>>::NEW
            .sent_error::<__fetch_0>();
    };
    static __REGISTRATION: ::retry_runtime::__private0::Registration = ::retry_runtime::__private0::Registration::new(
            &__SPEC,
            ::retry_runtime::__private0::Run::Blocking(__run),
            ::core::any::type_name::<
                ((::retry_runtime::__private0::Val<String>,), Result<Vec<u8>, __fetch_0>),
            >,
        )
        .shown_by(__show);
    fn __run(__invocation: &mut ::retry_runtime::__private0::Invocation) {
        let __result = {
            let ::core::option::Option::Some((__argument0,)) = ::retry_runtime::__private0::Input::<
                (::retry_runtime::__private0::Val<String>,),
            >::NEW
                .__arguments(__invocation, &__SPEC) else {
                return;
            };
            fetch::fetch(__argument0)
        };
        ::retry_runtime::__private0::ask(&__result, &is_transient)
            .retry_if_function(__invocation, &__result, is_transient);
        ::retry_runtime::__private0::Invocation::retry(
            __invocation,
            {
                use ::retry_runtime::__private0::{Says as _, Silent as _};
                (&::retry_runtime::__private0::Probe(&__result)).__ask()
            },
        );
        {
            use ::retry_runtime::__private0::{Debugged as _, Displayed as _, Mute as _};
            (&&::retry_runtime::__private0::Probe(&__result)).__describe(__invocation);
        }
        __STUB.__reply(__invocation, __result);
    }
    fn __show(
        __message: &[::core::primitive::u8],
    ) -> ::core::option::Option<::std::string::String> {
        #[allow(unused_imports)]
        use ::retry_runtime::__private0::{Debugs as _, Opaque as _};
        #[allow(unused_variables)]
        let (__argument0,) = ::retry_runtime::__private0::Input::<
            (::retry_runtime::__private0::Val<String>,),
        >::NEW
            .__decoded(__message)?;
        ::retry_runtime::__private0::shown(
            &[("url", (&::retry_runtime::__private0::Shown(&__argument0)).__text())],
        )
    }
    ::retry_runtime::__private0::inventory::submit! {
        ::retry_runtime::__private0::Submission(& __REGISTRATION)
    }
    type __Kind = ::retry_runtime::__private0::Kind<
        {
            ::retry_runtime::__private0::kind!(
                Result < Vec < u8 >, __fetch_0 >, (::retry_runtime::__private0::Val <
                String >,)
            )
        },
    >;
    impl fetch {
        fn __stub(
            &self,
        ) -> &'static ::retry_runtime::__private0::Typed<
            fn(String) -> Result<Vec<u8>, __fetch_0>,
            (::retry_runtime::__private0::Val<String>,),
            Result<Vec<u8>, __fetch_0>,
        > {
            &__STUB
        }
    }
    const _: () = {
        #[allow(dead_code, non_snake_case, clippy::all, clippy::pedantic)]
        fn url() {}
        impl fetch {
            #[doc(hidden)]
            #[track_caller]
            fn remote(
                &self,
                url: String,
            ) -> ::retry_runtime::__private0::Call<
                <Result<
                    Vec<u8>,
                    __fetch_0,
                > as ::retry_runtime::__private0::Outcome<__Kind>>::Value,
                <Result<
                    Vec<u8>,
                    __fetch_0,
                > as ::retry_runtime::__private0::Outcome<__Kind>>::Error,
            > {
                self.__stub().__call((url,))
            }
            #[doc(hidden)]
            #[track_caller]
            fn spawn(
                &self,
                url: String,
            ) -> ::retry_runtime::__private0::FunctionCall<
                <Result<
                    Vec<u8>,
                    __fetch_0,
                > as ::retry_runtime::__private0::Outcome<__Kind>>::Value,
                <Result<
                    Vec<u8>,
                    __fetch_0,
                > as ::retry_runtime::__private0::Outcome<__Kind>>::Error,
            > {
                ::retry_runtime::__private0::spawn(self.remote(url))
            }
            #[doc(hidden)]
            fn attach(
                &self,
                __call: ::retry_runtime::__private0::CallId,
            ) -> ::retry_runtime::__private0::FunctionCall<
                <Result<
                    Vec<u8>,
                    __fetch_0,
                > as ::retry_runtime::__private0::Outcome<__Kind>>::Value,
                <Result<
                    Vec<u8>,
                    __fetch_0,
                > as ::retry_runtime::__private0::Outcome<__Kind>>::Error,
            > {
                self.__stub().__attach(__call)
            }
            #[doc(hidden)]
            #[track_caller]
            fn map<
                '__input,
                __I: ::core::iter::IntoIterator<
                        Item: ::retry_runtime::__private0::Accepted<Self, String>,
                    >,
            >(
                &self,
                __inputs: __I,
            ) -> ::retry_runtime::__private0::Map<
                __I::IntoIter,
                <Result<
                    Vec<u8>,
                    __fetch_0,
                > as ::retry_runtime::__private0::Outcome<__Kind>>::Value,
                <Result<
                    Vec<u8>,
                    __fetch_0,
                > as ::retry_runtime::__private0::Outcome<__Kind>>::Error,
            > {
                self.__stub().__map(__inputs)
            }
            #[doc(hidden)]
            #[track_caller]
            fn for_each<
                '__input,
                __I: ::core::iter::IntoIterator<
                        Item: ::retry_runtime::__private0::Accepted<Self, String>,
                    >,
            >(
                &self,
                __inputs: __I,
            ) -> ::retry_runtime::__private0::ForEach<
                __I::IntoIter,
                <Result<
                    Vec<u8>,
                    __fetch_0,
                > as ::retry_runtime::__private0::Outcome<__Kind>>::Value,
                <Result<
                    Vec<u8>,
                    __fetch_0,
                > as ::retry_runtime::__private0::Outcome<__Kind>>::Error,
            > {
                ::retry_runtime::__private0::ForEach::new(self.map(__inputs))
            }
            #[doc(hidden)]
            fn with_options(
                &self,
                __options: ::retry_runtime::__private0::Options,
            ) -> ::retry_runtime::__private0::Typed<
                fn(String) -> Result<Vec<u8>, __fetch_0>,
                (::retry_runtime::__private0::Val<String>,),
                Result<Vec<u8>, __fetch_0>,
            > {
                self.__stub().with_options(__options)
            }
            #[doc(hidden)]
            fn on(
                &self,
                __runtime: &::retry_runtime::__private0::Runtime,
            ) -> ::retry_runtime::__private0::Typed<
                fn(String) -> Result<Vec<u8>, __fetch_0>,
                (::retry_runtime::__private0::Val<String>,),
                Result<Vec<u8>, __fetch_0>,
            > {
                self.__stub().on(__runtime)
            }
            #[doc(hidden)]
            fn name(&self) -> &'static ::core::primitive::str {
                self.__stub().name()
            }
            #[doc(hidden)]
            fn spec(&self) -> &'static ::retry_runtime::__private0::FunctionSpec {
                self.__stub().spec()
            }
        }
    };
    impl ::retry_runtime::__private0::Signature for fetch {
        type Arguments = <(
            ::retry_runtime::__private0::Val<String>,
        ) as ::retry_runtime::__private0::Select<__Kind>>::Arguments;
    }
    impl ::core::ops::Deref for fetch {
        type Target = fn(String) -> Result<Vec<u8>, __fetch_0>;
        fn deref(&self) -> &Self::Target {
            static __FUNCTION: fn(String) -> Result<Vec<u8>, __fetch_0> = fetch::fetch;
            &__FUNCTION
        }
    }
};
