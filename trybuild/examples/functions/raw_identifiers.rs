//! Raw identifiers keep their meaning, and their names appear without `r#`.
use retry_runtime::function;

#[function]
fn r#match(r#type: u64, r#fn: &str) -> u64 {
    r#type + r#fn.len() as u64
}

pub(crate) fn main() {
    assert_eq!(r#match(1, "ab"), 3);
    assert!(r#match.name().ends_with("::match"), "{}", r#match.name());
    assert_eq!(r#match.spec().parameters, ["type", "fn"]);
    let _ = r#match.remote(1, "ab");
}
