// #[function(batch(max_size = 64), timeout = 3)]
// fn f(numbers: Vec<u64>) -> Vec<u64> { numbers }

#[allow(non_camel_case_types)]
#[derive(::core::clone::Clone, ::core::marker::Copy, ::core::fmt::Debug)]
struct f;
const _: () = {
    #[allow(dead_code, non_snake_case, clippy::all, clippy::pedantic)]
    fn numbers() {}
    #[allow(deprecated)]
    type __Stub = f;
    impl __Stub {
        #[allow(clippy::needless_pass_by_value)]
        #[doc(hidden)]
        fn f(numbers: Vec<u64>) -> Vec<u64> {
            numbers
        }
        /// Calls the function in this process: an ordinary call, to which no policy applies.
        #[allow(dead_code, unused_variables, clippy::all, clippy::pedantic)]
        fn local(&self, numbers: Vec<u64>) -> Vec<u64> {
            Self::f(numbers)
        }
    }
};
#[allow(clippy::all, clippy::pedantic, dead_code, deprecated, private_interfaces)]
const _: () = {
    static __SPEC: ::retry_runtime::__private0::FunctionSpec = ::retry_runtime::__private0::FunctionSpec::new(
        ::core::concat!(::core::module_path!(), "::", "f"),
        ::core::file!(),
        ::core::line!(),
        &["numbers"],
    );
    static __STUB: ::retry_runtime::__private0::Typed<
        fn(Vec<u64>) -> Vec<u64>,
        (::retry_runtime::__private0::Val<u64>,),
        u64,
    > = ::retry_runtime::__private0::Typed::new(f::f, &__REGISTRATION);
    const _: () = <u64 as ::retry_runtime::__private0::Sent>::HOLDS;
    const _: fn() = || {
        ::retry_runtime::__private0::Output::<u64>::NEW.sent_value::<u64>();
        ::retry_runtime::__private0::Output::<u64>::NEW.sent_error::<u64>();
    };
    static __REGISTRATION: ::retry_runtime::__private0::Registration = ::retry_runtime::__private0::Registration::new(
            &__SPEC,
            ::retry_runtime::__private0::Run::Batch(__run),
            ::core::any::type_name::<((::retry_runtime::__private0::Val<u64>,), u64)>,
        )
        .shown_by(__show);
    fn __run(__batch: &mut [::retry_runtime::__private0::Invocation]) {
        ::retry_runtime::__private0::Input::<
            (::retry_runtime::__private0::Val<u64>,),
        >::NEW
            .__batch(
                __batch,
                &__SPEC,
                |__inputs| f::f(__inputs),
                |__invocation, __result| {
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
                },
            );
    }
    fn __show(
        __message: &[::core::primitive::u8],
    ) -> ::core::option::Option<::std::string::String> {
        #[allow(unused_imports)]
        use ::retry_runtime::__private0::{Debugs as _, Opaque as _};
        #[allow(unused_variables)]
        let (__argument0,) = ::retry_runtime::__private0::Input::<
            (::retry_runtime::__private0::Val<u64>,),
        >::NEW
            .__decoded(__message)?;
        ::retry_runtime::__private0::shown(
            &[("numbers", (&::retry_runtime::__private0::Shown(&__argument0)).__text())],
        )
    }
    ::retry_runtime::__private0::inventory::submit! {
        ::retry_runtime::__private0::Submission(& __REGISTRATION)
    }
    type __Kind = ::retry_runtime::__private0::Kind<
        {
            ::retry_runtime::__private0::kind!(
                u64, (::retry_runtime::__private0::Val < u64 >,)
            )
        },
    >;
    impl f {
        fn __stub(
            &self,
        ) -> &'static ::retry_runtime::__private0::Typed<
            fn(Vec<u64>) -> Vec<u64>,
            (::retry_runtime::__private0::Val<u64>,),
            u64,
        > {
            &__STUB
        }
    }
    const _: () = {
        #[allow(dead_code, non_snake_case, clippy::all, clippy::pedantic)]
        fn numbers() {}
        impl f {
            #[doc(hidden)]
            #[track_caller]
            fn remote(
                &self,
                numbers: u64,
            ) -> ::retry_runtime::__private0::Call<
                <u64 as ::retry_runtime::__private0::Outcome<__Kind>>::Value,
                <u64 as ::retry_runtime::__private0::Outcome<__Kind>>::Error,
            > {
                self.__stub().__call((numbers,))
            }
            #[doc(hidden)]
            #[track_caller]
            fn spawn(
                &self,
                numbers: u64,
            ) -> ::retry_runtime::__private0::FunctionCall<
                <u64 as ::retry_runtime::__private0::Outcome<__Kind>>::Value,
                <u64 as ::retry_runtime::__private0::Outcome<__Kind>>::Error,
            > {
                ::retry_runtime::__private0::spawn(self.remote(numbers))
            }
            #[doc(hidden)]
            fn attach(
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
            fn map<
                '__input,
                __I: ::core::iter::IntoIterator<
                        Item: ::retry_runtime::__private0::Accepted<Self, u64>,
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
            fn for_each<
                '__input,
                __I: ::core::iter::IntoIterator<
                        Item: ::retry_runtime::__private0::Accepted<Self, u64>,
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
            fn with_options(
                &self,
                __options: ::retry_runtime::__private0::Options,
            ) -> ::retry_runtime::__private0::Typed<
                fn(Vec<u64>) -> Vec<u64>,
                (::retry_runtime::__private0::Val<u64>,),
                u64,
            > {
                self.__stub().with_options(__options)
            }
            #[doc(hidden)]
            fn on(
                &self,
                __runtime: &::retry_runtime::__private0::Runtime,
            ) -> ::retry_runtime::__private0::Typed<
                fn(Vec<u64>) -> Vec<u64>,
                (::retry_runtime::__private0::Val<u64>,),
                u64,
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
    impl ::retry_runtime::__private0::Signature for f {
        type Arguments = <(
            ::retry_runtime::__private0::Val<u64>,
        ) as ::retry_runtime::__private0::Select<__Kind>>::Arguments;
    }
    impl ::core::ops::Deref for f {
        type Target = fn(Vec<u64>) -> Vec<u64>;
        fn deref(&self) -> &Self::Target {
            static __FUNCTION: fn(Vec<u64>) -> Vec<u64> = f::f;
            &__FUNCTION
        }
    }
};
::core::compile_error! {
    "`timeout` needs a unit: write `timeout = \"3s\"`"
}
