//! The function by which tests find out whether a pool still serves.

use retry_runtime::function;

#[function]
pub(crate) fn echo(value: u64) -> u64 {
    value
}

pub(crate) fn serves() -> bool {
    echo.remote(1).wait().is_ok_and(|value| value == 1)
}
