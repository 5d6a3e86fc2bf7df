//! Three ways to give workers a large table: with each call, loaded by each worker, or shared by all of them. The
//! table has a vector for each of many positions, and a call looks for the positions whose vectors are the most
//! similar to that of one of them. The variable `EMBEDDING_ROWS` sets the number of positions, 32 768 if it is not set.
//!
//! `cargo run --release --package retry-example-embedding --example embedding`

use std::collections::BTreeMap;
use std::error::Error;
use std::iter::repeat;
use std::time::Instant;

use ndarray::{ArrayView1, ArrayView2};
use retry_runtime::{Shared, function, local_entrypoint};

/// The numbers of each vector.
const WIDTH: usize = 64;

/// The number of similar positions that a call returns.
const FOUND: usize = 5;

/// Writes the sinusoidal encoding of positions (Vaswani et al., "Attention Is All You Need", 2017, section 3.5):
/// sin(p / 10000^(2i/d)) and cos(p / 10000^(2i/d)) at the places 2i and 2i + 1 of the vector of position p.
fn encode_positions(table: &mut [f32]) {
    let frequency = |pair: usize| 10_000_f32.powf(-((2 * pair) as f32) / WIDTH as f32);
    let frequencies: Vec<f32> = (0..WIDTH / 2).map(frequency).collect();
    for (position, vector) in table.chunks_mut(WIDTH).enumerate() {
        for (pair, frequency) in vector.chunks_mut(2).zip(&frequencies) {
            let angle = position as f32 * frequency;
            pair.copy_from_slice(&[angle.sin(), angle.cos()]);
        }
    }
}

/// A position, and how similar its vector is.
type Similar = (usize, f32);

/// Returns the most similar positions, the best one first. Nothing of the table is copied.
fn most_similar(position: usize, table: &[f32]) -> Vec<Similar> {
    let table = ArrayView2::from_shape((table.len() / WIDTH, WIDTH), table);
    let table = table.expect("the table has whole vectors");
    let length = |vector: ArrayView1<'_, f32>| vector.dot(&vector).sqrt();
    let this = table.row(position);
    let similarity = |other: ArrayView1<'_, f32>| this.dot(&other) / (length(this) * length(other));
    let others = table.rows().into_iter().enumerate();
    let mut similar: Vec<Similar> = others
        .filter(|(other, _)| *other != position)
        .map(|(other, vector)| (other, similarity(vector)))
        .collect();
    similar.sort_by(|one, other| other.1.total_cmp(&one.1).then(one.0.cmp(&other.0)));
    similar.truncate(FOUND);
    similar
}

/// What a call returns: the similar positions, and the memory of its worker.
type Answer = (Vec<Similar>, u32, u64);

fn answer(similar: Vec<Similar>) -> Answer {
    (similar, std::process::id(), memory())
}

#[function(max_workers = 2)]
fn in_argument(position: usize, table: &[f32]) -> Answer {
    answer(most_similar(position, table))
}

/// Makes the table in each worker. Usually it would be read from a file.
fn load() -> Vec<f32> {
    let mut table = vec![0.0; rows() * WIDTH];
    encode_positions(&mut table);
    table
}

#[function(max_workers = 2, setup = load)]
fn in_state(table: &Vec<f32>, position: usize) -> Answer {
    answer(most_similar(position, table))
}

#[function(max_workers = 2)]
fn in_shared_memory(position: usize, table: Shared<[f32]>) -> Answer {
    answer(most_similar(position, &table))
}

/// Returns the number of positions, from a variable that workers inherit from the program.
fn rows() -> usize {
    let rows = std::env::var("EMBEDDING_ROWS").ok();
    let rows: Option<usize> = rows.and_then(|rows| rows.parse().ok());
    rows.filter(|rows| *rows > 0).unwrap_or(32_768)
}

/// Returns the proportional set size of this process in bytes, without files: what several processes have mapped is
/// divided among them.
fn memory() -> u64 {
    let rollup = std::fs::read_to_string("/proc/self/smaps_rollup").unwrap_or_default();
    let fields = rollup.lines().filter_map(|line| {
        let keys = ["Pss_Anon:", "Pss_Shmem:"];
        let value = keys.iter().find_map(|key| line.strip_prefix(key))?;
        value.split_whitespace().next()?.parse::<u64>().ok()
    });
    fields.sum::<u64>() * 1024
}

/// Makes the calls of one way, and prints their time, with the start of workers, and the memory of the workers.
fn measure(
    way: &str,
    expected: &[Vec<Similar>],
    calls: impl FnOnce() -> Result<Vec<Answer>, Box<dyn Error>>,
) -> Result<(), Box<dyn Error>> {
    let begun = Instant::now();
    let answers = calls()?;
    let elapsed = begun.elapsed();
    assert_eq!(answers.len(), expected.len(), "{way}");
    let mut memory = BTreeMap::new();
    for ((similar, worker, bytes), expected) in answers.into_iter().zip(expected) {
        assert_eq!(&similar, expected, "{way}");
        let most = memory.entry(worker).or_insert(0);
        *most = bytes.max(*most);
    }
    let memory = memory.values().sum::<u64>() >> 20;
    println!(
        "{way:<24} {:>8.1} ms {memory:>6} MiB",
        elapsed.as_secs_f64() * 1e3
    );
    Ok(())
}

/// Compares ways to give worker processes a large table.
#[local_entrypoint]
fn main(
    /// How many positions are looked up.
    #[arg(default_value_t = 16)]
    calls: usize,
) -> Result<(), Box<dyn Error>> {
    let table = load();
    let positions: Vec<usize> = (0..calls).map(|call| call * 1009 % rows()).collect();
    let here: Vec<Vec<Similar>> = positions
        .iter()
        .map(|position| most_similar(*position, &table))
        .collect();
    println!(
        "{calls} calls with a table of {} MiB",
        size_of_val(&table[..]) >> 20
    );
    println!("{:<24} {:>11} {:>10}", "", "time", "memory");

    measure("sent with each call", &here, || {
        let inputs = positions.iter().copied().zip(repeat(&table[..]));
        Ok(in_argument.map(inputs).try_collect().wait()?)
    })?;
    measure("loaded by each worker", &here, || {
        Ok(in_state
            .map(positions.iter().copied())
            .try_collect()
            .wait()?)
    })?;
    measure("shared by all workers", &here, || {
        let table = Shared::new(&table[..])?;
        let inputs = positions.iter().copied().zip(repeat(table));
        Ok(in_shared_memory.map(inputs).try_collect().wait()?)
    })?;
    println!("the results are those of this process");
    Ok(())
}
