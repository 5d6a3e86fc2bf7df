// #[function(setup = load, teardown = close, memory = "512MiB")]
// fn embed(model: &mut Model, text: String) -> Vec<f32> { model.run(text) }

#[allow(non_camel_case_types)]
#[derive(::core::clone::Clone, ::core::marker::Copy, ::core::fmt::Debug)]
struct embed;
const _: () = {
    #[allow(dead_code, non_snake_case, clippy::all, clippy::pedantic)]
    fn model() {}
    #[allow(dead_code, non_snake_case, clippy::all, clippy::pedantic)]
    fn text() {}
    #[allow(deprecated)]
    type __Stub = embed;
    impl __Stub {
        #[doc(hidden)]
        #[allow(clippy::ptr_arg)]
        fn embed(model: &mut Model, text: String) -> Vec<f32> {
            model.run(text)
        }
        /// Calls the function in this process: an ordinary call, to which no policy applies.
        #[allow(dead_code, unused_variables, clippy::all, clippy::pedantic)]
        fn local(&self, model: &mut Model, text: String) -> Vec<f32> {
            Self::embed(model, text)
        }
    }
};
#[allow(clippy::all, clippy::pedantic, dead_code, deprecated, private_interfaces)]
const _: () = {
    static __SPEC: ::retry_runtime::__private0::FunctionSpec = ::retry_runtime::__private0::FunctionSpec::new(
            ::core::concat!(::core::module_path!(), "::", "embed"),
            ::core::file!(),
            ::core::line!(),
            &["text"],
        )
        .memory(536870912u64);
    static __STUB: ::retry_runtime::__private0::Typed<
        fn(&mut Model, String) -> Vec<f32>,
        (::retry_runtime::__private0::Val<String>,),
        Vec<f32>,
    > = ::retry_runtime::__private0::Typed::new(embed::embed, &__REGISTRATION);
    const _: () = <String as ::retry_runtime::__private0::Sent>::HOLDS;
    const _: fn() = || {
        ::retry_runtime::__private0::Output::<
            <Vec<
                f32,
            > as ::retry_runtime::__private0::Suspect<
                {
                    #[allow(unused_imports)]
                    use ::retry_runtime::__private0::Otherwise as _;
                    !(::retry_runtime::__private0::IsPlain::<Vec<f32>>::IS
                        || ::retry_runtime::__private0::IsSuccess::<Vec<f32>>::IS)
                        && (::retry_runtime::__private0::IsResult::<Vec<f32>>::IS
                            || ::retry_runtime::__private0::IsPlain::<f32>::IS)
                },
            >>::Type,
        >::NEW
            .sent_value::<Vec<f32>>();
        ::retry_runtime::__private0::Output::<
            <f32 as ::retry_runtime::__private0::Suspect<
                {
                    #[allow(unused_imports)]
                    use ::retry_runtime::__private0::Otherwise as _;
                    !(::retry_runtime::__private0::IsPlain::<Vec<f32>>::IS
                        || ::retry_runtime::__private0::IsSuccess::<Vec<f32>>::IS)
                        && !::retry_runtime::__private0::IsResult::<Vec<f32>>::IS
                },
            >>::Type,
        >::NEW
            .sent_value::<f32>();
        ::retry_runtime::__private0::Output::<Vec<f32>>::NEW.sent_error::<Vec<f32>>();
    };
    static __REGISTRATION: ::retry_runtime::__private0::Registration = ::retry_runtime::__private0::Registration::new(
            &__SPEC,
            ::retry_runtime::__private0::Run::Blocking(__run),
            ::core::any::type_name::<
                ((::retry_runtime::__private0::Val<String>,), Vec<f32>),
            >,
        )
        .shown_by(__show)
        .setup(__set_up)
        .teardown(__tear_down);
    const _: () = ::retry_runtime::__private0::Registration::check_exclusive_state(
        &__REGISTRATION,
    );
    fn __set_up() -> ::retry_runtime::__private0::SetUp {
        #[allow(unused_imports)]
        use ::retry_runtime::__private0::AtOnce as _;
        ::retry_runtime::__private0::IntoState::<
            Model,
        >::into_state(
            ::retry_runtime::__private0::Made(
                    ::retry_runtime::__private0::beginning::<Model, _>(&load)
                        .__making(load)(),
                )
                .__value(),
        )
    }
    fn __tear_down(__state: ::std::boxed::Box<dyn ::core::any::Any>) {
        #[allow(unused_imports)]
        use ::retry_runtime::__private0::AtOnce as _;
        if let ::core::option::Option::Some(__ended) = ::retry_runtime::__private0::TearDown::<
            Model,
            _,
        >::tear_down(
            ::retry_runtime::__private0::ending::<Model, _>(&close).__fitted(close),
            __state,
        ) {
            ::retry_runtime::__private0::Nothing::torn_down(__ended.__value());
        }
    }
    fn __run(__invocation: &mut ::retry_runtime::__private0::Invocation) {
        let __state = ::retry_runtime::__private0::Invocation::state(__invocation);
        let __result = {
            let ::core::option::Option::Some((__argument0,)) = ::retry_runtime::__private0::Input::<
                (::retry_runtime::__private0::Val<String>,),
            >::NEW
                .__arguments(__invocation, &__SPEC) else {
                return;
            };
            embed::embed(
                &mut *::retry_runtime::__private0::State::write::<Model>(&__state),
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
            (::retry_runtime::__private0::Val<String>,),
        >::NEW
            .__decoded(__message)?;
        ::retry_runtime::__private0::shown(
            &[("text", (&::retry_runtime::__private0::Shown(&__argument0)).__text())],
        )
    }
    ::retry_runtime::__private0::inventory::submit! {
        ::retry_runtime::__private0::Submission(& __REGISTRATION)
    }
    type __Kind = ::retry_runtime::__private0::Kind<
        {
            ::retry_runtime::__private0::kind!(
                Vec < f32 >, (::retry_runtime::__private0::Val < String >,)
            )
        },
    >;
    impl embed {
        fn __stub(
            &self,
        ) -> &'static ::retry_runtime::__private0::Typed<
            fn(&mut Model, String) -> Vec<f32>,
            (::retry_runtime::__private0::Val<String>,),
            Vec<f32>,
        > {
            &__STUB
        }
    }
    const _: () = {
        #[allow(dead_code, non_snake_case, clippy::all, clippy::pedantic)]
        fn model() {}
        #[allow(dead_code, non_snake_case, clippy::all, clippy::pedantic)]
        fn text() {}
        impl embed {
            #[doc(hidden)]
            #[track_caller]
            fn remote(
                &self,
                text: String,
            ) -> ::retry_runtime::__private0::Call<
                <Vec<f32> as ::retry_runtime::__private0::Outcome<__Kind>>::Value,
                <Vec<f32> as ::retry_runtime::__private0::Outcome<__Kind>>::Error,
            > {
                self.__stub().__call((text,))
            }
            #[doc(hidden)]
            #[track_caller]
            fn spawn(
                &self,
                text: String,
            ) -> ::retry_runtime::__private0::FunctionCall<
                <Vec<f32> as ::retry_runtime::__private0::Outcome<__Kind>>::Value,
                <Vec<f32> as ::retry_runtime::__private0::Outcome<__Kind>>::Error,
            > {
                ::retry_runtime::__private0::spawn(self.remote(text))
            }
            #[doc(hidden)]
            fn attach(
                &self,
                __call: ::retry_runtime::__private0::CallId,
            ) -> ::retry_runtime::__private0::FunctionCall<
                <Vec<f32> as ::retry_runtime::__private0::Outcome<__Kind>>::Value,
                <Vec<f32> as ::retry_runtime::__private0::Outcome<__Kind>>::Error,
            > {
                self.__stub().__attach(__call)
            }
            #[doc(hidden)]
            #[track_caller]
            fn map<
                '__input,
                __I: ::core::iter::IntoIterator<
                        Item: ::retry_runtime::__private0::Accepted<Self, String>,
                    >,
            >(
                &self,
                __inputs: __I,
            ) -> ::retry_runtime::__private0::Map<
                __I::IntoIter,
                <Vec<f32> as ::retry_runtime::__private0::Outcome<__Kind>>::Value,
                <Vec<f32> as ::retry_runtime::__private0::Outcome<__Kind>>::Error,
            > {
                self.__stub().__map(__inputs)
            }
            #[doc(hidden)]
            #[track_caller]
            fn for_each<
                '__input,
                __I: ::core::iter::IntoIterator<
                        Item: ::retry_runtime::__private0::Accepted<Self, String>,
                    >,
            >(
                &self,
                __inputs: __I,
            ) -> ::retry_runtime::__private0::ForEach<
                __I::IntoIter,
                <Vec<f32> as ::retry_runtime::__private0::Outcome<__Kind>>::Value,
                <Vec<f32> as ::retry_runtime::__private0::Outcome<__Kind>>::Error,
            > {
                ::retry_runtime::__private0::ForEach::new(self.map(__inputs))
            }
            #[doc(hidden)]
            fn with_options(
                &self,
                __options: ::retry_runtime::__private0::Options,
            ) -> ::retry_runtime::__private0::Typed<
                fn(&mut Model, String) -> Vec<f32>,
                (::retry_runtime::__private0::Val<String>,),
                Vec<f32>,
            > {
                self.__stub().with_options(__options)
            }
            #[doc(hidden)]
            fn on(
                &self,
                __runtime: &::retry_runtime::__private0::Runtime,
            ) -> ::retry_runtime::__private0::Typed<
                fn(&mut Model, String) -> Vec<f32>,
                (::retry_runtime::__private0::Val<String>,),
                Vec<f32>,
            > {
                self.__stub().on(__runtime)
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
    impl ::retry_runtime::__private0::Signature for embed {
        type Arguments = <(
            ::retry_runtime::__private0::Val<String>,
        ) as ::retry_runtime::__private0::Select<__Kind>>::Arguments;
    }
    impl ::core::ops::Deref for embed {
        type Target = fn(&mut Model, String) -> Vec<f32>;
        fn deref(&self) -> &Self::Target {
            static __FUNCTION: fn(&mut Model, String) -> Vec<f32> = embed::embed;
            &__FUNCTION
        }
    }
};
