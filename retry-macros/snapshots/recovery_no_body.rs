// #[function]
// fn f(a: u64) -> u64;

fn f (a : u64) -> u64 ; :: core :: compile_error ! { "a #[function] needs a body" }
