// #[function]
// fn search(text: &str, bytes: &[u8], settings: &Settings, limit: usize) -> usize { 0 }

#[allow(non_camel_case_types)]
#[derive(::core::clone::Clone, ::core::marker::Copy, ::core::fmt::Debug)]
struct search;
impl search {
    #[doc(hidden)]
    fn __body(text: &str, bytes: &[u8], settings: &Settings, limit: usize) -> usize {
        0
    }
    /// Calls the function in this process: an ordinary call, to which no policy applies.
    #[allow(dead_code, unused_variables, clippy::all, clippy::pedantic)]
    fn local(
        &self,
        text: &str,
        bytes: &[u8],
        settings: &Settings,
        limit: usize,
    ) -> usize {
        Self::__body(text, bytes, settings, limit)
    }
}
#[allow(clippy::all, clippy::pedantic, deprecated)]
const _: () = {
    static __SPEC: ::retry_runtime::__private0::FunctionSpec = ::retry_runtime::__private0::FunctionSpec::new(
        ::core::concat!(::core::module_path!(), "::", "search"),
        ::core::file!(),
        ::core::line!(),
        &["text", "bytes", "settings", "limit"],
    );
    const _: () = ::retry_runtime::__private0::assert_referred::<str>();
    const _: () = ::retry_runtime::__private0::assert_referred::<[u8]>();
    const _: () = ::retry_runtime::__private0::assert_referred::<Settings>();
    const _: () = ::retry_runtime::__private0::assert_sent::<usize>();
    const _: fn() = || {
        ::retry_runtime::__private0::Output::<usize>::NEW.value::<usize>();
        ::retry_runtime::__private0::Output::<usize>::NEW.error::<usize>();
    };
    static __REGISTRATION: ::retry_runtime::__private0::Registration = ::retry_runtime::__private0::Registration::new(
        &__SPEC,
        ::retry_runtime::__private0::Run::Blocking(__run),
    );
    fn __run(__invocation: &mut ::retry_runtime::__private0::Invocation) {
        let __result = {
            let ::core::option::Option::Some(
                (__argument0, __argument1, __argument2, __argument3),
            ) = ::retry_runtime::__private0::Input::<
                (
                    ::retry_runtime::__private0::Ref<str>,
                    ::retry_runtime::__private0::Ref<[u8]>,
                    ::retry_runtime::__private0::Ref<Settings>,
                    ::retry_runtime::__private0::Val<usize>,
                ),
            >::NEW
                .arguments(__invocation, &__SPEC) else {
                return;
            };
            search::__body(&__argument0, &__argument1, &__argument2, __argument3)
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
        search.__reply(__invocation, __result);
    }
    ::retry_runtime::__private0::inventory::submit! {
        ::retry_runtime::__private0::Submission(& __REGISTRATION)
    }
    impl ::core::ops::Deref for search {
        type Target = ::retry_runtime::__private0::Typed<
            fn(&str, &[u8], &Settings, usize) -> usize,
            (
                ::retry_runtime::__private0::Ref<str>,
                ::retry_runtime::__private0::Ref<[u8]>,
                ::retry_runtime::__private0::Ref<Settings>,
                ::retry_runtime::__private0::Val<usize>,
            ),
            usize,
        >;
        fn deref(&self) -> &Self::Target {
            static __STUB: ::retry_runtime::__private0::Typed<
                fn(&str, &[u8], &Settings, usize) -> usize,
                (
                    ::retry_runtime::__private0::Ref<str>,
                    ::retry_runtime::__private0::Ref<[u8]>,
                    ::retry_runtime::__private0::Ref<Settings>,
                    ::retry_runtime::__private0::Val<usize>,
                ),
                usize,
            > = ::retry_runtime::__private0::Typed::new(search::__body, &__REGISTRATION);
            &__STUB
        }
    }
};
