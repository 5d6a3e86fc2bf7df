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
    right: <__Counter_right as ::core::ops::Deref>::Target,
    wrong: <__Counter_wrong as ::core::ops::Deref>::Target,
}
#[allow(private_interfaces, dead_code, unused_variables, clippy::all, clippy::pedantic)]
impl Counter {
    ///`Counter` in worker processes, one value of it in each: workers and values are shared by all handles that were made with the same parameters, which are those of `new`.
    ///
    /// # Panics
    ///
    /// If the parameters cannot be encoded.
    #[track_caller]
    fn with(names: Vec<&'static str>) -> CounterHandle {
        ::core::unreachable!()
    }
}
#[allow(private_interfaces, dead_code, clippy::all, clippy::pedantic)]
impl CounterHandle {
    /// The same with the workers of a runtime of its own.
    fn on(&self, __runtime: &::retry_runtime::__private0::Runtime) -> Self {
        Self {
            right: self.right.on(__runtime),
            wrong: self.wrong.on(__runtime),
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
        set_up: |_| ::core::unreachable!(),
        tear_down: ::core::option::Option::None,
    }
};
#[allow(dead_code, deprecated, unused_variables)]
#[allow(non_camel_case_types)]
#[derive(::core::clone::Clone, ::core::marker::Copy, ::core::fmt::Debug)]
struct __Counter_right;
#[allow(dead_code, deprecated, unused_variables)]
impl __Counter_right {
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
#[allow(clippy::all, clippy::pedantic, deprecated)]
const _: () = {
    static __SPEC: ::retry_runtime::__private0::FunctionSpec = ::retry_runtime::__private0::FunctionSpec::new(
        ::core::concat!(::core::module_path!(), "::", "Counter::right"),
        ::core::file!(),
        ::core::line!(),
        &["number"],
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
        .method_of(&__service_Counter, 0u16);
    fn __run(__invocation: &mut ::retry_runtime::__private0::Invocation) {
        let __state = __invocation.state();
        let __result = {
            let ::core::option::Option::Some((__argument0,)) = ::retry_runtime::__private0::Input::<
                (::retry_runtime::__private0::Val<u64>,),
            >::NEW
                .arguments(__invocation, &__SPEC) else {
                return;
            };
            __Counter_right::__body(&*__state.read::<Counter>(), __argument0)
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
        __Counter_right.__reply(__invocation, __result);
    }
    ::retry_runtime::__private0::inventory::submit! {
        ::retry_runtime::__private0::Submission(& __REGISTRATION)
    }
    impl ::core::ops::Deref for __Counter_right {
        type Target = ::retry_runtime::__private0::Typed<
            fn(&Counter, u64) -> u64,
            (::retry_runtime::__private0::Val<u64>,),
            u64,
        >;
        fn deref(&self) -> &Self::Target {
            static __STUB: ::retry_runtime::__private0::Typed<
                fn(&Counter, u64) -> u64,
                (::retry_runtime::__private0::Val<u64>,),
                u64,
            > = ::retry_runtime::__private0::Typed::new(
                __Counter_right::__body,
                &__REGISTRATION,
            );
            &__STUB
        }
    }
};
#[allow(dead_code, deprecated, unused_variables)]
#[allow(non_camel_case_types)]
#[derive(::core::clone::Clone, ::core::marker::Copy, ::core::fmt::Debug)]
struct __Counter_wrong;
#[allow(dead_code, deprecated, unused_variables)]
impl __Counter_wrong {
    #[doc(hidden)]
    #[allow(dead_code)]
    fn __body(__service: &Counter, argument1: (u64, u64)) -> &'static str {
        ::core::unreachable!()
    }
    /// Calls the function in this process: an ordinary call, to which no policy applies.
    #[allow(dead_code, unused_variables, clippy::all, clippy::pedantic)]
    fn local(&self, __service: &Counter, argument1: (u64, u64)) -> &'static str {
        ::core::unreachable!()
    }
}
#[allow(clippy::all, clippy::pedantic, deprecated)]
const _: () = {
    static __SPEC: ::retry_runtime::__private0::FunctionSpec = ::retry_runtime::__private0::FunctionSpec::new(
        ::core::concat!(::core::module_path!(), "::", "Counter::wrong"),
        ::core::file!(),
        ::core::line!(),
        &["argument1"],
    );
    static __REGISTRATION: ::retry_runtime::__private0::Registration = ::retry_runtime::__private0::Registration::new(
        &__SPEC,
        ::retry_runtime::__private0::Run::Blocking(|_| ()),
    );
    impl ::core::ops::Deref for __Counter_wrong {
        type Target = ::retry_runtime::__private0::Typed<
            fn(&Counter, (u64, u64)) -> &'static str,
            (::retry_runtime::__private0::Val<(u64, u64)>,),
            &'static str,
        >;
        fn deref(&self) -> &Self::Target {
            static __STUB: ::retry_runtime::__private0::Typed<
                fn(&Counter, (u64, u64)) -> &'static str,
                (::retry_runtime::__private0::Val<(u64, u64)>,),
                &'static str,
            > = ::retry_runtime::__private0::Typed::new(
                |_, _| ::core::unreachable!(),
                &__REGISTRATION,
            );
            &__STUB
        }
    }
};
::core::compile_error! {
    "`timeout` is for single methods: #[method(timeout = ..)]"
}
::core::compile_error! {
    "the value is made in each worker, so it cannot be made of what is borrowed; take an owned type, such as `String`"
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
    "the result is made in another process, so it cannot borrow; return an owned value"
}
::core::compile_error! {
    "a #[method] is called in another process, so it cannot be generic: a worker has to know which function to run; write one #[method] for each type"
}
