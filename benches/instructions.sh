#!/usr/bin/env bash
# How many instructions a call takes that is waited for, one that names a `Shared`, and an input of a map, in the parent and in
# its worker: counted by callgrind, so that it does not matter what else the machine does.
#
# Names what differs by more than 5 % from instructions.txt, and fails then. With --update the counts
# become the new instructions.txt.
#
# usage: instructions.sh [--update]
set -euo pipefail
cd "$(dirname "$0")"
update=${1:-}
if ! command -v valgrind > /dev/null; then
    echo 'valgrind is not installed' >&2
    exit 2
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cc -shared -fPIC -O2 -o "$work/instructions.so" instructions.c -ldl
cargo build --quiet --release --locked --features valgrind --bin instructions
program=${CARGO_TARGET_DIR:-target}/release/instructions

sum() {
    awk '/^totals: / { sum += $2 } END { printf "%d\n", sum }' "$@"
}

# How many there are of parent and worker after so many calls or inputs. A look costs instructions for
# as long as it takes, so nobody looks before he sleeps; and which thread comes first makes a difference,
# so they have one core.
count() {
    rm -f "$work"/out.*
    LD_PRELOAD=$work/instructions.so RETRY_SPIN=0 RETRY_OUTPUT=none taskset -c 0 valgrind --quiet \
        --tool=callgrind --trace-children=yes --callgrind-out-file="$work/out.%p" \
        "$program" "$1" "$2" 2> "$work/errors" || { cat "$work/errors" >&2; exit 1; }
    # The parent has arguments. Whatever else there is belongs to the worker.
    parent=$(sum $(grep -l "^cmd: .* $1 $2" "$work"/out.*))
    worker=$(sum $(grep -L "^cmd: .* $1 $2" "$work"/out.*))
}

# The start and the end are not part of it: from so many to as many more.
measure() {
    count "$1" "$2"
    local parent_before=$parent worker_before=$worker
    count "$1" $(($2 + $3))
    echo "$1, parent: $(((parent - parent_before) / $3))"
    echo "$1, worker: $(((worker - worker_before) / $3))"
}

# The middle of three: between two runs there are up to 4 % for a call and 2 % for an input.
for _ in 1 2 3; do
    measure call 1000 4000
    measure map 20000 80000
    measure shared 1000 4000
done | sort -t : -k 1,1 -k 2n | sed -n '2~3p' > "$work/counts"

if [ "$update" = --update ]; then
    cp "$work/counts" instructions.txt
fi
awk -F ': ' '
    FNR == NR { before[$1] = $2; next }
    {
        change = before[$1] ? 100 * ($2 / before[$1] - 1) : 0
        named = change > 5 || change < -5
        changed += named
        printf "%-14s %6d instructions, %+6.1f %%%s\n", $1, $2, change, named ? "  CHANGED" : ""
    }
    END { exit changed > 0 }
' instructions.txt "$work/counts"
