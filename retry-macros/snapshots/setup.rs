// #[function(setup = load, teardown = close, memory = "512MiB")]
// fn embed(model: &mut Model, text: String) -> Vec<f32> { model.run(text) }

#[allow(non_camel_case_types)]
#[derive(::core::clone::Clone, ::core::marker::Copy, ::core::fmt::Debug)]
struct embed;
impl embed {
    #[doc(hidden)]
    #[allow(clippy::ptr_arg)]
    fn __body(model: &mut Model, text: String) -> Vec<f32> {
        model.run(text)
    }
    /// Calls the function in this process: an ordinary call, to which no policy applies.
    #[allow(dead_code, unused_variables, clippy::all, clippy::pedantic)]
    fn local(&self, model: &mut Model, text: String) -> Vec<f32> {
        Self::__body(model, text)
    }
}
#[allow(clippy::all, clippy::pedantic, deprecated)]
const _: () = {
    static __SPEC: ::retry_runtime::__private0::FunctionSpec = ::retry_runtime::__private0::FunctionSpec::new(
            ::core::concat!(::core::module_path!(), "::", "embed"),
            ::core::file!(),
            ::core::line!(),
            &["text"],
        )
        .memory(536870912u64);
    const _: () = ::retry_runtime::__private0::assert_sent::<String>();
    const _: fn() = || {
        ::retry_runtime::__private0::Output::<Vec<f32>>::NEW.value::<Vec<f32>>();
        ::retry_runtime::__private0::Output::<Vec<f32>>::NEW.error::<Vec<f32>>();
    };
    static __REGISTRATION: ::retry_runtime::__private0::Registration = ::retry_runtime::__private0::Registration::exclusive_state(
        ::retry_runtime::__private0::Registration::new(
                &__SPEC,
                ::retry_runtime::__private0::Run::Blocking(__run),
            )
            .setup(__set_up)
            .teardown(__tear_down),
    );
    fn __set_up() -> ::retry_runtime::__private0::SetUp {
        #[allow(unused_imports)]
        use ::retry_runtime::__private0::AtOnce as _;
        ::retry_runtime::__private0::set_up::<
            Model,
            _,
        >(::retry_runtime::__private0::Made((load)()).value())
    }
    fn __tear_down(__state: ::std::boxed::Box<dyn ::core::any::Any>) {
        #[allow(unused_imports)]
        use ::retry_runtime::__private0::AtOnce as _;
        if let ::core::option::Option::Some(__ended) = ::retry_runtime::__private0::tear_down::<
            Model,
            _,
        >(__state, close) {
            ::retry_runtime::__private0::torn_down(__ended.value());
        }
    }
    fn __run(__invocation: &mut ::retry_runtime::__private0::Invocation) {
        let __state = __invocation.state();
        let __result = {
            let ::core::option::Option::Some((__argument0,)) = ::retry_runtime::__private0::Input::<
                (::retry_runtime::__private0::Val<String>,),
            >::NEW
                .arguments(__invocation, &__SPEC) else {
                return;
            };
            embed::__body(&mut *__state.write::<Model>(), __argument0)
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
        embed.__reply(__invocation, __result);
    }
    ::retry_runtime::__private0::inventory::submit! {
        ::retry_runtime::__private0::Submission(& __REGISTRATION)
    }
    impl ::core::ops::Deref for embed {
        type Target = ::retry_runtime::__private0::Typed<
            fn(&mut Model, String) -> Vec<f32>,
            (::retry_runtime::__private0::Val<String>,),
            Vec<f32>,
        >;
        fn deref(&self) -> &Self::Target {
            static __STUB: ::retry_runtime::__private0::Typed<
                fn(&mut Model, String) -> Vec<f32>,
                (::retry_runtime::__private0::Val<String>,),
                Vec<f32>,
            > = ::retry_runtime::__private0::Typed::new(embed::__body, &__REGISTRATION);
            &__STUB
        }
    }
};
