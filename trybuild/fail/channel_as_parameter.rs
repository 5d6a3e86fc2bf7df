use std::sync::mpsc::Sender;

#[retry_runtime::function]
fn report(progress: Sender<u64>) {
    let _ = progress.send(1);
}

fn main() {
    let (sender, _receiver) = std::sync::mpsc::channel();
    report.remote(sender).wait().unwrap();
}
