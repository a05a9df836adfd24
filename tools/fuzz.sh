#!/usr/bin/env bash
# Run every fuzz target of the module for FUZZTIME each.
set -euo pipefail
cd "$(dirname "$0")/.."
time=${FUZZTIME:-10s}
git ls-files '*_test.go' | xargs grep -l '^func Fuzz' | xargs -n1 dirname | sort -u | while read -r dir; do
  grep -ho '^func Fuzz[A-Za-z0-9_]*' "$dir"/*_test.go | sed 's/^func //' | sort -u | while read -r target; do
    echo "fuzz: $dir $target"
    go test -run "^$" -fuzz "^$target\$" -fuzztime "$time" -fuzzminimizetime 10x -parallel 2 "./$dir"
  done
done
