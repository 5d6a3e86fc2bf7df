// #[service(crate = ::my::runtime, name = "counter")]
// impl my::Counter {
// #[setup]
// fn new() -> Self { Self }
// #[method]
// fn next(&mut self) -> u64 { 1 }
// }

impl my::Counter {
    #[allow(clippy::needless_pass_by_value)]
    fn new() -> Self {
        Self
    }
    fn next(&mut self) -> u64 {
        1
    }
}
///The methods of [`Counter`] in worker processes.
#[allow(private_interfaces, dead_code)]
#[derive(::core::clone::Clone, ::core::fmt::Debug)]
struct CounterHandle {
    next: Counter_next,
}
const _: () = {
    #[allow(
        clippy::all,
        clippy::pedantic,
        dead_code,
        deprecated,
        private_interfaces,
        unused_variables
    )]
    impl my::Counter {
        ///`Counter` in worker processes, one value of it in each: workers and values are shared by all handles that were made with the same parameters, which are those of `new`.
        ///
        /// # Panics
        ///
        /// If the parameters cannot be encoded.
        #[track_caller]
        fn with() -> CounterHandle {
            let __config = ::my::runtime::__private0::Configuration::<()>::NEW
                .__configure(&());
            CounterHandle {
                next: Counter_next::__of_service(&__config),
            }
        }
    }
};
#[allow(clippy::all, clippy::pedantic, dead_code, deprecated, private_interfaces)]
impl CounterHandle {
    /// Returns the same methods in the workers of a runtime of its own.
    fn on(&self, __runtime: &::my::runtime::__private0::Runtime) -> Self {
        Self {
            next: (&self.next).on(__runtime),
        }
    }
}
#[doc(hidden)]
#[allow(deprecated, non_upper_case_globals)]
static Counter_service: ::my::runtime::__private0::Service = {
    static __SPEC: ::my::runtime::__private0::FunctionSpec = ::my::runtime::__private0::FunctionSpec::new(
        "counter",
        ::core::file!(),
        ::core::line!(),
        &[],
    );
    ::my::runtime::__private0::Service {
        spec: &__SPEC,
        set_up: |__config| {
            #[allow(unused_imports)]
            use ::my::runtime::__private0::AtOnce as _;
            let () = ::my::runtime::__private0::Configuration::<()>::NEW
                .__read(__config)?;
            ::my::runtime::__private0::IntoService::<
                my::Counter,
            >::into_service(
                ::my::runtime::__private0::Made(<my::Counter>::new()).__value(),
            )
        },
        types: ::core::any::type_name::<()>,
        tear_down: ::core::option::Option::None,
    }
};
#[allow(dead_code, deprecated, unused_variables)]
#[allow(non_camel_case_types)]
#[doc(hidden)]
#[derive(::core::clone::Clone)]
struct Counter_next(
    ::my::runtime::__private0::Typed<fn(&mut my::Counter) -> u64, (), u64>,
);
#[allow(dead_code, deprecated, unused_variables)]
const _: () = {
    #[allow(dead_code, non_snake_case, clippy::all, clippy::pedantic)]
    fn __service() {}
    #[allow(deprecated)]
    type __Stub = Counter_next;
    impl __Stub {
        #[doc(hidden)]
        fn __body(__service: &mut my::Counter) -> u64 {
            <my::Counter>::next(__service)
        }
        /// Calls the function in this process: an ordinary call, to which no policy applies.
        #[allow(dead_code, unused_variables, clippy::all, clippy::pedantic)]
        fn local(&self, __service: &mut my::Counter) -> u64 {
            Self::__body(__service)
        }
    }
};
#[allow(clippy::all, clippy::pedantic, dead_code, deprecated, private_interfaces)]
const _: () = {
    static __SPEC: ::my::runtime::__private0::FunctionSpec = ::my::runtime::__private0::FunctionSpec::new(
        ::core::concat!(::core::module_path!(), "::", "Counter::next"),
        ::core::file!(),
        ::core::line!(),
        &[],
    );
    static __STUB: ::my::runtime::__private0::Typed<
        fn(&mut my::Counter) -> u64,
        (),
        u64,
    > = ::my::runtime::__private0::Typed::new(Counter_next::__body, &__REGISTRATION);
    const _: fn() = || {
        ::my::runtime::__private0::Output::<u64>::NEW.sent_value::<u64>();
        ::my::runtime::__private0::Output::<u64>::NEW.sent_error::<u64>();
    };
    static __REGISTRATION: ::my::runtime::__private0::Registration = ::my::runtime::__private0::Registration::new(
            &__SPEC,
            ::my::runtime::__private0::Run::Blocking(__run),
            ::core::any::type_name::<((), u64)>,
        )
        .shown_by(__show)
        .method_of(&Counter_service, 0u16);
    const _: () = ::my::runtime::__private0::Registration::check_exclusive_state(
        &__REGISTRATION,
    );
    fn __run(__invocation: &mut ::my::runtime::__private0::Invocation) {
        let __state = ::my::runtime::__private0::Invocation::state(__invocation);
        let __result = {
            let ::core::option::Option::Some(()) = ::my::runtime::__private0::Input::<
                (),
            >::NEW
                .__arguments(__invocation, &__SPEC) else {
                return;
            };
            Counter_next::__body(
                &mut *::my::runtime::__private0::State::write::<my::Counter>(&__state),
            )
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
        { ::my::runtime::__private0::kind!(u64, ()) },
    >;
    impl ::core::fmt::Debug for Counter_next {
        fn fmt(&self, __f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
            ::core::fmt::Debug::fmt(&self.0, __f)
        }
    }
    impl Counter_next {
        fn __stub(
            &self,
        ) -> &::my::runtime::__private0::Typed<fn(&mut my::Counter) -> u64, (), u64> {
            &self.0
        }
        #[doc(hidden)]
        fn __of_service(__config: &::my::runtime::__private0::ServiceConfig) -> Self {
            Self(::my::runtime::__private0::Typed::of_service(&__STUB, __config))
        }
    }
    const _: () = {
        #[allow(dead_code, non_snake_case, clippy::all, clippy::pedantic)]
        fn __service() {}
        impl Counter_next {
            #[doc(hidden)]
            #[track_caller]
            fn remote(
                &self,
            ) -> ::my::runtime::__private0::Call<
                <u64 as ::my::runtime::__private0::Outcome<__Kind>>::Value,
                <u64 as ::my::runtime::__private0::Outcome<__Kind>>::Error,
            > {
                self.__stub().__call(())
            }
            #[doc(hidden)]
            #[track_caller]
            fn spawn(
                &self,
            ) -> ::my::runtime::__private0::FunctionCall<
                <u64 as ::my::runtime::__private0::Outcome<__Kind>>::Value,
                <u64 as ::my::runtime::__private0::Outcome<__Kind>>::Error,
            > {
                ::my::runtime::__private0::spawn(self.remote())
            }
            #[doc(hidden)]
            fn attach(
                &self,
                __call: ::my::runtime::__private0::CallId,
            ) -> ::my::runtime::__private0::FunctionCall<
                <u64 as ::my::runtime::__private0::Outcome<__Kind>>::Value,
                <u64 as ::my::runtime::__private0::Outcome<__Kind>>::Error,
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
                <u64 as ::my::runtime::__private0::Outcome<__Kind>>::Value,
                <u64 as ::my::runtime::__private0::Outcome<__Kind>>::Error,
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
                <u64 as ::my::runtime::__private0::Outcome<__Kind>>::Value,
                <u64 as ::my::runtime::__private0::Outcome<__Kind>>::Error,
            > {
                ::my::runtime::__private0::ForEach::new(self.map(__inputs))
            }
            #[doc(hidden)]
            fn with_options(
                &self,
                __options: ::my::runtime::__private0::Options,
            ) -> Self {
                Self(self.__stub().with_options(__options))
            }
            #[doc(hidden)]
            fn on(&self, __runtime: &::my::runtime::__private0::Runtime) -> Self {
                Self(self.__stub().on(__runtime))
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
    impl ::my::runtime::__private0::Signature for Counter_next {
        type Arguments = <() as ::my::runtime::__private0::Select<__Kind>>::Arguments;
    }
    impl ::core::ops::Deref for Counter_next {
        type Target = fn(&mut my::Counter) -> u64;
        fn deref(&self) -> &Self::Target {
            static __FUNCTION: fn(&mut my::Counter) -> u64 = Counter_next::__body;
            &__FUNCTION
        }
    }
};
