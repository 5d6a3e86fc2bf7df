// #[service(crate = ::my::runtime, name = "counter")]
// impl my::Counter {
// #[setup]
// fn new() -> Self { Self }
// #[method]
// fn next(&mut self) -> u64 { 1 }
// }

impl my::Counter {
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
    next: <__Counter_next as ::core::ops::Deref>::Target,
}
#[allow(private_interfaces, dead_code, unused_variables, clippy::all, clippy::pedantic)]
impl my::Counter {
    ///`Counter` in worker processes, one value of it in each: workers and values are shared by all handles that were made with the same parameters, which are those of `new`.
    ///
    /// # Panics
    ///
    /// If the parameters cannot be encoded.
    #[track_caller]
    fn with() -> CounterHandle {
        let __config = ::my::runtime::__private0::configure(&());
        CounterHandle {
            next: __Counter_next.of_service(&__config),
        }
    }
}
#[allow(private_interfaces, dead_code, clippy::all, clippy::pedantic)]
impl CounterHandle {
    /// The same with the workers of a runtime of its own.
    fn on(&self, __runtime: &::my::runtime::__private0::Runtime) -> Self {
        Self {
            next: self.next.on(__runtime),
        }
    }
}
#[doc(hidden)]
#[allow(non_upper_case_globals)]
static __service_Counter: ::my::runtime::__private0::Service = {
    static __SPEC: ::my::runtime::__private0::FunctionSpec = {
        ::my::runtime::__private0::FunctionSpec::new(
            "counter",
            ::core::file!(),
            ::core::line!(),
            &[],
        )
    };
    ::my::runtime::__private0::Service {
        spec: &__SPEC,
        set_up: |__config| {
            #[allow(unused_imports)]
            use ::my::runtime::__private0::AtOnce as _;
            let () = ::my::runtime::__private0::configuration::<()>(__config)?;
            ::my::runtime::__private0::set_up::<
                my::Counter,
                _,
            >(::my::runtime::__private0::Made(<my::Counter>::new()).value())
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
    fn __body(__service: &mut my::Counter) -> u64 {
        <my::Counter>::next(__service)
    }
    /// Calls the function in this process: an ordinary call, to which no policy applies.
    #[allow(dead_code, unused_variables, clippy::all, clippy::pedantic)]
    fn local(&self, __service: &mut my::Counter) -> u64 {
        Self::__body(__service)
    }
}
#[allow(clippy::all, clippy::pedantic, deprecated)]
const _: () = {
    static __SPEC: ::my::runtime::__private0::FunctionSpec = ::my::runtime::__private0::FunctionSpec::new(
        ::core::concat!(::core::module_path!(), "::", "Counter::next"),
        ::core::file!(),
        ::core::line!(),
        &[],
    );
    const _: fn() = || {
        ::my::runtime::__private0::Output::<u64>::NEW.value::<u64>();
        ::my::runtime::__private0::Output::<u64>::NEW.error::<u64>();
    };
    static __REGISTRATION: ::my::runtime::__private0::Registration = ::my::runtime::__private0::Registration::exclusive_state(
        ::my::runtime::__private0::Registration::new(
                &__SPEC,
                ::my::runtime::__private0::Run::Blocking(__run),
            )
            .method_of(&__service_Counter, 0u16),
    );
    fn __run(__invocation: &mut ::my::runtime::__private0::Invocation) {
        let __state = __invocation.state();
        let __result = {
            let ::core::option::Option::Some(()) = ::my::runtime::__private0::Input::<
                (),
            >::NEW
                .arguments(__invocation, &__SPEC) else {
                return;
            };
            __Counter_next::__body(&mut *__state.write::<my::Counter>())
        };
        __invocation
            .retry({
                use ::my::runtime::__private0::{Says as _, Silent as _};
                (&::my::runtime::__private0::Probe(&__result)).ask()
            });
        {
            use ::my::runtime::__private0::{Debugged as _, Displayed as _, Mute as _};
            (&&::my::runtime::__private0::Probe(&__result)).describe(__invocation);
        }
        __Counter_next.__reply(__invocation, __result);
    }
    ::my::runtime::__private0::inventory::submit! {
        ::my::runtime::__private0::Submission(& __REGISTRATION)
    }
    impl ::core::ops::Deref for __Counter_next {
        type Target = ::my::runtime::__private0::Typed<
            fn(&mut my::Counter) -> u64,
            (),
            u64,
        >;
        fn deref(&self) -> &Self::Target {
            static __STUB: ::my::runtime::__private0::Typed<
                fn(&mut my::Counter) -> u64,
                (),
                u64,
            > = ::my::runtime::__private0::Typed::new(
                __Counter_next::__body,
                &__REGISTRATION,
            );
            &__STUB
        }
    }
};
