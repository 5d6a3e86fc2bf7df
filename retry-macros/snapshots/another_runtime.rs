// #[function(crate = ::my::runtime)]
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
    static __SPEC: ::my::runtime::__private0::FunctionSpec = ::my::runtime::__private0::FunctionSpec::new(
        ::core::concat!(::core::module_path!(), "::", "f"),
        ::core::file!(),
        ::core::line!(),
        &[],
    );
    static __STUB: ::my::runtime::__private0::Typed<fn() -> (), (), ()> = ::my::runtime::__private0::Typed::new(
        f::f,
        &__REGISTRATION,
    );
    static __REGISTRATION: ::my::runtime::__private0::Registration = ::my::runtime::__private0::Registration::new(
            &__SPEC,
            ::my::runtime::__private0::Run::Blocking(__run),
            ::core::any::type_name::<((), ())>,
        )
        .shown_by(__show);
    fn __run(__invocation: &mut ::my::runtime::__private0::Invocation) {
        let __result = {
            let ::core::option::Option::Some(()) = ::my::runtime::__private0::Input::<
                (),
            >::NEW
                .__arguments(__invocation, &__SPEC) else {
                return;
            };
            f::f()
        };
        ::my::runtime::__private0::Invocation::retry(
            __invocation,
            {
                use ::my::runtime::__private0::{Says as _, Silent as _};
                (&::my::runtime::__private0::Probe(&__result)).__ask()
            },
        );
        {
            use ::my::runtime::__private0::{Debugged as _, Displayed as _, Mute as _};
            (&&::my::runtime::__private0::Probe(&__result)).__describe(__invocation);
        }
        __STUB.__reply(__invocation, __result);
    }
    fn __show(
        __message: &[::core::primitive::u8],
    ) -> ::core::option::Option<::std::string::String> {
        #[allow(unused_imports)]
        use ::my::runtime::__private0::{Debugs as _, Opaque as _};
        #[allow(unused_variables)]
        let () = ::my::runtime::__private0::Input::<()>::NEW.__decoded(__message)?;
        ::my::runtime::__private0::shown(&[])
    }
    ::my::runtime::__private0::inventory::submit! {
        ::my::runtime::__private0::Submission(& __REGISTRATION)
    }
    type __Kind = ::my::runtime::__private0::Kind<
        { ::my::runtime::__private0::kind!((), ()) },
    >;
    impl f {
        fn __stub(
            &self,
        ) -> &'static ::my::runtime::__private0::Typed<fn() -> (), (), ()> {
            &__STUB
        }
    }
    const _: () = {
        impl f {
            #[doc(hidden)]
            #[track_caller]
            fn remote(
                &self,
            ) -> ::my::runtime::__private0::Call<
                <() as ::my::runtime::__private0::Outcome<__Kind>>::Value,
                <() as ::my::runtime::__private0::Outcome<__Kind>>::Error,
            > {
                self.__stub().__call(())
            }
            #[doc(hidden)]
            #[track_caller]
            fn spawn(
                &self,
            ) -> ::my::runtime::__private0::FunctionCall<
                <() as ::my::runtime::__private0::Outcome<__Kind>>::Value,
                <() as ::my::runtime::__private0::Outcome<__Kind>>::Error,
            > {
                ::my::runtime::__private0::spawn(self.remote())
            }
            #[doc(hidden)]
            fn attach(
                &self,
                __call: ::my::runtime::__private0::CallId,
            ) -> ::my::runtime::__private0::FunctionCall<
                <() as ::my::runtime::__private0::Outcome<__Kind>>::Value,
                <() as ::my::runtime::__private0::Outcome<__Kind>>::Error,
            > {
                self.__stub().__attach(__call)
            }
            #[doc(hidden)]
            #[track_caller]
            fn map<
                '__input,
                __I: ::core::iter::IntoIterator<
                        Item: ::my::runtime::__private0::Accepted<Self, ()>,
                    >,
            >(
                &self,
                __inputs: __I,
            ) -> ::my::runtime::__private0::Map<
                __I::IntoIter,
                <() as ::my::runtime::__private0::Outcome<__Kind>>::Value,
                <() as ::my::runtime::__private0::Outcome<__Kind>>::Error,
            > {
                self.__stub().__map(__inputs)
            }
            #[doc(hidden)]
            #[track_caller]
            fn for_each<
                '__input,
                __I: ::core::iter::IntoIterator<
                        Item: ::my::runtime::__private0::Accepted<Self, ()>,
                    >,
            >(
                &self,
                __inputs: __I,
            ) -> ::my::runtime::__private0::ForEach<
                __I::IntoIter,
                <() as ::my::runtime::__private0::Outcome<__Kind>>::Value,
                <() as ::my::runtime::__private0::Outcome<__Kind>>::Error,
            > {
                ::my::runtime::__private0::ForEach::new(self.map(__inputs))
            }
            #[doc(hidden)]
            fn with_options(
                &self,
                __options: ::my::runtime::__private0::Options,
            ) -> ::my::runtime::__private0::Typed<fn() -> (), (), ()> {
                self.__stub().with_options(__options)
            }
            #[doc(hidden)]
            fn on(
                &self,
                __runtime: &::my::runtime::__private0::Runtime,
            ) -> ::my::runtime::__private0::Typed<fn() -> (), (), ()> {
                self.__stub().on(__runtime)
            }
            #[doc(hidden)]
            fn name(&self) -> &'static ::core::primitive::str {
                self.__stub().name()
            }
            #[doc(hidden)]
            fn spec(&self) -> &'static ::my::runtime::__private0::FunctionSpec {
                self.__stub().spec()
            }
        }
    };
    impl ::my::runtime::__private0::Signature for f {
        type Arguments = <() as ::my::runtime::__private0::Select<__Kind>>::Arguments;
    }
    impl ::core::ops::Deref for f {
        type Target = fn() -> ();
        fn deref(&self) -> &Self::Target {
            static __FUNCTION: fn() -> () = f::f;
            &__FUNCTION
        }
    }
};
