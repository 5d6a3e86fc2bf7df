// #[local_entrypoint]
// pub async fn main(a: ) { run() }

pub async fn main (a :) { run () } :: core :: compile_error ! { "unexpected end of input, expected one of: `for`, parentheses, `fn`, `unsafe`, `extern`, identifier, `::`, `<`, `dyn`, square brackets, `*`, `&`, `!`, `impl`, `_`, lifetime" }
