// #[on_start(crate = ::my::runtime)]
// fn logging() { log() }

fn logging() {
    log()
}
#[allow(deprecated)]
const _: () = {
    #[allow(unused_imports)]
    use ::my::runtime::__private0::{DebuggedStart as _, OtherStart as _};
    fn __run() -> ::core::result::Result<(), ::std::string::String> {
        ::my::runtime::__private0::StartResult(logging()).result_of_start()
    }
    ::my::runtime::__private0::inventory::submit! {
        ::my::runtime::__private0::OnStart::new(::core::concat!(::core::module_path!(),
        "::", "logging"), __run,)
    }
};
