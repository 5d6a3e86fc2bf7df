// #[function]
// fn f<T: Into<String>>(value: T) -> usize { value.into().len() }

#[allow(non_upper_case_globals, dead_code)]
const f: [(); ::core::compile_error! {
    "a #[function] is called in another process, so it cannot be generic: a worker has to know which function to run; write one #[function] for each type"
}] = loop {};
#[allow(dead_code)]
const _: () = {
    fn f<T: Into<String>>(value: T) -> usize {
        value.into().len()
    }
};
::core::compile_error! {
    "a #[function] is called in another process, so it cannot be generic: a worker has to know which function to run; write one #[function] for each type"
}
