// #[local_entrypoint(3)]
// /// Adds.
// #[function]
// fn main() { run() }

#[allow(dead_code)]
fn main() {
    /// Adds.
    fn main() {
        run()
    }
}
::core::compile_error! {
    "#[local_entrypoint] takes no option but `crate`; the parameters of `main` are its options"
}
::core::compile_error! {
    "`main` cannot be a #[function]: it calls them; remove this line"
}
