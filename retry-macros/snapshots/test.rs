// #[retry_runtime::test]
// #[should_panic]
// fn it_works() { work() }

#[should_panic]
#[::core::prelude::v1::test]
fn it_works() {
    let _entered = ::retry_runtime::__private0::enter_test(
        ::core::concat!(::core::module_path!(), "::", "it_works"),
    );
    { work() }
}
