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
    pub scale: <__Scaler_scale as ::core::ops::Deref>::Target,
    #[cfg(feature = "parse")]
    parse: <__Scaler_parse as ::core::ops::Deref>::Target,
}
#[allow(private_interfaces, dead_code, unused_variables, clippy::all, clippy::pedantic)]
impl Scaler {
    ///`Scaler` in worker processes, one value of it in each: workers and values are shared by all handles that were made with the same parameters, which are those of `new`.
    ///
    /// # Panics
    ///
    /// If the parameters cannot be encoded.
    #[track_caller]
    pub fn with(config: Config, by: u64) -> ScalerHandle {
        let __config = ::retry_runtime::__private0::configure(&(config, by));
        ScalerHandle {
            scale: __Scaler_scale.of_service(&__config),
            #[cfg(feature = "parse")]
            parse: __Scaler_parse.of_service(&__config),
        }
    }
}
#[allow(private_interfaces, dead_code, clippy::all, clippy::pedantic)]
impl ScalerHandle {
    /// The same with the workers of a runtime of its own.
    pub fn on(&self, __runtime: &::retry_runtime::__private0::Runtime) -> Self {
        Self {
            scale: self.scale.on(__runtime),
            #[cfg(feature = "parse")]
            parse: self.parse.on(__runtime),
        }
    }
}
#[doc(hidden)]
#[allow(non_upper_case_globals)]
static __service_Scaler: ::retry_runtime::__private0::Service = {
    static __SPEC: ::retry_runtime::__private0::FunctionSpec = {
        const __MEMORY: ::core::primitive::u64 = LIMIT;
        const _: () = ::retry_runtime::__private0::check_u64(
            __MEMORY,
            "`memory` must be more than zero; leave it out for no limit",
        );
        ::retry_runtime::__private0::FunctionSpec::new(
                ::core::concat!(::core::module_path!(), "::", "Scaler"),
                ::core::file!(),
                ::core::line!(),
                &[],
            )
            .max_workers(2)
            .memory(__MEMORY)
    };
    ::retry_runtime::__private0::Service {
        spec: &__SPEC,
        set_up: |__config| {
            #[allow(unused_imports)]
            use ::retry_runtime::__private0::AtOnce as _;
            let (config, by) = ::retry_runtime::__private0::configuration::<
                (Config, u64),
            >(__config)?;
            ::retry_runtime::__private0::set_up::<
                Scaler,
                _,
            >(::retry_runtime::__private0::Made(<Scaler>::new(config, by)).value())
        },
        tear_down: ::core::option::Option::Some(|__state| {
            #[allow(unused_imports)]
            use ::retry_runtime::__private0::AtOnce as _;
            if let ::core::option::Option::Some(__ended) = ::retry_runtime::__private0::tear_down::<
                Scaler,
                _,
            >(__state, <Scaler>::close) {
                ::retry_runtime::__private0::torn_down(__ended.value());
            }
        }),
    }
};
#[allow(dead_code, deprecated, unused_variables)]
#[allow(non_camel_case_types)]
#[derive(::core::clone::Clone, ::core::marker::Copy, ::core::fmt::Debug)]
struct __Scaler_scale;
#[allow(dead_code, deprecated, unused_variables)]
impl __Scaler_scale {
    #[doc(hidden)]
    fn __body(__service: &Scaler, number: u64) -> u64 {
        <Scaler>::scale(__service, number)
    }
    /// Calls the function in this process: an ordinary call, to which no policy applies.
    #[allow(dead_code, unused_variables, clippy::all, clippy::pedantic)]
    fn local(&self, __service: &Scaler, number: u64) -> u64 {
        Self::__body(__service, number)
    }
}
#[allow(clippy::all, clippy::pedantic, deprecated)]
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
    const _: () = ::retry_runtime::__private0::assert_sent::<u64>();
    const _: fn() = || {
        ::retry_runtime::__private0::Output::<u64>::NEW.value::<u64>();
        ::retry_runtime::__private0::Output::<u64>::NEW.error::<u64>();
    };
    static __REGISTRATION: ::retry_runtime::__private0::Registration = ::retry_runtime::__private0::Registration::new(
            &__SPEC,
            ::retry_runtime::__private0::Run::Blocking(__run),
        )
        .method_of(&__service_Scaler, 0u16);
    fn __run(__invocation: &mut ::retry_runtime::__private0::Invocation) {
        let __state = __invocation.state();
        let __result = {
            let ::core::option::Option::Some((__argument0,)) = ::retry_runtime::__private0::Input::<
                (::retry_runtime::__private0::Val<u64>,),
            >::NEW
                .arguments(__invocation, &__SPEC) else {
                return;
            };
            __Scaler_scale::__body(&*__state.read::<Scaler>(), __argument0)
        };
        __invocation
            .retry({
                use ::retry_runtime::__private0::{Says as _, Silent as _};
                (&::retry_runtime::__private0::Probe(&__result)).ask()
            });
        {
            use ::retry_runtime::__private0::{Debugged as _, Displayed as _, Mute as _};
            (&&::retry_runtime::__private0::Probe(&__result)).describe(__invocation);
        }
        __Scaler_scale.__reply(__invocation, __result);
    }
    ::retry_runtime::__private0::inventory::submit! {
        ::retry_runtime::__private0::Submission(& __REGISTRATION)
    }
    impl ::core::ops::Deref for __Scaler_scale {
        type Target = ::retry_runtime::__private0::Typed<
            fn(&Scaler, u64) -> u64,
            (::retry_runtime::__private0::Val<u64>,),
            u64,
        >;
        fn deref(&self) -> &Self::Target {
            static __STUB: ::retry_runtime::__private0::Typed<
                fn(&Scaler, u64) -> u64,
                (::retry_runtime::__private0::Val<u64>,),
                u64,
            > = ::retry_runtime::__private0::Typed::new(
                __Scaler_scale::__body,
                &__REGISTRATION,
            );
            &__STUB
        }
    }
};
#[cfg(feature = "parse")]
#[allow(dead_code, deprecated, unused_variables)]
#[allow(non_camel_case_types)]
#[derive(::core::clone::Clone, ::core::marker::Copy, ::core::fmt::Debug)]
struct __Scaler_parse;
#[cfg(feature = "parse")]
#[allow(dead_code, deprecated, unused_variables)]
impl __Scaler_parse {
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
        of: Option<Scaler>,
    ) -> ::retry_runtime::__private0::BoxFuture<'__call, Result<Scaler, String>> {
        #[allow(unused_imports)]
        use ::retry_runtime::__private0::Stays as _;
        ::retry_runtime::__private0::Started(Self::__body(__service, argument1, of))
            .boxed()
    }
    /// Calls the function in this process: an ordinary call, to which no policy applies.
    #[allow(dead_code, unused_variables, clippy::all, clippy::pedantic)]
    async fn local(
        &self,
        __service: &mut Scaler,
        argument1: &str,
        of: Option<Scaler>,
    ) -> Result<Scaler, String> {
        Self::__body(__service, argument1, of).await
    }
}
#[cfg(feature = "parse")]
#[allow(clippy::all, clippy::pedantic, deprecated)]
const _: () = {
    static __SPEC: ::retry_runtime::__private0::FunctionSpec = ::retry_runtime::__private0::FunctionSpec::new(
            ::core::concat!(::core::module_path!(), "::", "Scaler::parse"),
            ::core::file!(),
            ::core::line!(),
            &["argument1", "of"],
        )
        .asynchronous();
    const _: () = ::retry_runtime::__private0::assert_referred::<str>();
    const _: () = ::retry_runtime::__private0::assert_sent::<Option<Scaler>>();
    const _: fn() = || {
        ::retry_runtime::__private0::Output::<Result<Scaler, String>>::NEW
            .value::<Scaler>();
        ::retry_runtime::__private0::Output::<Result<Scaler, String>>::NEW
            .error::<String>();
    };
    static __REGISTRATION: ::retry_runtime::__private0::Registration = ::retry_runtime::__private0::Registration::exclusive_state(
        ::retry_runtime::__private0::Registration::new(
                &__SPEC,
                ::retry_runtime::__private0::Run::Async(__run),
            )
            .method_of(&__service_Scaler, 1u16),
    );
    fn __run(
        mut __owned: ::retry_runtime::__private0::Invocation,
    ) -> ::retry_runtime::__private0::LocalFuture<
        ::retry_runtime::__private0::Invocation,
    > {
        ::std::boxed::Box::pin(async move {
            let __invocation = &mut __owned;
            let __state = __invocation.state();
            let __result = {
                let ::core::option::Option::Some((__argument0, __argument1)) = ::retry_runtime::__private0::Input::<
                    (
                        ::retry_runtime::__private0::Ref<str>,
                        ::retry_runtime::__private0::Val<Option<Scaler>>,
                    ),
                >::NEW
                    .arguments(__invocation, &__SPEC) else {
                    return __owned;
                };
                __Scaler_parse::__body(
                        &mut *__state.write::<Scaler>(),
                        &__argument0,
                        __argument1,
                    )
                    .await
            };
            __invocation
                .retry({
                    use ::retry_runtime::__private0::{Says as _, Silent as _};
                    (&::retry_runtime::__private0::Probe(&__result)).ask()
                });
            {
                use ::retry_runtime::__private0::{
                    Debugged as _, Displayed as _, Mute as _,
                };
                (&&::retry_runtime::__private0::Probe(&__result)).describe(__invocation);
            }
            __Scaler_parse.__reply(__invocation, __result);
            __owned
        })
    }
    ::retry_runtime::__private0::inventory::submit! {
        ::retry_runtime::__private0::Submission(& __REGISTRATION)
    }
    impl ::core::ops::Deref for __Scaler_parse {
        type Target = ::retry_runtime::__private0::Typed<
            for<'__call> fn(
                &'__call mut Scaler,
                &'__call str,
                Option<Scaler>,
            ) -> ::retry_runtime::__private0::BoxFuture<'__call, Result<Scaler, String>>,
            (
                ::retry_runtime::__private0::Ref<str>,
                ::retry_runtime::__private0::Val<Option<Scaler>>,
            ),
            Result<Scaler, String>,
        >;
        fn deref(&self) -> &Self::Target {
            static __STUB: ::retry_runtime::__private0::Typed<
                for<'__call> fn(
                    &'__call mut Scaler,
                    &'__call str,
                    Option<Scaler>,
                ) -> ::retry_runtime::__private0::BoxFuture<
                    '__call,
                    Result<Scaler, String>,
                >,
                (
                    ::retry_runtime::__private0::Ref<str>,
                    ::retry_runtime::__private0::Val<Option<Scaler>>,
                ),
                Result<Scaler, String>,
            > = ::retry_runtime::__private0::Typed::new(
                __Scaler_parse::__start,
                &__REGISTRATION,
            );
            &__STUB
        }
    }
};
