#!/usr/bin/env bash
# Measure modelreg beside other OCI clients: pushes and pulls, directly and over
# a slow link, what a change or an interruption costs, memory and CPU. Prints
# tables of medians and what was aimed at; asserts nothing. The registry and all
# clients share this machine, so only the ratios of one run mean something.
#   tools/bench.sh                                   small models, 10 minutes
#   MIB=4096 FILES=2000 BUDGET=3h tools/bench.sh     those of docs/benchmarks.md
#   SCENES="changes resume" TOOLS="modelreg oras" tools/bench.sh
#   SCENES=search RECORDS=1000000 tools/bench.sh     a crawl, and searches of an index, alone
#   TSV=out.tsv                                      all samples, too
#   MODCTL=/path/to/modctl KIT=/path/to/kit          more peers
# tools/bench/config.go lists all variables.
set -euo pipefail
cd "$(dirname "$0")/.."
absolute() { case "$1" in '' | /*) echo "$1" ;; *) echo "$OLDPWD/$1" ;; esac; }
# Searches need neither registry nor peers.
if [[ " ${SCENES:-} " == *" search "* ]]; then
  search() { go test -count=1 -timeout 1h -v -run "$1" "$2" -args "$3" "$4" | sed -n 's/^ *[a-z]*_test.go:[0-9]*: //p'; }
  search "^TestCrawlScale\$" ./pkg/hub -versions 20000
  search "^TestScale\$" ./pkg/index -records "${RECORDS:-100000}"
  SCENES=$(echo " $SCENES " | sed 's/ search / /; s/^ *//; s/ *$//')
  [ -n "$SCENES" ] || exit 0
fi
bash tools/peers.sh
PEERS=$(bash tools/peers.sh --dir)
TSV=$(absolute "${TSV:-}")
export MODELREG=$PWD/bin/modelreg PEERS TSV
work=$(mktemp -d "${TMPDIR:-/tmp}/modelreg-bench.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
go -C tools build -o "$work/bench" ./bench
BENCH_DIR=${BENCH_DIR:-$work} "$work/bench"
