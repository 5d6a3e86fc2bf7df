// #[service(max_workers = 2, memory = LIMIT)]
// impl Scaler {
// #[setup]
// pub fn new(config: Config, by: u64) -> Result<Self, NoFactor> { make(config, by) }
// /// One number.
// #[method(retries = 2)]
// pub fn scale(&self, number: u64) -> u64 { number * self.factor }
// #[cfg(feature = "parse")]
// #[method]
// async fn parse(&mut self, _: &str, mut of: Option<Self>) -> Result<Self, String> { .. }
// pub fn factor(&self) -> u64 { self.factor }
// #[teardown]
// fn close(self) {}
// }

impl Scaler {
    #[allow(clippy::needless_pass_by_value)]
    pub fn new(config: Config, by: u64) -> Result<Self, NoFactor> {
        make(config, by)
    }
    /// One number.
    pub fn scale(&self, number: u64) -> u64 {
        number * self.factor
    }
    #[cfg(feature = "parse")]
    async fn parse(&mut self, _: &str, mut of: Option<Self>) -> Result<Self, String> {
        ..
    }
    pub fn factor(&self) -> u64 {
        self.factor
    }
    fn close(self) {}
}
///The methods of [`Scaler`] in worker processes.
#[allow(private_interfaces, dead_code)]
#[derive(::core::clone::Clone, ::core::fmt::Debug)]
pub struct ScalerHandle {
    /// One number.
    pub scale: Scaler_scale,
    #[cfg(feature = "parse")]
    parse: Scaler_parse,
}
const _: () = {
    #[allow(dead_code, non_snake_case, clippy::all, clippy::pedantic)]
    fn config() {}
    #[allow(dead_code, non_snake_case, clippy::all, clippy::pedantic)]
    fn by() {}
    #[allow(
        clippy::all,
        clippy::pedantic,
        dead_code,
        deprecated,
        private_interfaces,
        unused_variables
    )]
    impl Scaler {
        ///`Scaler` in worker processes, one value of it in each: workers and values are shared by all handles that were made with the same parameters, which are those of `new`.
        ///
        /// # Panics
        ///
        /// If the parameters cannot be encoded.
        #[track_caller]
        pub fn with(config: Config, by: u64) -> ScalerHandle {
            const _: () = <Config as ::retry_runtime::__private0::Sent>::HOLDS;
            const _: () = <u64 as ::retry_runtime::__private0::Sent>::HOLDS;
            let __config = ::retry_runtime::__private0::Configuration::<
                (Config, u64),
            >::NEW
                .__configure(&(config, by));
            ScalerHandle {
                scale: Scaler_scale::__of_service(&__config),
                #[cfg(feature = "parse")]
                parse: Scaler_parse::__of_service(&__config),
            }
        }
    }
};
#[allow(clippy::all, clippy::pedantic, dead_code, deprecated, private_interfaces)]
impl ScalerHandle {
    /// Returns the same methods in the workers of a runtime of its own.
    pub fn on(&self, __runtime: &::retry_runtime::__private0::Runtime) -> Self {
        Self {
            scale: (&self.scale).on(__runtime),
            #[cfg(feature = "parse")]
            parse: (&self.parse).on(__runtime),
        }
    }
}
#[doc(hidden)]
#[allow(deprecated, non_upper_case_globals)]
static Scaler_service: ::retry_runtime::__private0::Service = {
    static __SPEC: ::retry_runtime::__private0::FunctionSpec = ::retry_runtime::__private0::FunctionSpec::new(
            ::core::concat!(::core::module_path!(), "::", "Scaler"),
            ::core::file!(),
            ::core::line!(),
            &[],
        )
        .max_workers(2)
        .memory(__MEMORY);
    const __MEMORY: ::core::primitive::u64 = LIMIT;
    const _: () = ::retry_runtime::__private0::check_u64(
        __MEMORY,
        "`memory` must be more than zero; leave it out for no limit",
    );
    ::retry_runtime::__private0::Service {
        spec: &__SPEC,
        set_up: |__config| {
            #[allow(unused_imports)]
            use ::retry_runtime::__private0::AtOnce as _;
            let (__argument0, __argument1) = ::retry_runtime::__private0::Configuration::<
                (Config, u64),
            >::NEW
                .__read(__config)?;
            ::retry_runtime::__private0::IntoService::<
                Scaler,
            >::into_service(
                ::retry_runtime::__private0::Made(
                        <Scaler>::new(__argument0, __argument1),
                    )
                    .__value(),
            )
        },
        types: ::core::any::type_name::<(Config, u64)>,
        tear_down: ::core::option::Option::Some(|__state| {
            #[allow(unused_imports)]
            use ::retry_runtime::__private0::AtOnce as _;
            if let ::core::option::Option::Some(__ended) = (&::retry_runtime::__private0::STATE)
                .tear_down::<Scaler, _>(__state, <Scaler>::close)
            {
                ::retry_runtime::__private0::Nothing::torn_down(__ended.__value());
            }
        }),
    }
};
#[allow(dead_code, deprecated, unused_variables)]
#[allow(non_camel_case_types)]
#[doc(hidden)]
#[derive(::core::clone::Clone)]
pub struct Scaler_scale(
    ::retry_runtime::__private0::Typed<
        fn(&Scaler, u64) -> u64,
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
    type __Stub = Scaler_scale;
    impl __Stub {
        #[doc(hidden)]
        fn __body(__service: &Scaler, number: u64) -> u64 {
            <Scaler>::scale(__service, number)
        }
        /// Calls the function in this process: an ordinary call, to which no policy applies.
        #[allow(dead_code, unused_variables, clippy::all, clippy::pedantic)]
        pub fn local(&self, __service: &Scaler, number: u64) -> u64 {
            Self::__body(__service, number)
        }
    }
};
#[allow(clippy::all, clippy::pedantic, dead_code, deprecated, private_interfaces)]
const _: () = {
    static __SPEC: ::retry_runtime::__private0::FunctionSpec = ::retry_runtime::__private0::FunctionSpec::new(
            ::core::concat!(::core::module_path!(), "::", "Scaler::scale"),
            ::core::file!(),
            ::core::line!(),
            &["number"],
        )
        .retries(
            ::retry_runtime::__private0::Retries::fixed(
                2,
                ::core::time::Duration::from_secs(1),
            ),
        );
    static __STUB: ::retry_runtime::__private0::Typed<
        fn(&Scaler, u64) -> u64,
        (::retry_runtime::__private0::Val<u64>,),
        u64,
    > = ::retry_runtime::__private0::Typed::new(Scaler_scale::__body, &__REGISTRATION);
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
        .method_of(&Scaler_service, 0u16);
    fn __run(__invocation: &mut ::retry_runtime::__private0::Invocation) {
        let __state = ::retry_runtime::__private0::Invocation::state(__invocation);
        let __result = {
            let ::core::option::Option::Some((__argument0,)) = ::retry_runtime::__private0::Input::<
                (::retry_runtime::__private0::Val<u64>,),
            >::NEW
                .__arguments(__invocation, &__SPEC) else {
                return;
            };
            Scaler_scale::__body(
                &*::retry_runtime::__private0::State::read::<Scaler>(&__state),
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
    impl ::core::fmt::Debug for Scaler_scale {
        fn fmt(&self, __f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
            ::core::fmt::Debug::fmt(&self.0, __f)
        }
    }
    impl Scaler_scale {
        fn __stub(
            &self,
        ) -> &::retry_runtime::__private0::Typed<
            fn(&Scaler, u64) -> u64,
            (::retry_runtime::__private0::Val<u64>,),
            u64,
        > {
            &self.0
        }
        #[doc(hidden)]
        pub fn __of_service(
            __config: &::retry_runtime::__private0::ServiceConfig,
        ) -> Self {
            Self(::retry_runtime::__private0::Typed::of_service(&__STUB, __config))
        }
    }
    const _: () = {
        #[allow(dead_code, non_snake_case, clippy::all, clippy::pedantic)]
        fn __service() {}
        #[allow(dead_code, non_snake_case, clippy::all, clippy::pedantic)]
        fn number() {}
        impl Scaler_scale {
            #[doc(hidden)]
            #[track_caller]
            pub fn remote(
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
            pub fn spawn(
                &self,
                number: u64,
            ) -> ::retry_runtime::__private0::FunctionCall<
                <u64 as ::retry_runtime::__private0::Outcome<__Kind>>::Value,
                <u64 as ::retry_runtime::__private0::Outcome<__Kind>>::Error,
            > {
                ::retry_runtime::__private0::spawn(self.remote(number))
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
            pub fn for_each<
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
            pub fn with_options(
                &self,
                __options: ::retry_runtime::__private0::Options,
            ) -> Self {
                Self(self.__stub().with_options(__options))
            }
            #[doc(hidden)]
            pub fn on(&self, __runtime: &::retry_runtime::__private0::Runtime) -> Self {
                Self(self.__stub().on(__runtime))
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
    impl ::retry_runtime::__private0::Signature for Scaler_scale {
        type Arguments = <(
            ::retry_runtime::__private0::Val<u64>,
        ) as ::retry_runtime::__private0::Select<__Kind>>::Arguments;
    }
    impl ::core::ops::Deref for Scaler_scale {
        type Target = fn(&Scaler, u64) -> u64;
        fn deref(&self) -> &Self::Target {
            static __FUNCTION: fn(&Scaler, u64) -> u64 = Scaler_scale::__body;
            &__FUNCTION
        }
    }
};
#[cfg(feature = "parse")]
#[allow(dead_code, deprecated, unused_variables)]
#[allow(non_camel_case_types)]
#[doc(hidden)]
#[derive(::core::clone::Clone)]
struct Scaler_parse(
    ::retry_runtime::__private0::Typed<
        for<'__call> fn(
            &'__call mut Scaler,
            &'__call str,
            Option<__Scaler_parse_0>,
        ) -> ::retry_runtime::__private0::BoxFuture<
            '__call,
            Result<__Scaler_parse_0, String>,
        >,
        (
            ::retry_runtime::__private0::Ref<str>,
            ::retry_runtime::__private0::Val<Option<__Scaler_parse_0>>,
        ),
        Result<__Scaler_parse_0, String>,
    >,
);
#[cfg(feature = "parse")]
#[allow(dead_code, deprecated, non_camel_case_types)]
type __Scaler_parse_0 = Scaler;
#[cfg(feature = "parse")]
#[allow(dead_code, deprecated, unused_variables)]
const _: () = {
    #[allow(dead_code, non_snake_case, clippy::all, clippy::pedantic)]
    fn __service() {}
    #[allow(dead_code, non_snake_case, clippy::all, clippy::pedantic)]
    fn argument1() {}
    #[allow(dead_code, non_snake_case, clippy::all, clippy::pedantic)]
    fn of() {}
    #[allow(deprecated)]
    type __Stub = Scaler_parse;
    impl __Stub {
        #[doc(hidden)]
        async fn __body(
            __service: &mut Scaler,
            argument1: &str,
            of: Option<Scaler>,
        ) -> Result<Scaler, String> {
            <Scaler>::parse(__service, argument1, of).await
        }
        #[doc(hidden)]
        #[allow(clippy::all, clippy::pedantic)]
        fn __start<'__call>(
            __service: &'__call mut Scaler,
            argument1: &'__call str,
            of: Option<__Scaler_parse_0>,
        ) -> ::retry_runtime::__private0::BoxFuture<
            '__call,
            Result<__Scaler_parse_0, String>,
        > {
            #[allow(unused_imports)]
            use ::retry_runtime::__private0::Stays as _;
            ::retry_runtime::__private0::Started(Self::__body(__service, argument1, of))
                .__boxed()
        }
        /// Calls the function in this process: an ordinary call, to which no policy applies.
        #[allow(dead_code, unused_variables, clippy::all, clippy::pedantic)]
        async fn local(
            &self,
            __service: &mut Scaler,
            argument1: &str,
            of: Option<__Scaler_parse_0>,
        ) -> Result<__Scaler_parse_0, String> {
            Self::__body(__service, argument1, of).await
        }
    }
};
#[cfg(feature = "parse")]
#[allow(clippy::all, clippy::pedantic, dead_code, deprecated, private_interfaces)]
const _: () = {
    static __SPEC: ::retry_runtime::__private0::FunctionSpec = ::retry_runtime::__private0::FunctionSpec::new(
            ::core::concat!(::core::module_path!(), "::", "Scaler::parse"),
            ::core::file!(),
            ::core::line!(),
            &["argument1", "of"],
        )
        .asynchronous();
    static __STUB: ::retry_runtime::__private0::Typed<
        for<'__call> fn(
            &'__call mut Scaler,
            &'__call str,
            Option<__Scaler_parse_0>,
        ) -> ::retry_runtime::__private0::BoxFuture<
            '__call,
            Result<__Scaler_parse_0, String>,
        >,
        (
            ::retry_runtime::__private0::Ref<str>,
            ::retry_runtime::__private0::Val<Option<__Scaler_parse_0>>,
        ),
        Result<__Scaler_parse_0, String>,
    > = ::retry_runtime::__private0::Typed::new(Scaler_parse::__start, &__REGISTRATION);
    const _: () = <str as ::retry_runtime::__private0::Referred>::HOLDS;
    const _: () = <<Option<
        __Scaler_parse_0,
    > as ::retry_runtime::__private0::Suspect<
        {
            #[allow(unused_imports)]
            use ::retry_runtime::__private0::Otherwise as _;
            !::retry_runtime::__private0::IsPlain::<Option<__Scaler_parse_0>>::IS
                && (false
                    || ::retry_runtime::__private0::IsPlain::<__Scaler_parse_0>::IS)
        },
    >>::Type as ::retry_runtime::__private0::Sent>::HOLDS;
    const _: () = <<__Scaler_parse_0 as ::retry_runtime::__private0::Suspect<
        {
            #[allow(unused_imports)]
            use ::retry_runtime::__private0::Otherwise as _;
            !::retry_runtime::__private0::IsPlain::<Option<__Scaler_parse_0>>::IS
                && !false
        },
    >>::Type as ::retry_runtime::__private0::Sent>::HOLDS;
    const _: fn() = || {
        ::retry_runtime::__private0::Output::<Result<__Scaler_parse_0, String>>::NEW
            .sent_value::<__Scaler_parse_0>();
        ::retry_runtime::__private0::Output::<Result<__Scaler_parse_0, String>>::NEW
            .sent_error::<String>();
    };
    static __REGISTRATION: ::retry_runtime::__private0::Registration = ::retry_runtime::__private0::Registration::new(
            &__SPEC,
            ::retry_runtime::__private0::Run::Async(__run),
            ::core::any::type_name::<
                (
                    (
                        ::retry_runtime::__private0::Ref<str>,
                        ::retry_runtime::__private0::Val<Option<__Scaler_parse_0>>,
                    ),
                    Result<__Scaler_parse_0, String>,
                ),
            >,
        )
        .shown_by(__show)
        .method_of(&Scaler_service, 1u16);
    const _: () = ::retry_runtime::__private0::Registration::check_exclusive_state(
        &__REGISTRATION,
    );
    fn __run(
        mut __owned: ::retry_runtime::__private0::Invocation,
    ) -> ::retry_runtime::__private0::LocalFuture<
        ::retry_runtime::__private0::Invocation,
    > {
        ::std::boxed::Box::pin(async move {
            let __invocation = &mut __owned;
            let __state = ::retry_runtime::__private0::Invocation::state(__invocation);
            let __result = {
                let ::core::option::Option::Some((__argument0, __argument1)) = ::retry_runtime::__private0::Input::<
                    (
                        ::retry_runtime::__private0::Ref<str>,
                        ::retry_runtime::__private0::Val<Option<__Scaler_parse_0>>,
                    ),
                >::NEW
                    .__arguments(__invocation, &__SPEC) else {
                    return __owned;
                };
                Scaler_parse::__body(
                        &mut *::retry_runtime::__private0::State::write::<
                            Scaler,
                        >(&__state),
                        &__argument0,
                        __argument1,
                    )
                    .await
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
        let (__argument0, __argument1) = ::retry_runtime::__private0::Input::<
            (
                ::retry_runtime::__private0::Ref<str>,
                ::retry_runtime::__private0::Val<Option<__Scaler_parse_0>>,
            ),
        >::NEW
            .__decoded(__message)?;
        ::retry_runtime::__private0::shown(
            &[
                (
                    "argument1",
                    (&::retry_runtime::__private0::Shown(&*__argument0)).__text(),
                ),
                ("of", (&::retry_runtime::__private0::Shown(&__argument1)).__text()),
            ],
        )
    }
    ::retry_runtime::__private0::inventory::submit! {
        ::retry_runtime::__private0::Submission(& __REGISTRATION)
    }
    type __Kind = ::retry_runtime::__private0::Kind<
        {
            ::retry_runtime::__private0::kind!(
                Result < __Scaler_parse_0, String >, (::retry_runtime::__private0::Ref <
                str >, ::retry_runtime::__private0::Val < Option < __Scaler_parse_0 > >,)
            )
        },
    >;
    impl ::core::fmt::Debug for Scaler_parse {
        fn fmt(&self, __f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
            ::core::fmt::Debug::fmt(&self.0, __f)
        }
    }
    impl Scaler_parse {
        fn __stub(
            &self,
        ) -> &::retry_runtime::__private0::Typed<
            for<'__call> fn(
                &'__call mut Scaler,
                &'__call str,
                Option<__Scaler_parse_0>,
            ) -> ::retry_runtime::__private0::BoxFuture<
                '__call,
                Result<__Scaler_parse_0, String>,
            >,
            (
                ::retry_runtime::__private0::Ref<str>,
                ::retry_runtime::__private0::Val<Option<__Scaler_parse_0>>,
            ),
            Result<__Scaler_parse_0, String>,
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
        fn argument1() {}
        #[allow(dead_code, non_snake_case, clippy::all, clippy::pedantic)]
        fn of() {}
        impl Scaler_parse {
            #[doc(hidden)]
            #[track_caller]
            fn remote(
                &self,
                argument1: &str,
                of: Option<__Scaler_parse_0>,
            ) -> ::retry_runtime::__private0::Call<
                <Result<
                    __Scaler_parse_0,
                    String,
                > as ::retry_runtime::__private0::Outcome<__Kind>>::Value,
                <Result<
                    __Scaler_parse_0,
                    String,
                > as ::retry_runtime::__private0::Outcome<__Kind>>::Error,
            > {
                self.__stub().__call((argument1, of))
            }
            #[doc(hidden)]
            #[track_caller]
            fn spawn(
                &self,
                argument1: &str,
                of: Option<__Scaler_parse_0>,
            ) -> ::retry_runtime::__private0::FunctionCall<
                <Result<
                    __Scaler_parse_0,
                    String,
                > as ::retry_runtime::__private0::Outcome<__Kind>>::Value,
                <Result<
                    __Scaler_parse_0,
                    String,
                > as ::retry_runtime::__private0::Outcome<__Kind>>::Error,
            > {
                ::retry_runtime::__private0::spawn(self.remote(argument1, of))
            }
            #[doc(hidden)]
            fn attach(
                &self,
                __call: ::retry_runtime::__private0::CallId,
            ) -> ::retry_runtime::__private0::FunctionCall<
                <Result<
                    __Scaler_parse_0,
                    String,
                > as ::retry_runtime::__private0::Outcome<__Kind>>::Value,
                <Result<
                    __Scaler_parse_0,
                    String,
                > as ::retry_runtime::__private0::Outcome<__Kind>>::Error,
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
                                (&'__input str, Option<__Scaler_parse_0>),
                            >,
                    >,
            >(
                &self,
                __inputs: __I,
            ) -> ::retry_runtime::__private0::Map<
                __I::IntoIter,
                <Result<
                    __Scaler_parse_0,
                    String,
                > as ::retry_runtime::__private0::Outcome<__Kind>>::Value,
                <Result<
                    __Scaler_parse_0,
                    String,
                > as ::retry_runtime::__private0::Outcome<__Kind>>::Error,
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
                                (&'__input str, Option<__Scaler_parse_0>),
                            >,
                    >,
            >(
                &self,
                __inputs: __I,
            ) -> ::retry_runtime::__private0::ForEach<
                __I::IntoIter,
                <Result<
                    __Scaler_parse_0,
                    String,
                > as ::retry_runtime::__private0::Outcome<__Kind>>::Value,
                <Result<
                    __Scaler_parse_0,
                    String,
                > as ::retry_runtime::__private0::Outcome<__Kind>>::Error,
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
    impl ::retry_runtime::__private0::Signature for Scaler_parse {
        type Arguments = <(
            ::retry_runtime::__private0::Ref<str>,
            ::retry_runtime::__private0::Val<Option<__Scaler_parse_0>>,
        ) as ::retry_runtime::__private0::Select<__Kind>>::Arguments;
    }
    impl ::core::ops::Deref for Scaler_parse {
        type Target = for<'__call> fn(
            &'__call mut Scaler,
            &'__call str,
            Option<__Scaler_parse_0>,
        ) -> ::retry_runtime::__private0::BoxFuture<
            '__call,
            Result<__Scaler_parse_0, String>,
        >;
        fn deref(&self) -> &Self::Target {
            static __FUNCTION: for<'__call> fn(
                &'__call mut Scaler,
                &'__call str,
                Option<__Scaler_parse_0>,
            ) -> ::retry_runtime::__private0::BoxFuture<
                '__call,
                Result<__Scaler_parse_0, String>,
            > = Scaler_parse::__start;
            &__FUNCTION
        }
    }
};
