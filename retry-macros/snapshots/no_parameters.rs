// #[function]
// fn refresh() {}

#[allow(non_camel_case_types)]
#[derive(::core::clone::Clone, ::core::marker::Copy, ::core::fmt::Debug)]
struct refresh;
const _: () = {
    #[allow(deprecated)]
    type __Stub = refresh;
    impl __Stub {
        #[doc(hidden)]
        fn refresh() {}
        /// Calls the function in this process: an ordinary call, to which no policy applies.
        #[allow(dead_code, unused_variables, clippy::all, clippy::pedantic)]
        fn local(&self) {
            Self::refresh()
        }
    }
};
#[allow(clippy::all, clippy::pedantic, dead_code, deprecated, private_interfaces)]
const _: () = {
    static __SPEC: ::retry_runtime::__private0::FunctionSpec = ::retry_runtime::__private0::FunctionSpec::new(
        ::core::concat!(::core::module_path!(), "::", "refresh"),
        ::core::file!(),
        ::core::line!(),
        &[],
    );
    static __STUB: ::retry_runtime::__private0::Typed<fn() -> (), (), ()> = ::retry_runtime::__private0::Typed::new(
        refresh::refresh,
        &__REGISTRATION,
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
            refresh::refresh()
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
    impl refresh {
        fn __stub(
            &self,
        ) -> &'static ::retry_runtime::__private0::Typed<fn() -> (), (), ()> {
            &__STUB
        }
    }
    const _: () = {
        impl refresh {
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
    impl ::retry_runtime::__private0::Signature for refresh {
        type Arguments = <() as ::retry_runtime::__private0::Select<__Kind>>::Arguments;
    }
    impl ::core::ops::Deref for refresh {
        type Target = fn() -> ();
        fn deref(&self) -> &Self::Target {
            static __FUNCTION: fn() -> () = refresh::refresh;
            &__FUNCTION
        }
    }
};
