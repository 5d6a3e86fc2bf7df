//! State that is loaded once per worker and serves many calls: the table of the elements.
//!
//! `cargo run --example lookup_table`

use std::collections::{BTreeSet, HashMap};

use retry_runtime::{CallError, function, local_entrypoint};
use serde::{Deserialize, Serialize};

/// The state of each worker.
struct Table {
    masses: HashMap<&'static str, f64>,
    look_ups: usize,
}

/// Runs once per worker, before its first call.
fn load() -> Result<Table, String> {
    let mut masses = HashMap::new();
    for line in include_str!("data/elements.csv").lines().skip(1) {
        let fields: Vec<&str> = line.split(',').collect();
        let [_number, symbol, _name, mass] = fields[..] else {
            return Err(format!("not a line of the table: {line:?}"));
        };
        let mass = mass.parse().map_err(|_| format!("not a mass: {mass:?}"))?;
        masses.insert(symbol, mass);
    }
    eprintln!("loaded {} elements", masses.len());
    Ok(Table {
        masses,
        look_ups: 0,
    })
}

/// Runs when a worker shuts down in an orderly way.
fn close(table: Table) {
    eprintln!("closed after {} look-ups", table.look_ups);
}

#[derive(Debug, thiserror::Error, Serialize, Deserialize)]
enum FormulaError {
    #[error("there is no element {0}")]
    Unknown(String),
    #[error("{0:?} is not a formula")]
    Malformed(String),
}

/// Returns the mass of one mole in grams. Callers pass only the formula: the table comes from `load`.
#[function(setup = load, teardown = close, max_workers = 2)]
fn molar_mass(table: &mut Table, formula: &str) -> Result<(f64, u32), FormulaError> {
    let mut mass = 0.0;
    let mut rest = formula;
    while !rest.is_empty() {
        // An upper-case letter, lower-case letters, digits: `Fe2`.
        let end = rest[1..]
            .find(|letter: char| !letter.is_ascii_lowercase())
            .map_or(rest.len(), |end| end + 1);
        let (symbol, tail) = rest.split_at(end);
        let end = tail
            .find(|letter: char| !letter.is_ascii_digit())
            .unwrap_or(tail.len());
        let (count, tail) = tail.split_at(end);
        rest = tail;
        table.look_ups += 1;
        let one = table
            .masses
            .get(symbol)
            .ok_or_else(|| FormulaError::Unknown(symbol.to_owned()))?;
        let count: u32 = match count {
            "" => 1,
            count => count
                .parse()
                .map_err(|_| FormulaError::Malformed(formula.to_owned()))?,
        };
        mass += one * f64::from(count);
    }
    Ok((mass, std::process::id()))
}

/// Looks up a few formulas, then many.
#[local_entrypoint]
fn main() {
    let formulas = ["H2O", "C6H12O6", "Fe2O3", "Xy", "C8H10N4O2"];
    for (formula, result) in formulas.iter().zip(molar_mass.map(formulas)) {
        match result {
            Ok((mass, _)) => println!("{formula}: {mass:.3} g/mol"),
            Err(CallError::Function(error, _)) => println!("{formula}: {error}"),
            Err(error) => println!("{formula}: {error}"),
        }
    }
    let results = molar_mass.map((1..=2000).map(|length| format!("C{length}H{}", 2 * length + 2)));
    let mut heaviest = 0.0f64;
    let mut workers = BTreeSet::new();
    for (mass, worker) in results.into_iter().flatten() {
        heaviest = heaviest.max(mass);
        workers.insert(worker);
    }
    println!("2000 alkanes, the heaviest {heaviest:.0} g/mol");
    assert!(workers.len() <= 2, "each loaded the table once");
}
