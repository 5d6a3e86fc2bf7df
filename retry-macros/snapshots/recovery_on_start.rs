// #[on_start]
// async fn logging(level: u64) { log(level).await }

#[allow(dead_code)]
async fn logging(level: u64) {
    log(level).await
}
::core::compile_error! {
    "a function with #[on_start] cannot be `async`: it runs before there is an async runtime"
}
::core::compile_error! {
    "a function with #[on_start] has no parameters: there is no caller to pass them"
}
