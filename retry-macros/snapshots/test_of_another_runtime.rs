// #[retry_runtime::test(crate = ::my::runtime)]
// fn it_works() { work() }

#[::core::prelude::v1::test]
fn it_works() {
    let _entered = ::my::runtime::__private0::enter_test(
        ::core::concat!(::core::module_path!(), "::", "it_works"),
    );
    { work() }
}
