// #[retry_runtime::test]
// async fn it_works() -> Result<(), String> { work().await }

#[::core::prelude::v1::test]
fn it_works() -> Result<(), String> {
    let _entered = ::retry_runtime::__private0::enter_test(
        ::core::concat!(::core::module_path!(), "::", "it_works"),
    );
    ::retry_runtime::__private0::block_on_test(async move {
        if false {
            return ::retry_runtime::__private0::unreached::<Result<(), String>>();
        }
        work().await
    })
}
