// #[function(concurrency = 8)]
// pub(crate) async fn fetch(url: &str) -> Result<String, FetchError> { get(url).await }

#[allow(non_camel_case_types)]
#[derive(::core::clone::Clone, ::core::marker::Copy, ::core::fmt::Debug)]
pub(crate) struct fetch;
const _: () = {
    #[allow(dead_code, deprecated, non_camel_case_types)]
    type __fetch_0 = FetchError;
    #[allow(dead_code, non_snake_case, clippy::all, clippy::pedantic)]
    fn url() {}
    #[allow(deprecated)]
    type __Stub = fetch;
    impl __Stub {
        #[doc(hidden)]
        async fn fetch(url: &str) -> Result<String, FetchError> {
            get(url).await
        }
        #[doc(hidden)]
        #[allow(clippy::all, clippy::pedantic)]
        fn __start<'__call>(
            url: &'__call str,
        ) -> ::retry_runtime::__private0::BoxFuture<'__call, Result<String, __fetch_0>> {
            #[allow(unused_imports)]
            use ::retry_runtime::__private0::Stays as _;
            ::retry_runtime::__private0::Started(Self::fetch(url)).__boxed()
        }
        /// Calls the function in this process: an ordinary call, to which no policy applies.
        #[allow(dead_code, unused_variables, clippy::all, clippy::pedantic)]
        pub(crate) async fn local(&self, url: &str) -> Result<String, __fetch_0> {
            Self::fetch(url).await
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
        .concurrency(8)
        .asynchronous();
    static __STUB: ::retry_runtime::__private0::Typed<
        for<'__call> fn(
            &'__call str,
        ) -> ::retry_runtime::__private0::BoxFuture<'__call, Result<String, __fetch_0>>,
        (::retry_runtime::__private0::Ref<str>,),
        Result<String, __fetch_0>,
    > = ::retry_runtime::__private0::Typed::new(fetch::__start, &__REGISTRATION);
    const _: () = <str as ::retry_runtime::__private0::Referred>::HOLDS;
    const _: fn() = || {
        ::retry_runtime::__private0::Output::<Result<String, __fetch_0>>::NEW
            .sent_value::<String>();
        ::retry_runtime::__private0::Output::<Result<String, __fetch_0>>::NEW
            .sent_error::<__fetch_0>();
    };
    static __REGISTRATION: ::retry_runtime::__private0::Registration = ::retry_runtime::__private0::Registration::new(
            &__SPEC,
            ::retry_runtime::__private0::Run::Async(__run),
            ::core::any::type_name::<
                ((::retry_runtime::__private0::Ref<str>,), Result<String, __fetch_0>),
            >,
        )
        .shown_by(__show);
    fn __run(
        mut __owned: ::retry_runtime::__private0::Invocation,
    ) -> ::retry_runtime::__private0::LocalFuture<
        ::retry_runtime::__private0::Invocation,
    > {
        ::std::boxed::Box::pin(async move {
            let __invocation = &mut __owned;
            let __result = {
                let ::core::option::Option::Some((__argument0,)) = ::retry_runtime::__private0::Input::<
                    (::retry_runtime::__private0::Ref<str>,),
                >::NEW
                    .__arguments(__invocation, &__SPEC) else {
                    return __owned;
                };
                fetch::fetch(&__argument0).await
            };
            ::retry_runtime::__private0::Invocation::retry(
                __invocation,
                {
                    use ::retry_runtime::__private0::{Says as _, Silent as _};
                    (&::retry_runtime::__private0::Probe(&__result)).__ask()
                },
            );
            {
                use ::retry_runtime::__private0::{
                    Debugged as _, Displayed as _, Mute as _,
                };
                (&&::retry_runtime::__private0::Probe(&__result))
                    .__describe(__invocation);
            }
            __STUB.__reply(__invocation, __result);
            __owned
        })
    }
    fn __show(
        __message: &[::core::primitive::u8],
    ) -> ::core::option::Option<::std::string::String> {
        #[allow(unused_imports)]
        use ::retry_runtime::__private0::{Debugs as _, Opaque as _};
        #[allow(unused_variables)]
        let (__argument0,) = ::retry_runtime::__private0::Input::<
            (::retry_runtime::__private0::Ref<str>,),
        >::NEW
            .__decoded(__message)?;
        ::retry_runtime::__private0::shown(
            &[("url", (&::retry_runtime::__private0::Shown(&*__argument0)).__text())],
        )
    }
    ::retry_runtime::__private0::inventory::submit! {
        ::retry_runtime::__private0::Submission(& __REGISTRATION)
    }
    type __Kind = ::retry_runtime::__private0::Kind<
        {
            ::retry_runtime::__private0::kind!(
                Result < String, __fetch_0 >, (::retry_runtime::__private0::Ref < str >,)
            )
        },
    >;
    impl fetch {
        fn __stub(
            &self,
        ) -> &'static ::retry_runtime::__private0::Typed<
            for<'__call> fn(
                &'__call str,
            ) -> ::retry_runtime::__private0::BoxFuture<
                '__call,
                Result<String, __fetch_0>,
            >,
            (::retry_runtime::__private0::Ref<str>,),
            Result<String, __fetch_0>,
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
            pub(crate) fn remote(
                &self,
                url: &str,
            ) -> ::retry_runtime::__private0::Call<
                <Result<
                    String,
                    __fetch_0,
                > as ::retry_runtime::__private0::Outcome<__Kind>>::Value,
                <Result<
                    String,
                    __fetch_0,
                > as ::retry_runtime::__private0::Outcome<__Kind>>::Error,
            > {
                self.__stub().__call((url,))
            }
            #[doc(hidden)]
            #[track_caller]
            pub(crate) fn spawn(
                &self,
                url: &str,
            ) -> ::retry_runtime::__private0::FunctionCall<
                <Result<
                    String,
                    __fetch_0,
                > as ::retry_runtime::__private0::Outcome<__Kind>>::Value,
                <Result<
                    String,
                    __fetch_0,
                > as ::retry_runtime::__private0::Outcome<__Kind>>::Error,
            > {
                ::retry_runtime::__private0::spawn(self.remote(url))
            }
            #[doc(hidden)]
            pub(crate) fn attach(
                &self,
                __call: ::retry_runtime::__private0::CallId,
            ) -> ::retry_runtime::__private0::FunctionCall<
                <Result<
                    String,
                    __fetch_0,
                > as ::retry_runtime::__private0::Outcome<__Kind>>::Value,
                <Result<
                    String,
                    __fetch_0,
                > as ::retry_runtime::__private0::Outcome<__Kind>>::Error,
            > {
                self.__stub().__attach(__call)
            }
            #[doc(hidden)]
            #[track_caller]
            pub(crate) fn map<
                '__input,
                __I: ::core::iter::IntoIterator<
                        Item: ::retry_runtime::__private0::Accepted<Self, &'__input str>,
                    >,
            >(
                &self,
                __inputs: __I,
            ) -> ::retry_runtime::__private0::Map<
                __I::IntoIter,
                <Result<
                    String,
                    __fetch_0,
                > as ::retry_runtime::__private0::Outcome<__Kind>>::Value,
                <Result<
                    String,
                    __fetch_0,
                > as ::retry_runtime::__private0::Outcome<__Kind>>::Error,
            > {
                self.__stub().__map(__inputs)
            }
            #[doc(hidden)]
            #[track_caller]
            pub(crate) fn for_each<
                '__input,
                __I: ::core::iter::IntoIterator<
                        Item: ::retry_runtime::__private0::Accepted<Self, &'__input str>,
                    >,
            >(
                &self,
                __inputs: __I,
            ) -> ::retry_runtime::__private0::ForEach<
                __I::IntoIter,
                <Result<
                    String,
                    __fetch_0,
                > as ::retry_runtime::__private0::Outcome<__Kind>>::Value,
                <Result<
                    String,
                    __fetch_0,
                > as ::retry_runtime::__private0::Outcome<__Kind>>::Error,
            > {
                ::retry_runtime::__private0::ForEach::new(self.map(__inputs))
            }
            #[doc(hidden)]
            pub(crate) fn with_options(
                &self,
                __options: ::retry_runtime::__private0::Options,
            ) -> ::retry_runtime::__private0::Typed<
                for<'__call> fn(
                    &'__call str,
                ) -> ::retry_runtime::__private0::BoxFuture<
                    '__call,
                    Result<String, __fetch_0>,
                >,
                (::retry_runtime::__private0::Ref<str>,),
                Result<String, __fetch_0>,
            > {
                self.__stub().with_options(__options)
            }
            #[doc(hidden)]
            pub(crate) fn on(
                &self,
                __runtime: &::retry_runtime::__private0::Runtime,
            ) -> ::retry_runtime::__private0::Typed<
                for<'__call> fn(
                    &'__call str,
                ) -> ::retry_runtime::__private0::BoxFuture<
                    '__call,
                    Result<String, __fetch_0>,
                >,
                (::retry_runtime::__private0::Ref<str>,),
                Result<String, __fetch_0>,
            > {
                self.__stub().on(__runtime)
            }
            #[doc(hidden)]
            pub(crate) fn name(&self) -> &'static ::core::primitive::str {
                self.__stub().name()
            }
            #[doc(hidden)]
            pub(crate) fn spec(
                &self,
            ) -> &'static ::retry_runtime::__private0::FunctionSpec {
                self.__stub().spec()
            }
        }
    };
    impl ::retry_runtime::__private0::Signature for fetch {
        type Arguments = <(
            ::retry_runtime::__private0::Ref<str>,
        ) as ::retry_runtime::__private0::Select<__Kind>>::Arguments;
    }
    impl ::core::ops::Deref for fetch {
        type Target = for<'__call> fn(
            &'__call str,
        ) -> ::retry_runtime::__private0::BoxFuture<'__call, Result<String, __fetch_0>>;
        fn deref(&self) -> &Self::Target {
            static __FUNCTION: for<'__call> fn(
                &'__call str,
            ) -> ::retry_runtime::__private0::BoxFuture<
                '__call,
                Result<String, __fetch_0>,
            > = fetch::__start;
            &__FUNCTION
        }
    }
};
