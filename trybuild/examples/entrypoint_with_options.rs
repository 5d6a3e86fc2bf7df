//! The parameters of `main` are options.
use retry_runtime::local_entrypoint;
use std::path::PathBuf;

/// A type that clap does not parse by itself.
#[derive(Clone)]
struct Ratio(f64);

impl std::str::FromStr for Ratio {
    type Err = std::num::ParseFloatError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

impl From<&str> for Named {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

#[derive(Clone)]
struct Named(String);

/// Only the given parser constructs this type.
#[derive(Clone)]
struct Parsed;

fn parse(_: &str) -> Result<Parsed, String> {
    Ok(Parsed)
}

/// Counts words.
#[local_entrypoint]
async fn main(
    /// Where to look.
    #[arg(default_value = ".")]
    path: PathBuf,
    names: Vec<String>,
    limit: Option<u64>,
    verbose: bool,
    #[arg(long, default_value_t = 3)] times: u32,
    ratio: Option<Ratio>,
    named: Vec<Named>,
    #[arg(value_parser = parse)] parsed: Option<Parsed>,
) -> Result<(), std::io::Error> {
    let _ = (path, names, limit, verbose, times);
    let _ = (
        ratio.map(|ratio| ratio.0),
        named.into_iter().map(|named| named.0),
        parsed,
    );
    Ok(())
}
