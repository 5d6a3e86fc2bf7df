// #[function]
// fn search(text: &str, bytes: &[u8], settings: &Settings, limit: usize) -> usize { 0 }

#[allow(non_camel_case_types)]
#[derive(::core::clone::Clone, ::core::marker::Copy, ::core::fmt::Debug)]
struct search;
const _: () = {
    #[allow(dead_code, deprecated, non_camel_case_types)]
    type __search_0 = Settings;
    #[allow(dead_code, non_snake_case, clippy::all, clippy::pedantic)]
    fn text() {}
    #[allow(dead_code, non_snake_case, clippy::all, clippy::pedantic)]
    fn bytes() {}
    #[allow(dead_code, non_snake_case, clippy::all, clippy::pedantic)]
    fn settings() {}
    #[allow(dead_code, non_snake_case, clippy::all, clippy::pedantic)]
    fn limit() {}
    #[allow(deprecated)]
    type __Stub = search;
    impl __Stub {
        #[doc(hidden)]
        fn search(text: &str, bytes: &[u8], settings: &Settings, limit: usize) -> usize {
            0
        }
        /// Calls the function in this process: an ordinary call, to which no policy applies.
        #[allow(dead_code, unused_variables, clippy::all, clippy::pedantic)]
        fn local(
            &self,
            text: &str,
            bytes: &[u8],
            settings: &__search_0,
            limit: usize,
        ) -> usize {
            Self::search(text, bytes, settings, limit)
        }
    }
};
#[allow(clippy::all, clippy::pedantic, dead_code, deprecated, private_interfaces)]
const _: () = {
    #[allow(dead_code, deprecated, non_camel_case_types)]
    type __search_0 = Settings;
    static __SPEC: ::retry_runtime::__private0::FunctionSpec = ::retry_runtime::__private0::FunctionSpec::new(
        ::core::concat!(::core::module_path!(), "::", "search"),
        ::core::file!(),
        ::core::line!(),
        &["text", "bytes", "settings", "limit"],
    );
    static __STUB: ::retry_runtime::__private0::Typed<
        fn(&str, &[u8], &__search_0, usize) -> usize,
        (
            ::retry_runtime::__private0::Ref<str>,
            ::retry_runtime::__private0::Ref<[u8]>,
            ::retry_runtime::__private0::Ref<__search_0>,
            ::retry_runtime::__private0::Val<usize>,
        ),
        usize,
    > = ::retry_runtime::__private0::Typed::new(search::search, &__REGISTRATION);
    const _: () = <str as ::retry_runtime::__private0::Referred>::HOLDS;
    const _: () = <<[u8] as ::retry_runtime::__private0::Suspect<
        {
            #[allow(unused_imports)]
            use ::retry_runtime::__private0::Otherwise as _;
            !::retry_runtime::__private0::IsReferred::<[u8]>::IS
                && (false || ::retry_runtime::__private0::IsPlain::<u8>::IS)
        },
    >>::Type as ::retry_runtime::__private0::Referred>::HOLDS;
    const _: () = <<u8 as ::retry_runtime::__private0::Suspect<
        {
            #[allow(unused_imports)]
            use ::retry_runtime::__private0::Otherwise as _;
            !::retry_runtime::__private0::IsReferred::<[u8]>::IS && !false
        },
    >>::Type as ::retry_runtime::__private0::Sent>::HOLDS;
    const _: () = <__search_0 as ::retry_runtime::__private0::Referred>::HOLDS;
    const _: () = <usize as ::retry_runtime::__private0::Sent>::HOLDS;
    const _: fn() = || {
        ::retry_runtime::__private0::Output::<usize>::NEW.sent_value::<usize>();
        ::retry_runtime::__private0::Output::<usize>::NEW.sent_error::<usize>();
    };
    static __REGISTRATION: ::retry_runtime::__private0::Registration = ::retry_runtime::__private0::Registration::new(
            &__SPEC,
            ::retry_runtime::__private0::Run::Blocking(__run),
            ::core::any::type_name::<
                (
                    (
                        ::retry_runtime::__private0::Ref<str>,
                        ::retry_runtime::__private0::Ref<[u8]>,
                        ::retry_runtime::__private0::Ref<__search_0>,
                        ::retry_runtime::__private0::Val<usize>,
                    ),
                    usize,
                ),
            >,
        )
        .shown_by(__show);
    fn __run(__invocation: &mut ::retry_runtime::__private0::Invocation) {
        let __result = {
            let ::core::option::Option::Some(
                (__argument0, __argument1, __argument2, __argument3),
            ) = ::retry_runtime::__private0::Input::<
                (
                    ::retry_runtime::__private0::Ref<str>,
                    ::retry_runtime::__private0::Ref<[u8]>,
                    ::retry_runtime::__private0::Ref<__search_0>,
                    ::retry_runtime::__private0::Val<usize>,
                ),
            >::NEW
                .__arguments(__invocation, &__SPEC) else {
                return;
            };
            search::search(&__argument0, &__argument1, &__argument2, __argument3)
        };
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
        let (__argument0, __argument1, __argument2, __argument3) = ::retry_runtime::__private0::Input::<
            (
                ::retry_runtime::__private0::Ref<str>,
                ::retry_runtime::__private0::Ref<[u8]>,
                ::retry_runtime::__private0::Ref<__search_0>,
                ::retry_runtime::__private0::Val<usize>,
            ),
        >::NEW
            .__decoded(__message)?;
        ::retry_runtime::__private0::shown(
            &[
                ("text", (&::retry_runtime::__private0::Shown(&*__argument0)).__text()),
                ("bytes", (&::retry_runtime::__private0::Shown(&*__argument1)).__text()),
                (
                    "settings",
                    (&::retry_runtime::__private0::Shown(&*__argument2)).__text(),
                ),
                ("limit", (&::retry_runtime::__private0::Shown(&__argument3)).__text()),
            ],
        )
    }
    ::retry_runtime::__private0::inventory::submit! {
        ::retry_runtime::__private0::Submission(& __REGISTRATION)
    }
    type __Kind = ::retry_runtime::__private0::Kind<
        {
            ::retry_runtime::__private0::kind!(
                usize, (::retry_runtime::__private0::Ref < str >,
                ::retry_runtime::__private0::Ref < [u8] >,
                ::retry_runtime::__private0::Ref < __search_0 >,
                ::retry_runtime::__private0::Val < usize >,)
            )
        },
    >;
    impl search {
        fn __stub(
            &self,
        ) -> &'static ::retry_runtime::__private0::Typed<
            fn(&str, &[u8], &__search_0, usize) -> usize,
            (
                ::retry_runtime::__private0::Ref<str>,
                ::retry_runtime::__private0::Ref<[u8]>,
                ::retry_runtime::__private0::Ref<__search_0>,
                ::retry_runtime::__private0::Val<usize>,
            ),
            usize,
        > {
            &__STUB
        }
    }
    const _: () = {
        #[allow(dead_code, non_snake_case, clippy::all, clippy::pedantic)]
        fn text() {}
        #[allow(dead_code, non_snake_case, clippy::all, clippy::pedantic)]
        fn bytes() {}
        #[allow(dead_code, non_snake_case, clippy::all, clippy::pedantic)]
        fn settings() {}
        #[allow(dead_code, non_snake_case, clippy::all, clippy::pedantic)]
        fn limit() {}
        impl search {
            #[doc(hidden)]
            #[track_caller]
            fn remote(
                &self,
                text: &str,
                bytes: &[u8],
                settings: &__search_0,
                limit: usize,
            ) -> ::retry_runtime::__private0::Call<
                <usize as ::retry_runtime::__private0::Outcome<__Kind>>::Value,
                <usize as ::retry_runtime::__private0::Outcome<__Kind>>::Error,
            > {
                self.__stub().__call((text, bytes, settings, limit))
            }
            #[doc(hidden)]
            #[track_caller]
            fn spawn(
                &self,
                text: &str,
                bytes: &[u8],
                settings: &__search_0,
                limit: usize,
            ) -> ::retry_runtime::__private0::FunctionCall<
                <usize as ::retry_runtime::__private0::Outcome<__Kind>>::Value,
                <usize as ::retry_runtime::__private0::Outcome<__Kind>>::Error,
            > {
                ::retry_runtime::__private0::spawn(
                    self.remote(text, bytes, settings, limit),
                )
            }
            #[doc(hidden)]
            fn attach(
                &self,
                __call: ::retry_runtime::__private0::CallId,
            ) -> ::retry_runtime::__private0::FunctionCall<
                <usize as ::retry_runtime::__private0::Outcome<__Kind>>::Value,
                <usize as ::retry_runtime::__private0::Outcome<__Kind>>::Error,
            > {
                self.__stub().__attach(__call)
            }
            #[doc(hidden)]
            #[track_caller]
            fn map<
                '__input,
                __I: ::core::iter::IntoIterator<
                        Item: ::retry_runtime::__private0::Accepted<
                                Self,
                                (&'__input str, &'__input [u8], &'__input __search_0, usize),
                            >,
                    >,
            >(
                &self,
                __inputs: __I,
            ) -> ::retry_runtime::__private0::Map<
                __I::IntoIter,
                <usize as ::retry_runtime::__private0::Outcome<__Kind>>::Value,
                <usize as ::retry_runtime::__private0::Outcome<__Kind>>::Error,
            > {
                self.__stub().__map(__inputs)
            }
            #[doc(hidden)]
            #[track_caller]
            fn for_each<
                '__input,
                __I: ::core::iter::IntoIterator<
                        Item: ::retry_runtime::__private0::Accepted<
                                Self,
                                (&'__input str, &'__input [u8], &'__input __search_0, usize),
                            >,
                    >,
            >(
                &self,
                __inputs: __I,
            ) -> ::retry_runtime::__private0::ForEach<
                __I::IntoIter,
                <usize as ::retry_runtime::__private0::Outcome<__Kind>>::Value,
                <usize as ::retry_runtime::__private0::Outcome<__Kind>>::Error,
            > {
                ::retry_runtime::__private0::ForEach::new(self.map(__inputs))
            }
            #[doc(hidden)]
            fn with_options(
                &self,
                __options: ::retry_runtime::__private0::Options,
            ) -> ::retry_runtime::__private0::Typed<
                fn(&str, &[u8], &__search_0, usize) -> usize,
                (
                    ::retry_runtime::__private0::Ref<str>,
                    ::retry_runtime::__private0::Ref<[u8]>,
                    ::retry_runtime::__private0::Ref<__search_0>,
                    ::retry_runtime::__private0::Val<usize>,
                ),
                usize,
            > {
                self.__stub().with_options(__options)
            }
            #[doc(hidden)]
            fn on(
                &self,
                __runtime: &::retry_runtime::__private0::Runtime,
            ) -> ::retry_runtime::__private0::Typed<
                fn(&str, &[u8], &__search_0, usize) -> usize,
                (
                    ::retry_runtime::__private0::Ref<str>,
                    ::retry_runtime::__private0::Ref<[u8]>,
                    ::retry_runtime::__private0::Ref<__search_0>,
                    ::retry_runtime::__private0::Val<usize>,
                ),
                usize,
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
    impl ::retry_runtime::__private0::Signature for search {
        type Arguments = <(
            ::retry_runtime::__private0::Ref<str>,
            ::retry_runtime::__private0::Ref<[u8]>,
            ::retry_runtime::__private0::Ref<__search_0>,
            ::retry_runtime::__private0::Val<usize>,
        ) as ::retry_runtime::__private0::Select<__Kind>>::Arguments;
    }
    impl ::core::ops::Deref for search {
        type Target = fn(&str, &[u8], &__search_0, usize) -> usize;
        fn deref(&self) -> &Self::Target {
            static __FUNCTION: fn(&str, &[u8], &__search_0, usize) -> usize = search::search;
            &__FUNCTION
        }
    }
};
