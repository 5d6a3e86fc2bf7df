#[retry_runtime::local_entrypoint]
const fn main() {
    println!("hello");
}
