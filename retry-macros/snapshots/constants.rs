// #[function(retries = POLICY, timeout = LIMIT, deadline = "1m", at_most_once)]
// fn f() {}

#[allow(non_camel_case_types)]
#[derive(::core::clone::Clone, ::core::marker::Copy, ::core::fmt::Debug)]
struct f;
const _: () = {
    #[allow(deprecated)]
    type __Stub = f;
    impl __Stub {
        #[doc(hidden)]
        fn f() {}
        /// Calls the function in this process: an ordinary call, to which no policy applies.
        #[allow(dead_code, unused_variables, clippy::all, clippy::pedantic)]
        fn local(&self) {
            Self::f()
        }
    }
};
#[allow(clippy::all, clippy::pedantic, dead_code, deprecated, private_interfaces)]
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
    static __STUB: ::retry_runtime::__private0::Typed<fn() -> (), (), ()> = ::retry_runtime::__private0::Typed::new(
        f::f,
        &__REGISTRATION,
    );
    const __RETRIES: ::retry_runtime::__private0::RetriesOr = ::retry_runtime::__private0::RetriesFrom(
            POLICY,
        )
        .__get();
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
            ::core::any::type_name::<((), ())>,
        )
        .shown_by(__show);
    fn __run(__invocation: &mut ::retry_runtime::__private0::Invocation) {
        let __result = {
            let ::core::option::Option::Some(()) = ::retry_runtime::__private0::Input::<
                (),
            >::NEW
                .__arguments(__invocation, &__SPEC) else {
                return;
            };
            f::f()
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
        let () = ::retry_runtime::__private0::Input::<()>::NEW.__decoded(__message)?;
        ::retry_runtime::__private0::shown(&[])
    }
    ::retry_runtime::__private0::inventory::submit! {
        ::retry_runtime::__private0::Submission(& __REGISTRATION)
    }
    type __Kind = ::retry_runtime::__private0::Kind<
        { ::retry_runtime::__private0::kind!((), ()) },
    >;
    impl f {
        fn __stub(
            &self,
        ) -> &'static ::retry_runtime::__private0::Typed<fn() -> (), (), ()> {
            &__STUB
        }
    }
    const _: () = {
        impl f {
            #[doc(hidden)]
            #[track_caller]
            fn remote(
                &self,
            ) -> ::retry_runtime::__private0::Call<
                <() as ::retry_runtime::__private0::Outcome<__Kind>>::Value,
                <() as ::retry_runtime::__private0::Outcome<__Kind>>::Error,
            > {
                self.__stub().__call(())
            }
            #[doc(hidden)]
            #[track_caller]
            fn spawn(
                &self,
            ) -> ::retry_runtime::__private0::FunctionCall<
                <() as ::retry_runtime::__private0::Outcome<__Kind>>::Value,
                <() as ::retry_runtime::__private0::Outcome<__Kind>>::Error,
            > {
                ::retry_runtime::__private0::spawn(self.remote())
            }
            #[doc(hidden)]
            fn attach(
                &self,
                __call: ::retry_runtime::__private0::CallId,
            ) -> ::retry_runtime::__private0::FunctionCall<
                <() as ::retry_runtime::__private0::Outcome<__Kind>>::Value,
                <() as ::retry_runtime::__private0::Outcome<__Kind>>::Error,
            > {
                self.__stub().__attach(__call)
            }
            #[doc(hidden)]
            #[track_caller]
            fn map<
                '__input,
                __I: ::core::iter::IntoIterator<
                        Item: ::retry_runtime::__private0::Accepted<Self, ()>,
                    >,
            >(
                &self,
                __inputs: __I,
            ) -> ::retry_runtime::__private0::Map<
                __I::IntoIter,
                <() as ::retry_runtime::__private0::Outcome<__Kind>>::Value,
                <() as ::retry_runtime::__private0::Outcome<__Kind>>::Error,
            > {
                self.__stub().__map(__inputs)
            }
            #[doc(hidden)]
            #[track_caller]
            fn for_each<
                '__input,
                __I: ::core::iter::IntoIterator<
                        Item: ::retry_runtime::__private0::Accepted<Self, ()>,
                    >,
            >(
                &self,
                __inputs: __I,
            ) -> ::retry_runtime::__private0::ForEach<
                __I::IntoIter,
                <() as ::retry_runtime::__private0::Outcome<__Kind>>::Value,
                <() as ::retry_runtime::__private0::Outcome<__Kind>>::Error,
            > {
                ::retry_runtime::__private0::ForEach::new(self.map(__inputs))
            }
            #[doc(hidden)]
            fn with_options(
                &self,
                __options: ::retry_runtime::__private0::Options,
            ) -> ::retry_runtime::__private0::Typed<fn() -> (), (), ()> {
                self.__stub().with_options(__options)
            }
            #[doc(hidden)]
            fn on(
                &self,
                __runtime: &::retry_runtime::__private0::Runtime,
            ) -> ::retry_runtime::__private0::Typed<fn() -> (), (), ()> {
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
        type Arguments = <() as ::retry_runtime::__private0::Select<__Kind>>::Arguments;
    }
    impl ::core::ops::Deref for f {
        type Target = fn() -> ();
        fn deref(&self) -> &Self::Target {
            static __FUNCTION: fn() -> () = f::f;
            &__FUNCTION
        }
    }
};
