// #[function]
// fn f(a: ) -> u64 { 1 }

fn f (a :) -> u64 { 1 } :: core :: compile_error ! { "unexpected end of input, expected one of: `for`, parentheses, `fn`, `unsafe`, `extern`, identifier, `::`, `<`, `dyn`, square brackets, `*`, `&`, `!`, `impl`, `_`, lifetime" }
