#[retry_runtime::on_start]
fn logging<T: Default>() {
    drop(T::default());
}

fn main() {}
