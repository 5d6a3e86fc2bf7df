// #[function(retries = 3)]
// fn f((a, b): (u64, u64), text: &mut str) -> &str { text }

#[allow(non_upper_case_globals, dead_code)]
const f: [(); ::core::compile_error! {
    "a parameter of a #[function] needs a name; take the pattern apart in the body"
}] = loop {};
#[allow(dead_code)]
const _: () = {
    fn f((a, b): (u64, u64), text: &mut str) -> &str {
        text
    }
};
::core::compile_error! {
    "a parameter of a #[function] needs a name; take the pattern apart in the body"
}
::core::compile_error! {
    "a `&mut` parameter would only change the worker's copy; return the new value"
}
::core::compile_error! {
    "the result is made in another process, so it cannot borrow; write `String`"
}
