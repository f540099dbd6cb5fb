#!/usr/bin/env bash
# Runs the fuzz targets: each FUZZ_SECONDS (1800), FUZZ_JOBS (2) at a time. Fails with the path of the input if one
# crashes, hangs or takes too much memory. usage: fuzz.sh [TARGET...]
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${FUZZ_SECONDS:-1800} jobs=${FUZZ_JOBS:-2}
all=(dockerfile expand patterns tar lower)
targets=("${@:-${all[@]}}")

for target in "${targets[@]}"; do
    [ -f "fuzz/targets/$target.rs" ] || {
        echo "fuzz: there is no target $target; there are ${all[*]}" >&2
        exit 2
    }
done

# A C++ compiler for libFuzzer itself, tar and zstd for seeds.
scripts/packages.sh build-essential python3 tar zstd
command -v cargo > /dev/null || {
    echo "fuzz: cargo is missing; install a Rust toolchain (https://rustup.rs)" >&2
    exit 1
}
if ! cargo fuzz --version > /dev/null 2>&1; then
    echo "installing: cargo-fuzz" >&2
    cargo install cargo-fuzz --locked
fi

# No sanitizer: a stable compiler has none, and `unsafe` stands in one room that none of these is. Overflows and
# debug assertions are checked.
cargo fuzz build --sanitizer none
host=$(rustc -vV | sed -n 's/^host: //p')
scripts/fuzz-seeds.py fuzz/target/seeds

# One target, at most a minute of the clock for each input: says how it went, and which input was at fault.
run() {
    local target=$1 status=0 log=fuzz/target/$1.log
    mkdir -p "fuzz/corpus/$target" "fuzz/artifacts/$target"
    "fuzz/target/$host/release/$target" -max_total_time="$seconds" -timeout=60 -rss_limit_mb=2048 -print_final_stats=1 \
        -artifact_prefix="fuzz/artifacts/$target/" "fuzz/corpus/$target" "fuzz/target/seeds/$target" > "$log" 2>&1 || status=$?
    if [ "$status" -eq 0 ]; then
        local executions cover
        executions=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
        cover=$(grep -oE 'cov: [0-9]+' "$log" | tail -n 1)
        echo "$target: ok, $executions executions in $seconds s, $cover"
        return
    fi
    grep -aE -A3 "panicked at|^==[0-9]+== ?ERROR" "$log" >&2 || tail -n 20 "$log" >&2
    echo "$target: FAILED: $(sed -n 's/.*Test unit written to //p' "$log")" >&2
    return 1
}

failures=$(mktemp)
trap 'rm -f "$failures"' EXIT
for target in "${targets[@]}"; do
    while [ "$(jobs -rp | wc -l)" -ge "$jobs" ]; do wait -n || true; done
    { run "$target" || echo "$target" >> "$failures"; } &
done
wait
[ ! -s "$failures" ]
