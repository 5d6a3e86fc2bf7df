//! A service: a value that is created once in each worker, with parameters, and whose methods serve calls.
//! Here the value is an index of a text, which the program writes first.
//!
//! `cargo run --package retry-example-search --example search -- --lines 2000`

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::{Path, PathBuf};

use retry_runtime::{CallError, Startup, local_entrypoint, service};
use serde::{Deserialize, Serialize};

/// The parameters of an index. They are sent to the workers; the index is not.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Config {
    path: PathBuf,
    /// Shorter words are not indexed.
    shortest: usize,
}

/// The lines that contain each word.
struct Index {
    path: PathBuf,
    lines: BTreeMap<String, BTreeSet<usize>>,
    answered: u64,
}

#[derive(Debug, thiserror::Error, Serialize, Deserialize)]
enum QueryError {
    #[error("there is nothing to look for")]
    Empty,
    #[error("{0:?} is not a word")]
    NotAWord(String),
}

/// Adds the path: an error of the operating system does not name the file.
fn about(path: &Path, error: &std::io::Error) -> String {
    format!("{}: {error}", path.display())
}

/// Options given here apply to the workers, which all methods share.
#[service(max_workers = 2)]
impl Index {
    /// Runs once in each worker, before its first call.
    #[setup]
    fn read(config: Config) -> Result<Self, String> {
        let text =
            std::fs::read_to_string(&config.path).map_err(|error| about(&config.path, &error))?;
        let mut lines = BTreeMap::<_, BTreeSet<_>>::new();
        for (number, line) in (1..).zip(text.lines()) {
            for word in line.split_whitespace() {
                if word.len() >= config.shortest {
                    lines.entry(word.to_owned()).or_default().insert(number);
                }
            }
        }
        eprintln!("indexed {} words", lines.len());
        Ok(Self {
            path: config.path,
            lines,
            answered: 0,
        })
    }

    /// Returns the lines that contain all of these words. Options given here apply to calls of this method.
    #[method(timeout = "10s")]
    fn find(&mut self, query: &str) -> Result<Vec<usize>, QueryError> {
        self.answered += 1;
        let mut found: Option<BTreeSet<usize>> = None;
        for word in query.split_whitespace() {
            if !word.bytes().all(|byte| byte.is_ascii_lowercase()) {
                return Err(QueryError::NotAWord(word.to_owned()));
            }
            let lines = self.lines.get(word).cloned().unwrap_or_default();
            found = Some(match found {
                Some(before) => &before & &lines,
                None => lines,
            });
        }
        let found = found.ok_or(QueryError::Empty)?;
        Ok(found.into_iter().collect())
    }

    /// Returns the number of lines that contain a word.
    #[method]
    fn frequency(&self, word: &str) -> usize {
        self.lines.get(word).map_or(0, BTreeSet::len)
    }

    /// Runs when a worker shuts down in an orderly way.
    #[teardown]
    fn close(self) {
        eprintln!("{} queries to {}", self.answered, self.path.display());
    }
}

const WORDS: [&str; 12] = [
    "amber", "birch", "cedar", "delta", "ember", "flint", "grove", "heron", "inlet", "jetty", "of",
    "to",
];

/// Returns the same text each time: lines of words, drawn by a simple generator.
fn text(lines: usize) -> String {
    let mut state = 1u64;
    let mut text = String::new();
    for _ in 0..lines {
        for _ in 0..4 {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let word = WORDS[(state >> 33) as usize % WORDS.len()];
            let _ = write!(text, "{word} ");
        }
        text.push('\n');
    }
    text
}

/// Writes a text and looks for words in it.
#[local_entrypoint]
fn main(
    /// Where the text is written.
    #[arg(default_value = "target/search.txt")]
    text_file: PathBuf,
    /// Number of lines of the text.
    #[arg(default_value_t = 2000)]
    lines: usize,
) -> Result<(), String> {
    if let Some(directory) = text_file.parent() {
        std::fs::create_dir_all(directory).map_err(|error| about(directory, &error))?;
    }
    std::fs::write(&text_file, text(lines)).map_err(|error| about(&text_file, &error))?;
    let config = Config {
        path: text_file,
        shortest: 3,
    };
    let index = Index::with(config.clone());

    let queries = WORDS
        .iter()
        .flat_map(|one| WORDS.map(|other| format!("{one} {other}")));
    let queries: Vec<String> = queries.collect();
    for (query, result) in queries.iter().zip(index.find.map(queries.clone())) {
        match result {
            Ok(lines) => println!("{query}: {lines:?}"),
            Err(error) => println!("{query}: {error}"),
        }
    }
    for word in ["heron", "of"] {
        match index.frequency.remote(word).wait() {
            Ok(lines) => println!("{word} is on {lines} lines"),
            Err(error) => println!("{word}: {error}"),
        }
    }
    for query in ["", "Amber"] {
        if let Err(CallError::Function(error, _)) = index.find.remote(query).wait() {
            println!("error: {error}");
        }
    }

    // Other parameters mean other workers, each with its own value.
    let missing = Index::with(Config {
        path: config.path.with_extension("missing"),
        ..config
    });
    match missing.frequency.remote("amber").wait() {
        Err(CallError::Startup(Startup::SetUp(reason), _)) => println!("error: {reason}"),
        other => println!("{other:?}"),
    }
    Ok(())
}
