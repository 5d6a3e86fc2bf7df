struct NotSerde;

#[retry_runtime::function]
fn f(value: NotSerde) -> Result<NotSerde, NotSerde> {
    Ok(value)
}

fn main() {
    // Each type is reported where it stands; nothing is said about these lines.
    let _ = f.remote(NotSerde).wait();
    let _ = f.spawn(NotSerde);
    for result in f.map([NotSerde]) {
        drop(result);
    }
}
