//! The first page of the design.
use retry_runtime::{CallError, function, local_entrypoint};
use serde::{Deserialize, Serialize};

#[derive(Debug, thiserror::Error, Serialize, Deserialize)]
enum ParseError {
    #[error("line {0} is empty")]
    Empty(usize),
}

#[function(retries = 3)]
fn parse(number: usize, line: String) -> Result<u64, ParseError> {
    if line.is_empty() {
        Err(ParseError::Empty(number))
    } else {
        Ok(line.len() as u64)
    }
}

#[local_entrypoint]
fn main() -> std::io::Result<()> {
    let lines: Vec<String> = Vec::new();
    for result in parse.map(lines.into_iter().enumerate()) {
        match result {
            Ok(value) => println!("{value}"),
            Err(CallError::Function(ParseError::Empty(line), _)) => eprintln!("skipped {line}"),
            Err(error) => eprintln!("{error}"),
        }
    }
    Ok(())
}
