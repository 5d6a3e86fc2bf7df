// #[service(max_workers = 0, timeout = "3s")]
// impl Counter {
// #[setup]
// fn new<'a>(names: Vec<&'a str>) -> Self { Self }
// #[method(retries = -1)]
// fn right(&self, number: u64) -> u64 { number }
// #[method]
// fn wrong(&self, (a, b): (u64, u64)) -> &str { "" }
// #[method]
// fn hopeless<T>(&self, value: T) {}
// #[teardown]
// fn close(&self) {}
// }

impl Counter {
    #[allow(clippy::needless_pass_by_value)]
    fn new<'a>(names: Vec<&'a str>) -> Self {
        Self
    }
    fn right(&self, number: u64) -> u64 {
        number
    }
    fn wrong(&self, (a, b): (u64, u64)) -> &str {
        ""
    }
    fn hopeless<T>(&self, value: T) {}
    fn close(&self) {}
}
///The methods of [`Counter`] in worker processes.
#[allow(private_interfaces, dead_code)]
#[derive(::core::clone::Clone, ::core::fmt::Debug)]
struct CounterHandle {
    right: Counter_right,
    wrong: [(); ::core::compile_error! {
        "`timeout` is for single methods: #[method(timeout = ..)]"
    }],
    hopeless: [(); ::core::compile_error! {
        "`timeout` is for single methods: #[method(timeout = ..)]"
    }],
}
const _: () = {
    #[allow(dead_code, non_snake_case, clippy::all, clippy::pedantic)]
    fn names() {}
    #[allow(
        clippy::all,
        clippy::pedantic,
        dead_code,
        deprecated,
        private_interfaces,
        unused_variables
    )]
    impl Counter {
        #[allow(non_upper_case_globals)]
        const with: [(); ::core::compile_error! {
            "`timeout` is for single methods: #[method(timeout = ..)]"
        }] = loop {};
    }
};
#[allow(clippy::all, clippy::pedantic, dead_code, deprecated, private_interfaces)]
impl CounterHandle {
    /// Returns the same methods in the workers of a runtime of its own.
    fn on(&self, __runtime: &::retry_runtime::__private0::Runtime) -> Self {
        Self {
            right: (&self.right).on(__runtime),
            wrong: (&self.wrong).on(__runtime),
            hopeless: (&self.hopeless).on(__runtime),
        }
    }
}
#[doc(hidden)]
#[allow(deprecated, non_upper_case_globals)]
static Counter_service: ::retry_runtime::__private0::Service = {
    static __SPEC: ::retry_runtime::__private0::FunctionSpec = ::retry_runtime::__private0::FunctionSpec::new(
        ::core::concat!(::core::module_path!(), "::", "Counter"),
        ::core::file!(),
        ::core::line!(),
        &[],
    );
    ::retry_runtime::__private0::Service {
        spec: &__SPEC,
        set_up: |_| ::core::unreachable!(),
        types: ::core::any::type_name::<()>,
        tear_down: ::core::option::Option::None,
    }
};
#[allow(dead_code, deprecated, unused_variables)]
#[allow(non_camel_case_types)]
#[doc(hidden)]
#[derive(::core::clone::Clone)]
struct Counter_right(
    ::retry_runtime::__private0::Typed<
        fn(&Counter, u64) -> u64,
        (::retry_runtime::__private0::Val<u64>,),
        u64,
    >,
);
#[allow(dead_code, deprecated, unused_variables)]
const _: () = {
    #[allow(dead_code, non_snake_case, clippy::all, clippy::pedantic)]
    fn __service() {}
    #[allow(dead_code, non_snake_case, clippy::all, clippy::pedantic)]
    fn number() {}
    #[allow(deprecated)]
    type __Stub = Counter_right;
    impl __Stub {
        #[doc(hidden)]
        fn __body(__service: &Counter, number: u64) -> u64 {
            <Counter>::right(__service, number)
        }
        /// Calls the function in this process: an ordinary call, to which no policy applies.
        #[allow(dead_code, unused_variables, clippy::all, clippy::pedantic)]
        fn local(&self, __service: &Counter, number: u64) -> u64 {
            Self::__body(__service, number)
        }
    }
};
#[allow(clippy::all, clippy::pedantic, dead_code, deprecated, private_interfaces)]
const _: () = {
    static __SPEC: ::retry_runtime::__private0::FunctionSpec = ::retry_runtime::__private0::FunctionSpec::new(
        ::core::concat!(::core::module_path!(), "::", "Counter::right"),
        ::core::file!(),
        ::core::line!(),
        &["number"],
    );
    static __STUB: ::retry_runtime::__private0::Typed<
        fn(&Counter, u64) -> u64,
        (::retry_runtime::__private0::Val<u64>,),
        u64,
    > = ::retry_runtime::__private0::Typed::new(Counter_right::__body, &__REGISTRATION);
    const _: () = <u64 as ::retry_runtime::__private0::Sent>::HOLDS;
    const _: fn() = || {
        ::retry_runtime::__private0::Output::<u64>::NEW.sent_value::<u64>();
        ::retry_runtime::__private0::Output::<u64>::NEW.sent_error::<u64>();
    };
    static __REGISTRATION: ::retry_runtime::__private0::Registration = ::retry_runtime::__private0::Registration::new(
            &__SPEC,
            ::retry_runtime::__private0::Run::Blocking(__run),
            ::core::any::type_name::<((::retry_runtime::__private0::Val<u64>,), u64)>,
        )
        .shown_by(__show)
        .method_of(&Counter_service, 0u16);
    fn __run(__invocation: &mut ::retry_runtime::__private0::Invocation) {
        let __state = ::retry_runtime::__private0::Invocation::state(__invocation);
        let __result = {
            let ::core::option::Option::Some((__argument0,)) = ::retry_runtime::__private0::Input::<
                (::retry_runtime::__private0::Val<u64>,),
            >::NEW
                .__arguments(__invocation, &__SPEC) else {
                return;
            };
            Counter_right::__body(
                &*::retry_runtime::__private0::State::read::<Counter>(&__state),
                __argument0,
            )
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
        let (__argument0,) = ::retry_runtime::__private0::Input::<
            (::retry_runtime::__private0::Val<u64>,),
        >::NEW
            .__decoded(__message)?;
        ::retry_runtime::__private0::shown(
            &[("number", (&::retry_runtime::__private0::Shown(&__argument0)).__text())],
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
    impl ::core::fmt::Debug for Counter_right {
        fn fmt(&self, __f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
            ::core::fmt::Debug::fmt(&self.0, __f)
        }
    }
    impl Counter_right {
        fn __stub(
            &self,
        ) -> &::retry_runtime::__private0::Typed<
            fn(&Counter, u64) -> u64,
            (::retry_runtime::__private0::Val<u64>,),
            u64,
        > {
            &self.0
        }
        #[doc(hidden)]
        fn __of_service(__config: &::retry_runtime::__private0::ServiceConfig) -> Self {
            Self(::retry_runtime::__private0::Typed::of_service(&__STUB, __config))
        }
    }
    const _: () = {
        #[allow(dead_code, non_snake_case, clippy::all, clippy::pedantic)]
        fn __service() {}
        #[allow(dead_code, non_snake_case, clippy::all, clippy::pedantic)]
        fn number() {}
        impl Counter_right {
            #[doc(hidden)]
            #[track_caller]
            fn remote(
                &self,
                number: u64,
            ) -> ::retry_runtime::__private0::Call<
                <u64 as ::retry_runtime::__private0::Outcome<__Kind>>::Value,
                <u64 as ::retry_runtime::__private0::Outcome<__Kind>>::Error,
            > {
                self.__stub().__call((number,))
            }
            #[doc(hidden)]
            #[track_caller]
            fn spawn(
                &self,
                number: u64,
            ) -> ::retry_runtime::__private0::FunctionCall<
                <u64 as ::retry_runtime::__private0::Outcome<__Kind>>::Value,
                <u64 as ::retry_runtime::__private0::Outcome<__Kind>>::Error,
            > {
                ::retry_runtime::__private0::spawn(self.remote(number))
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
            ) -> Self {
                Self(self.__stub().with_options(__options))
            }
            #[doc(hidden)]
            fn on(&self, __runtime: &::retry_runtime::__private0::Runtime) -> Self {
                Self(self.__stub().on(__runtime))
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
    impl ::retry_runtime::__private0::Signature for Counter_right {
        type Arguments = <(
            ::retry_runtime::__private0::Val<u64>,
        ) as ::retry_runtime::__private0::Select<__Kind>>::Arguments;
    }
    impl ::core::ops::Deref for Counter_right {
        type Target = fn(&Counter, u64) -> u64;
        fn deref(&self) -> &Self::Target {
            static __FUNCTION: fn(&Counter, u64) -> u64 = Counter_right::__body;
            &__FUNCTION
        }
    }
};
::core::compile_error! {
    "`timeout` is for single methods: #[method(timeout = ..)]"
}
::core::compile_error! {
    "the value is made in each worker, so it cannot be made of what is borrowed; write `String`"
}
::core::compile_error! {
    "#[teardown] takes the value and nothing else: `fn close(self)`"
}
::core::compile_error! {
    "`max_workers` must be at least 1"
}
::core::compile_error! {
    "`retries` must not be negative"
}
::core::compile_error! {
    "a parameter of a #[method] needs a name; take the pattern apart in the body"
}
::core::compile_error! {
    "the result is made in another process, so it cannot borrow; write `String`"
}
::core::compile_error! {
    "a #[method] is called in another process, so it cannot be generic: a worker has to know which function to run; write one #[method] for each type"
}
