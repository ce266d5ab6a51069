#!/bin/sh
# Runs fuzz targets one after the other, each for so many seconds of processor time, and prints what libFuzzer says at
# the end. New inputs go to a scratch folder; what breaks a promise is left in artifacts/.
# Usage: run_for.sh SECONDS TARGET…   (after `cargo fuzz build --fuzz-dir .`)
set -eu
cd "$(dirname "$0")"
seconds=$1
shift
ticks=$(getconf CLK_TCK)
for target in "$@"; do
    scratch=$(mktemp -d)
    mkdir -p artifacts
    program=$(ls target/*/release/"$target")
    nice -n 15 "$program" -dict=tokens.dict -print_final_stats=1 -artifact_prefix="artifacts/$target-" \
        "$scratch" "corpus/$target" >"$scratch.log" 2>&1 &
    pid=$!
    used=0
    while [ "$used" -lt "$seconds" ] && kill -0 "$pid" 2>/dev/null; do
        sleep 2 || true
        used=$(awk -v ticks="$ticks" '{ print int(($14 + $15) / ticks) }' "/proc/$pid/stat" 2>/dev/null || echo "$used")
    done
    kill -INT "$pid" 2>/dev/null || true
    wait "$pid" || true
    echo "== $target: $used s of processor time, $(ls "$scratch" | wc -l) inputs kept"
    grep -E 'cov: ' "$scratch.log" | tail -1
    grep -E 'stat::|SUMMARY|panicked' "$scratch.log" || true
    rm -rf "$scratch" "$scratch.log"
done
