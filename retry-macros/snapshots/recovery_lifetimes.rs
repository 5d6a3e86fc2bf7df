// #[function]
// fn f<'a>(text: &'a str, more: Cow<'a, str>) -> u64 { 1 }

#[allow(non_upper_case_globals, dead_code)]
const f: [(); ::core::compile_error! {
    "leave the lifetimes out: the worker owns what the parameters refer to"
}] = loop {};
#[allow(dead_code)]
const _: () = {
    fn f<'a>(text: &'a str, more: Cow<'a, str>) -> u64 {
        1
    }
};
::core::compile_error! {
    "leave the lifetimes out: the worker owns what the parameters refer to"
}
