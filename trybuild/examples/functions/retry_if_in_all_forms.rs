//! `retry_if` as a function, a generic function, a method, and a closure with an inferred parameter type. A
//! function may take what the error dereferences to.
use retry_runtime::function;

#[derive(Debug, serde::Serialize, serde::Deserialize)]
enum Failed {
    Again,
    Never,
}

impl Failed {
    fn is_transient(&self) -> bool {
        matches!(self, Self::Again)
    }
}

fn always<E>(_: &E) -> bool {
    true
}

#[function(retry_if = Failed::is_transient, retries = 1)]
fn method() -> Result<(), Failed> {
    Err(Failed::Never)
}

#[function(retry_if = always, retries = 1)]
fn generic() -> Result<(), Failed> {
    Err(Failed::Again)
}

#[function(retry_if = |error| error.is_transient(), retries = 1)]
fn closure() -> Result<(), Failed> {
    Ok(())
}

#[function(retry_if = |error: &anyhow::Error| error.is::<std::io::Error>())]
async fn alias() -> anyhow::Result<()> {
    Ok(())
}

fn is_short(text: &str) -> bool {
    text.len() < 3
}

#[function(retry_if = is_short)]
fn texts() -> Result<(), String> {
    Err("abc".to_owned())
}

fn is_io(error: &(dyn std::error::Error + 'static)) -> bool {
    error.is::<std::io::Error>()
}

#[function(retry_if = is_io)]
fn boxed() -> Result<(), Box<dyn std::error::Error>> {
    Ok(())
}

pub(crate) fn main() {
    let _ = (
        method.remote(),
        generic.remote(),
        closure.remote(),
        alias.remote(),
        texts.remote(),
        boxed.remote(),
    );
}
