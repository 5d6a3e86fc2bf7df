// #[service]
// impl Counter {
// #[setup]
// fn new() -> Self { Self }
// #[doc(method)]
// #[method(retries = 3)]
// fn next(&mut self) -> u64 { self. }
// }

impl Counter { fn new () -> Self { Self } # [doc (method)] fn next (& mut self) -> u64 { self . } } :: core :: compile_error ! { "unexpected end of input, expected identifier or integer" }
