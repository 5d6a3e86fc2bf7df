// #[function(retries = -1, timeout = 3, setup = load)]
// fn f(state: &State, a: u64) -> u64 { a }

#[allow(non_camel_case_types)]
#[derive(::core::clone::Clone, ::core::marker::Copy, ::core::fmt::Debug)]
struct f;
impl f {
    #[doc(hidden)]
    #[allow(clippy::ptr_arg)]
    fn __body(state: &State, a: u64) -> u64 {
        a
    }
    /// Calls the function in this process: an ordinary call, to which no policy applies.
    #[allow(dead_code, unused_variables, clippy::all, clippy::pedantic)]
    fn local(&self, state: &State, a: u64) -> u64 {
        Self::__body(state, a)
    }
}
#[allow(clippy::all, clippy::pedantic, deprecated)]
const _: () = {
    static __SPEC: ::retry_runtime::__private0::FunctionSpec = ::retry_runtime::__private0::FunctionSpec::new(
        ::core::concat!(::core::module_path!(), "::", "f"),
        ::core::file!(),
        ::core::line!(),
        &["a"],
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
        .setup(__set_up);
    fn __set_up() -> ::retry_runtime::__private0::SetUp {
        #[allow(unused_imports)]
        use ::retry_runtime::__private0::AtOnce as _;
        ::retry_runtime::__private0::set_up::<
            State,
            _,
        >(::retry_runtime::__private0::Made((load)()).value())
    }
    fn __run(__invocation: &mut ::retry_runtime::__private0::Invocation) {
        let __state = __invocation.state();
        let __result = {
            let ::core::option::Option::Some((__argument0,)) = ::retry_runtime::__private0::Input::<
                (::retry_runtime::__private0::Val<u64>,),
            >::NEW
                .arguments(__invocation, &__SPEC) else {
                return;
            };
            f::__body(&*__state.read::<State>(), __argument0)
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
        f.__reply(__invocation, __result);
    }
    ::retry_runtime::__private0::inventory::submit! {
        ::retry_runtime::__private0::Submission(& __REGISTRATION)
    }
    impl ::core::ops::Deref for f {
        type Target = ::retry_runtime::__private0::Typed<
            fn(&State, u64) -> u64,
            (::retry_runtime::__private0::Val<u64>,),
            u64,
        >;
        fn deref(&self) -> &Self::Target {
            static __STUB: ::retry_runtime::__private0::Typed<
                fn(&State, u64) -> u64,
                (::retry_runtime::__private0::Val<u64>,),
                u64,
            > = ::retry_runtime::__private0::Typed::new(f::__body, &__REGISTRATION);
            &__STUB
        }
    }
};
::core::compile_error! {
    "`retries` must not be negative"
}
::core::compile_error! {
    "`timeout` needs a unit: write `timeout = \"3s\"`"
}
