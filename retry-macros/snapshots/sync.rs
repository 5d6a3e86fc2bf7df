// #[function(retries = 3, timeout = "30s")]
// /// Adds.
// pub fn add(a: u64, b: u64) -> u64 { a + b }

/// Adds.
#[allow(non_camel_case_types)]
#[derive(::core::clone::Clone, ::core::marker::Copy, ::core::fmt::Debug)]
pub struct add;
const _: () = {
    #[allow(dead_code, non_snake_case, clippy::all, clippy::pedantic)]
    fn a() {}
    #[allow(dead_code, non_snake_case, clippy::all, clippy::pedantic)]
    fn b() {}
    #[allow(deprecated)]
    type __Stub = add;
    impl __Stub {
        #[doc(hidden)]
        fn add(a: u64, b: u64) -> u64 {
            a + b
        }
        /// Calls the function in this process: an ordinary call, to which no policy applies.
        #[allow(dead_code, unused_variables, clippy::all, clippy::pedantic)]
        pub fn local(&self, a: u64, b: u64) -> u64 {
            Self::add(a, b)
        }
    }
};
#[allow(clippy::all, clippy::pedantic, dead_code, deprecated, private_interfaces)]
const _: () = {
    static __SPEC: ::retry_runtime::__private0::FunctionSpec = ::retry_runtime::__private0::FunctionSpec::new(
            ::core::concat!(::core::module_path!(), "::", "add"),
            ::core::file!(),
            ::core::line!(),
            &["a", "b"],
        )
        .retries(
            ::retry_runtime::__private0::Retries::fixed(
                3,
                ::core::time::Duration::from_secs(1),
            ),
        )
        .timeout(::core::time::Duration::from_nanos(30000000000u64));
    static __STUB: ::retry_runtime::__private0::Typed<
        fn(u64, u64) -> u64,
        (::retry_runtime::__private0::Val<u64>, ::retry_runtime::__private0::Val<u64>),
        u64,
    > = ::retry_runtime::__private0::Typed::new(add::add, &__REGISTRATION);
    const _: () = <u64 as ::retry_runtime::__private0::Sent>::HOLDS;
    const _: () = <u64 as ::retry_runtime::__private0::Sent>::HOLDS;
    const _: fn() = || {
        ::retry_runtime::__private0::Output::<u64>::NEW.sent_value::<u64>();
        ::retry_runtime::__private0::Output::<u64>::NEW.sent_error::<u64>();
    };
    static __REGISTRATION: ::retry_runtime::__private0::Registration = ::retry_runtime::__private0::Registration::new(
            &__SPEC,
            ::retry_runtime::__private0::Run::Blocking(__run),
            ::core::any::type_name::<
                (
                    (
                        ::retry_runtime::__private0::Val<u64>,
                        ::retry_runtime::__private0::Val<u64>,
                    ),
                    u64,
                ),
            >,
        )
        .shown_by(__show);
    fn __run(__invocation: &mut ::retry_runtime::__private0::Invocation) {
        let __result = {
            let ::core::option::Option::Some((__argument0, __argument1)) = ::retry_runtime::__private0::Input::<
                (
                    ::retry_runtime::__private0::Val<u64>,
                    ::retry_runtime::__private0::Val<u64>,
                ),
            >::NEW
                .__arguments(__invocation, &__SPEC) else {
                return;
            };
            add::add(__argument0, __argument1)
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
        let (__argument0, __argument1) = ::retry_runtime::__private0::Input::<
            (
                ::retry_runtime::__private0::Val<u64>,
                ::retry_runtime::__private0::Val<u64>,
            ),
        >::NEW
            .__decoded(__message)?;
        ::retry_runtime::__private0::shown(
            &[
                ("a", (&::retry_runtime::__private0::Shown(&__argument0)).__text()),
                ("b", (&::retry_runtime::__private0::Shown(&__argument1)).__text()),
            ],
        )
    }
    ::retry_runtime::__private0::inventory::submit! {
        ::retry_runtime::__private0::Submission(& __REGISTRATION)
    }
    type __Kind = ::retry_runtime::__private0::Kind<
        {
            ::retry_runtime::__private0::kind!(
                u64, (::retry_runtime::__private0::Val < u64 >,
                ::retry_runtime::__private0::Val < u64 >,)
            )
        },
    >;
    impl add {
        fn __stub(
            &self,
        ) -> &'static ::retry_runtime::__private0::Typed<
            fn(u64, u64) -> u64,
            (
                ::retry_runtime::__private0::Val<u64>,
                ::retry_runtime::__private0::Val<u64>,
            ),
            u64,
        > {
            &__STUB
        }
    }
    const _: () = {
        #[allow(dead_code, non_snake_case, clippy::all, clippy::pedantic)]
        fn a() {}
        #[allow(dead_code, non_snake_case, clippy::all, clippy::pedantic)]
        fn b() {}
        impl add {
            #[doc(hidden)]
            #[track_caller]
            pub fn remote(
                &self,
                a: u64,
                b: u64,
            ) -> ::retry_runtime::__private0::Call<
                <u64 as ::retry_runtime::__private0::Outcome<__Kind>>::Value,
                <u64 as ::retry_runtime::__private0::Outcome<__Kind>>::Error,
            > {
                self.__stub().__call((a, b))
            }
            #[doc(hidden)]
            #[track_caller]
            pub fn spawn(
                &self,
                a: u64,
                b: u64,
            ) -> ::retry_runtime::__private0::FunctionCall<
                <u64 as ::retry_runtime::__private0::Outcome<__Kind>>::Value,
                <u64 as ::retry_runtime::__private0::Outcome<__Kind>>::Error,
            > {
                ::retry_runtime::__private0::spawn(self.remote(a, b))
            }
            #[doc(hidden)]
            pub fn attach(
                &self,
                __call: ::retry_runtime::__private0::CallId,
            ) -> ::retry_runtime::__private0::FunctionCall<
                <u64 as ::retry_runtime::__private0::Outcome<__Kind>>::Value,
                <u64 as ::retry_runtime::__private0::Outcome<__Kind>>::Error,
            > {
                self.__stub().__attach(__call)
            }
            #[doc(hidden)]
            #[track_caller]
            pub fn map<
                '__input,
                __I: ::core::iter::IntoIterator<
                        Item: ::retry_runtime::__private0::Accepted<Self, (u64, u64)>,
                    >,
            >(
                &self,
                __inputs: __I,
            ) -> ::retry_runtime::__private0::Map<
                __I::IntoIter,
                <u64 as ::retry_runtime::__private0::Outcome<__Kind>>::Value,
                <u64 as ::retry_runtime::__private0::Outcome<__Kind>>::Error,
            > {
                self.__stub().__map(__inputs)
            }
            #[doc(hidden)]
            #[track_caller]
            pub fn for_each<
                '__input,
                __I: ::core::iter::IntoIterator<
                        Item: ::retry_runtime::__private0::Accepted<Self, (u64, u64)>,
                    >,
            >(
                &self,
                __inputs: __I,
            ) -> ::retry_runtime::__private0::ForEach<
                __I::IntoIter,
                <u64 as ::retry_runtime::__private0::Outcome<__Kind>>::Value,
                <u64 as ::retry_runtime::__private0::Outcome<__Kind>>::Error,
            > {
                ::retry_runtime::__private0::ForEach::new(self.map(__inputs))
            }
            #[doc(hidden)]
            pub fn with_options(
                &self,
                __options: ::retry_runtime::__private0::Options,
            ) -> ::retry_runtime::__private0::Typed<
                fn(u64, u64) -> u64,
                (
                    ::retry_runtime::__private0::Val<u64>,
                    ::retry_runtime::__private0::Val<u64>,
                ),
                u64,
            > {
                self.__stub().with_options(__options)
            }
            #[doc(hidden)]
            pub fn on(
                &self,
                __runtime: &::retry_runtime::__private0::Runtime,
            ) -> ::retry_runtime::__private0::Typed<
                fn(u64, u64) -> u64,
                (
                    ::retry_runtime::__private0::Val<u64>,
                    ::retry_runtime::__private0::Val<u64>,
                ),
                u64,
            > {
                self.__stub().on(__runtime)
            }
            #[doc(hidden)]
            pub fn name(&self) -> &'static ::core::primitive::str {
                self.__stub().name()
            }
            #[doc(hidden)]
            pub fn spec(&self) -> &'static ::retry_runtime::__private0::FunctionSpec {
                self.__stub().spec()
            }
        }
    };
    impl ::retry_runtime::__private0::Signature for add {
        type Arguments = <(
            ::retry_runtime::__private0::Val<u64>,
            ::retry_runtime::__private0::Val<u64>,
        ) as ::retry_runtime::__private0::Select<__Kind>>::Arguments;
    }
    impl ::core::ops::Deref for add {
        type Target = fn(u64, u64) -> u64;
        fn deref(&self) -> &Self::Target {
            static __FUNCTION: fn(u64, u64) -> u64 = add::add;
            &__FUNCTION
        }
    }
};
