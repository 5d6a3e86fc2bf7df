// #[function]
// struct F;

struct F;
::core::compile_error! {
    "#[function] belongs on a function"
}
