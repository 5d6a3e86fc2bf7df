// #[service]
// impl Counter {
// #![allow(dead_code)]
// const FIRST: u64 = { 1 };
// #[setup]
// fn new() -> Self { Self }
// #[method]
// fn next(&mut self) -> u64 { Self::FIRST }
// methods! { more }
// }

impl Counter {
    #![allow(dead_code)]
    const FIRST: u64 = { 1 };
    fn new() -> Self {
        Self
    }
    fn next(&mut self) -> u64 {
        Self::FIRST
    }
    methods! {
        more
    }
}
///The methods of [`Counter`] in worker processes.
#[allow(private_interfaces, dead_code)]
#[derive(::core::clone::Clone, ::core::fmt::Debug)]
struct CounterHandle {
    next: <__Counter_next as ::core::ops::Deref>::Target,
}
#[allow(private_interfaces, dead_code, unused_variables, clippy::all, clippy::pedantic)]
impl Counter {
    ///`Counter` in worker processes, one value of it in each: workers and values are shared by all handles that were made with the same parameters, which are those of `new`.
    ///
    /// # Panics
    ///
    /// If the parameters cannot be encoded.
    #[track_caller]
    fn with() -> CounterHandle {
        let __config = ::retry_runtime::__private0::configure(&());
        CounterHandle {
            next: __Counter_next.of_service(&__config),
        }
    }
}
#[allow(private_interfaces, dead_code, clippy::all, clippy::pedantic)]
impl CounterHandle {
    /// The same with the workers of a runtime of its own.
    fn on(&self, __runtime: &::retry_runtime::__private0::Runtime) -> Self {
        Self {
            next: self.next.on(__runtime),
        }
    }
}
#[doc(hidden)]
#[allow(non_upper_case_globals)]
static __service_Counter: ::retry_runtime::__private0::Service = {
    static __SPEC: ::retry_runtime::__private0::FunctionSpec = {
        ::retry_runtime::__private0::FunctionSpec::new(
            ::core::concat!(::core::module_path!(), "::", "Counter"),
            ::core::file!(),
            ::core::line!(),
            &[],
        )
    };
    ::retry_runtime::__private0::Service {
        spec: &__SPEC,
        set_up: |__config| {
            #[allow(unused_imports)]
            use ::retry_runtime::__private0::AtOnce as _;
            let () = ::retry_runtime::__private0::configuration::<()>(__config)?;
            ::retry_runtime::__private0::set_up::<
                Counter,
                _,
            >(::retry_runtime::__private0::Made(<Counter>::new()).value())
        },
        tear_down: ::core::option::Option::None,
    }
};
#[allow(dead_code, deprecated, unused_variables)]
#[allow(non_camel_case_types)]
#[derive(::core::clone::Clone, ::core::marker::Copy, ::core::fmt::Debug)]
struct __Counter_next;
#[allow(dead_code, deprecated, unused_variables)]
impl __Counter_next {
    #[doc(hidden)]
    fn __body(__service: &mut Counter) -> u64 {
        <Counter>::next(__service)
    }
    /// Calls the function in this process: an ordinary call, to which no policy applies.
    #[allow(dead_code, unused_variables, clippy::all, clippy::pedantic)]
    fn local(&self, __service: &mut Counter) -> u64 {
        Self::__body(__service)
    }
}
#[allow(clippy::all, clippy::pedantic, deprecated)]
const _: () = {
    static __SPEC: ::retry_runtime::__private0::FunctionSpec = ::retry_runtime::__private0::FunctionSpec::new(
        ::core::concat!(::core::module_path!(), "::", "Counter::next"),
        ::core::file!(),
        ::core::line!(),
        &[],
    );
    const _: fn() = || {
        ::retry_runtime::__private0::Output::<u64>::NEW.value::<u64>();
        ::retry_runtime::__private0::Output::<u64>::NEW.error::<u64>();
    };
    static __REGISTRATION: ::retry_runtime::__private0::Registration = ::retry_runtime::__private0::Registration::exclusive_state(
        ::retry_runtime::__private0::Registration::new(
                &__SPEC,
                ::retry_runtime::__private0::Run::Blocking(__run),
            )
            .method_of(&__service_Counter, 0u16),
    );
    fn __run(__invocation: &mut ::retry_runtime::__private0::Invocation) {
        let __state = __invocation.state();
        let __result = {
            let ::core::option::Option::Some(()) = ::retry_runtime::__private0::Input::<
                (),
            >::NEW
                .arguments(__invocation, &__SPEC) else {
                return;
            };
            __Counter_next::__body(&mut *__state.write::<Counter>())
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
        __Counter_next.__reply(__invocation, __result);
    }
    ::retry_runtime::__private0::inventory::submit! {
        ::retry_runtime::__private0::Submission(& __REGISTRATION)
    }
    impl ::core::ops::Deref for __Counter_next {
        type Target = ::retry_runtime::__private0::Typed<
            fn(&mut Counter) -> u64,
            (),
            u64,
        >;
        fn deref(&self) -> &Self::Target {
            static __STUB: ::retry_runtime::__private0::Typed<
                fn(&mut Counter) -> u64,
                (),
                u64,
            > = ::retry_runtime::__private0::Typed::new(
                __Counter_next::__body,
                &__REGISTRATION,
            );
            &__STUB
        }
    }
};
