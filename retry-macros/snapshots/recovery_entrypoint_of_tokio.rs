// #[local_entrypoint]
// fn main() {
// let body = async { run().await };
// #[allow(clippy::expect_used)]
// { use tokio::runtime::Builder;
// return Builder::new_multi_thread().enable_all().build().expect("Failed").block_on(body); }
// }

#[allow(dead_code)]
fn main() {
    fn main() {
        let body = async { run().await };
        #[allow(clippy::expect_used)]
        {
            use tokio::runtime::Builder;
            return Builder::new_multi_thread()
                .enable_all()
                .build()
                .expect("Failed")
                .block_on(body);
        }
    }
}
::core::compile_error! {
    "an async main already runs on tokio; remove this line"
}
