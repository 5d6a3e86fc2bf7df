// #[local_entrypoint]
// const fn main(&self) { run() }

fn main() {}
::core::compile_error! {
    "`main` cannot be `const`; remove the word"
}
::core::compile_error! {
    "`main` has no `self`: it belongs to no type; remove it"
}
