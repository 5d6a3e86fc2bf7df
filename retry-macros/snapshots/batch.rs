// #[function(batch(max_size = 64, max_wait = "5ms"))]
// fn embed(texts: Vec<String>) -> Vec<Result<Vec<f32>, String>> { run(texts) }

#[allow(non_camel_case_types)]
#[derive(::core::clone::Clone, ::core::marker::Copy, ::core::fmt::Debug)]
struct embed;
const _: () = {
    #[allow(dead_code, non_snake_case, clippy::all, clippy::pedantic)]
    fn texts() {}
    #[allow(deprecated)]
    type __Stub = embed;
    impl __Stub {
        #[allow(clippy::needless_pass_by_value)]
        #[doc(hidden)]
        fn embed(texts: Vec<String>) -> Vec<Result<Vec<f32>, String>> {
            run(texts)
        }
        /// Calls the function in this process: an ordinary call, to which no policy applies.
        #[allow(dead_code, unused_variables, clippy::all, clippy::pedantic)]
        fn local(&self, texts: Vec<String>) -> Vec<Result<Vec<f32>, String>> {
            Self::embed(texts)
        }
    }
};
#[allow(clippy::all, clippy::pedantic, dead_code, deprecated, private_interfaces)]
const _: () = {
    static __SPEC: ::retry_runtime::__private0::FunctionSpec = ::retry_runtime::__private0::FunctionSpec::new(
            ::core::concat!(::core::module_path!(), "::", "embed"),
            ::core::file!(),
            ::core::line!(),
            &["texts"],
        )
        .batch(64, ::core::time::Duration::from_nanos(5000000u64));
    static __STUB: ::retry_runtime::__private0::Typed<
        fn(Vec<String>) -> Vec<Result<Vec<f32>, String>>,
        (::retry_runtime::__private0::Val<String>,),
        Result<Vec<f32>, String>,
    > = ::retry_runtime::__private0::Typed::new(embed::embed, &__REGISTRATION);
    const _: () = <String as ::retry_runtime::__private0::Sent>::HOLDS;
    const _: fn() = || {
        ::retry_runtime::__private0::Output::<
            <Result<
                Vec<f32>,
                String,
            > as ::retry_runtime::__private0::Suspect<
                {
                    #[allow(unused_imports)]
                    use ::retry_runtime::__private0::Otherwise as _;
                    !(::retry_runtime::__private0::IsPlain::<
                        Result<Vec<f32>, String>,
                    >::IS
                        || ::retry_runtime::__private0::IsSuccess::<
                            Result<Vec<f32>, String>,
                        >::IS)
                        && (false || ::retry_runtime::__private0::IsPlain::<f32>::IS)
                },
            >>::Type,
        >::NEW
            .sent_value::<Vec<f32>>();
        ::retry_runtime::__private0::Output::<
            <f32 as ::retry_runtime::__private0::Suspect<
                {
                    #[allow(unused_imports)]
                    use ::retry_runtime::__private0::Otherwise as _;
                    !(::retry_runtime::__private0::IsPlain::<
                        Result<Vec<f32>, String>,
                    >::IS
                        || ::retry_runtime::__private0::IsSuccess::<
                            Result<Vec<f32>, String>,
                        >::IS) && !false
                },
            >>::Type,
        >::NEW
            .sent_value::<f32>();
        ::retry_runtime::__private0::Output::<Result<Vec<f32>, String>>::NEW
            .sent_error::<String>();
    };
    static __REGISTRATION: ::retry_runtime::__private0::Registration = ::retry_runtime::__private0::Registration::new(
            &__SPEC,
            ::retry_runtime::__private0::Run::Batch(__run),
            ::core::any::type_name::<
                ((::retry_runtime::__private0::Val<String>,), Result<Vec<f32>, String>),
            >,
        )
        .shown_by(__show);
    fn __run(__batch: &mut [::retry_runtime::__private0::Invocation]) {
        ::retry_runtime::__private0::Input::<
            (::retry_runtime::__private0::Val<String>,),
        >::NEW
            .__batch(
                __batch,
                &__SPEC,
                |__inputs| embed::embed(__inputs),
                |__invocation, __result| {
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
                },
            );
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
            &[("texts", (&::retry_runtime::__private0::Shown(&__argument0)).__text())],
        )
    }
    ::retry_runtime::__private0::inventory::submit! {
        ::retry_runtime::__private0::Submission(& __REGISTRATION)
    }
    type __Kind = ::retry_runtime::__private0::Kind<
        {
            ::retry_runtime::__private0::kind!(
                Result < Vec < f32 >, String >, (::retry_runtime::__private0::Val <
                String >,)
            )
        },
    >;
    impl embed {
        fn __stub(
            &self,
        ) -> &'static ::retry_runtime::__private0::Typed<
            fn(Vec<String>) -> Vec<Result<Vec<f32>, String>>,
            (::retry_runtime::__private0::Val<String>,),
            Result<Vec<f32>, String>,
        > {
            &__STUB
        }
    }
    const _: () = {
        #[allow(dead_code, non_snake_case, clippy::all, clippy::pedantic)]
        fn texts() {}
        impl embed {
            #[doc(hidden)]
            #[track_caller]
            fn remote(
                &self,
                texts: String,
            ) -> ::retry_runtime::__private0::Call<
                <Result<
                    Vec<f32>,
                    String,
                > as ::retry_runtime::__private0::Outcome<__Kind>>::Value,
                <Result<
                    Vec<f32>,
                    String,
                > as ::retry_runtime::__private0::Outcome<__Kind>>::Error,
            > {
                self.__stub().__call((texts,))
            }
            #[doc(hidden)]
            #[track_caller]
            fn spawn(
                &self,
                texts: String,
            ) -> ::retry_runtime::__private0::FunctionCall<
                <Result<
                    Vec<f32>,
                    String,
                > as ::retry_runtime::__private0::Outcome<__Kind>>::Value,
                <Result<
                    Vec<f32>,
                    String,
                > as ::retry_runtime::__private0::Outcome<__Kind>>::Error,
            > {
                ::retry_runtime::__private0::spawn(self.remote(texts))
            }
            #[doc(hidden)]
            fn attach(
                &self,
                __call: ::retry_runtime::__private0::CallId,
            ) -> ::retry_runtime::__private0::FunctionCall<
                <Result<
                    Vec<f32>,
                    String,
                > as ::retry_runtime::__private0::Outcome<__Kind>>::Value,
                <Result<
                    Vec<f32>,
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
                        Item: ::retry_runtime::__private0::Accepted<Self, String>,
                    >,
            >(
                &self,
                __inputs: __I,
            ) -> ::retry_runtime::__private0::Map<
                __I::IntoIter,
                <Result<
                    Vec<f32>,
                    String,
                > as ::retry_runtime::__private0::Outcome<__Kind>>::Value,
                <Result<
                    Vec<f32>,
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
                        Item: ::retry_runtime::__private0::Accepted<Self, String>,
                    >,
            >(
                &self,
                __inputs: __I,
            ) -> ::retry_runtime::__private0::ForEach<
                __I::IntoIter,
                <Result<
                    Vec<f32>,
                    String,
                > as ::retry_runtime::__private0::Outcome<__Kind>>::Value,
                <Result<
                    Vec<f32>,
                    String,
                > as ::retry_runtime::__private0::Outcome<__Kind>>::Error,
            > {
                ::retry_runtime::__private0::ForEach::new(self.map(__inputs))
            }
            #[doc(hidden)]
            fn with_options(
                &self,
                __options: ::retry_runtime::__private0::Options,
            ) -> ::retry_runtime::__private0::Typed<
                fn(Vec<String>) -> Vec<Result<Vec<f32>, String>>,
                (::retry_runtime::__private0::Val<String>,),
                Result<Vec<f32>, String>,
            > {
                self.__stub().with_options(__options)
            }
            #[doc(hidden)]
            fn on(
                &self,
                __runtime: &::retry_runtime::__private0::Runtime,
            ) -> ::retry_runtime::__private0::Typed<
                fn(Vec<String>) -> Vec<Result<Vec<f32>, String>>,
                (::retry_runtime::__private0::Val<String>,),
                Result<Vec<f32>, String>,
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
        type Target = fn(Vec<String>) -> Vec<Result<Vec<f32>, String>>;
        fn deref(&self) -> &Self::Target {
            static __FUNCTION: fn(Vec<String>) -> Vec<Result<Vec<f32>, String>> = embed::embed;
            &__FUNCTION
        }
    }
};
