#[retry_runtime::function(name = "one\ntwo")]
fn f() {}

#[retry_runtime::function(version = "\u{202e}1")]
fn g() {}

fn main() {}
