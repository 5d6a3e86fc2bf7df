// #[on_start]
// /// Logs.
// #[cfg(unix)]
// fn logging() -> Result<(), String> { log() }

/// Logs.
#[cfg(unix)]
fn logging() -> Result<(), String> {
    log()
}
#[cfg(unix)]
#[allow(deprecated)]
const _: () = {
    #[allow(unused_imports)]
    use ::retry_runtime::__private0::{DebuggedStart as _, OtherStart as _};
    fn __run() -> ::core::result::Result<(), ::std::string::String> {
        ::retry_runtime::__private0::StartResult(logging()).result_of_start()
    }
    ::retry_runtime::__private0::inventory::submit! {
        ::retry_runtime::__private0::OnStart::new(::core::concat!(::core::module_path!(),
        "::", "logging"), __run,)
    }
};
