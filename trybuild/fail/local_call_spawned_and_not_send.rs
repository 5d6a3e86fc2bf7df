#[retry_runtime::function]
async fn f() {
    let shared = std::rc::Rc::new(1);
    std::future::ready(()).await;
    drop(shared);
}

fn spawn<F: Future + Send>(_: F) {}

fn main() {
    spawn(async { f.local().await });
}
