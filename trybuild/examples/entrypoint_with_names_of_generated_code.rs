//! Generated code and the body of `main` do not see each other's names.
#![deny(warnings)]
#![allow(dead_code)]
use retry_runtime::local_entrypoint;

const OPTION_TRACE: u64 = 1;
const OPTION_0: u64 = 2;

mod clap {
    #[derive(Clone)]
    pub struct Level(pub String);

    impl From<String> for Level {
        fn from(text: String) -> Self {
            Self(text)
        }
    }

    pub fn name() -> &'static str {
        "not clap"
    }
}

struct Some;
type Result<T> = std::result::Result<T, std::num::ParseIntError>;

#[local_entrypoint]
fn main(
    trace: Option<u64>,
    level: Option<clap::Level>,
    #[arg(default_value_t = OPTION_0)] r#type: u64,
    #[arg(value_parser = |text: &str| -> Result<u64> { text.parse() })] parsed: Option<u64>,
) {
    assert_eq!((trace, r#type, parsed), (None, 2, None));
    assert!(level.is_none());
    assert_eq!((OPTION_TRACE, clap::name()), (1, "not clap"));
}
