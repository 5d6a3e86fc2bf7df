#!/usr/bin/env bash
# What the attribute costs: debug builds of a crate of 100 functions with and without it, and of the
# same crate with 100 structs that derive serde's two traits instead.
#
# usage: expansion.sh [rounds]
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export CARGO_TARGET_DIR=$work/target
rounds=${1:-5}

# A crate of that name, whose functions have that line in front, and as many structs with that line.
generate() {
    mkdir -p "$work/$1/src"
    cat > "$work/$1/Cargo.toml" <<TOML
[package]
name = "$1"
version = "0.0.0"
edition = "2024"
[dependencies]
retry-runtime = { path = "$root/retry-runtime" }
serde = { version = "1", features = ["derive"] }
[workspace]
TOML
    cp "$root/Cargo.lock" "$work/$1/"
    {
        echo '#[derive(Debug, serde::Serialize, serde::Deserialize)] pub enum Failed { Empty(usize) }'
        for i in $(seq 25); do
            echo "$2"
            echo "fn plain$i(a: u64, b: u64) -> u64 { a * $i + b }"
            echo "$2"
            echo "fn fallible$i(number: usize, line: String) -> Result<usize, Failed> {
                if line.is_empty() { Err(Failed::Empty(number)) } else { Ok(line.len()) } }"
            echo "$2"
            echo "fn borrowing$i(text: &str, bytes: &[u8]) -> Vec<String> {
                vec![text.to_owned(); bytes.len()] }"
            echo "$2"
            echo "async fn later$i(name: String) -> Result<String, std::io::Error> {
                std::fs::read_to_string(name) }"
        done
        echo 'fn main() {'
        for i in $(seq 25); do
            echo "plain$i(1, 2); let _ = fallible$i(1, String::new()); borrowing$i(\"\", b\"\");"
            echo "drop(later$i(String::new()));"
        done
        echo '}'
        if [ -n "${3:-}" ]; then
            for i in $(seq 100); do
                echo "$3"
                echo "pub struct Struct$i { pub number: u64, pub text: String }"
            done
        fi
    } > "$work/$1/src/main.rs"
}

# The median of that many builds in milliseconds, after that command each.
measure() {
    for _ in $(seq "$rounds"); do
        eval "$2"
        start=$(date +%s%N)
        cargo build --quiet --offline --manifest-path "$work/$1/Cargo.toml" 2> /dev/null
        echo $((($(date +%s%N) - start) / 1000000))
    done | sort -n | sed -n "$(((rounds + 1) / 2))p"
}

generate bare ''
generate annotated '#[retry_runtime::function]'
generate derived '' '#[derive(serde::Serialize, serde::Deserialize)]'
echo '| crate | clean build | one line changed |'
echo '|---|---|---|'
for crate in bare annotated derived; do
    # The dependencies are not part of it.
    cargo build --quiet --offline --manifest-path "$work/$crate/Cargo.toml" 2> /dev/null
    clean=$(measure $crate "rm -rf $work/target/debug/incremental $work/target/debug/.fingerprint/$crate-*")
    changed=$(measure $crate "sed -i \"s/a \* 7[0-9]* + b/a * 7\$RANDOM + b/\" $work/$crate/src/main.rs")
    echo "| $crate | $clean ms | $changed ms |"
done
