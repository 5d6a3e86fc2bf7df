// #[service]
// #[allow(dead_code)]
// unsafe impl Counter {
// #[setup]
// fn new() -> Self { Self }
// #[doc(method)]
// #[method(retries = 3)]
// fn next(&mut self, by: ) -> u64 { [method] }
// #[teardown]
// fn close(self) {}
// }

# [allow (dead_code)] unsafe impl Counter { fn new () -> Self { Self } # [doc (method)] fn next (& mut self , by :) -> u64 { [method] } fn close (self) { } } :: core :: compile_error ! { "unexpected end of input, expected one of: `for`, parentheses, `fn`, `unsafe`, `extern`, identifier, `::`, `<`, `dyn`, square brackets, `*`, `&`, `!`, `impl`, `_`, lifetime" }
