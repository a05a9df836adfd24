#!/usr/bin/env bash
# Push and pull a model of random bytes through a stock registry, modelreg and
# oras in turn, and print ratios of medians measured in this one run, against
# oras and against the floor of plain copies. Nothing here is a promise: the
# registry and both clients share this machine.
#   MIB=1024 RUNS=3 SHARDS=4 tools/bench.sh     MiB in each shard
set -euo pipefail
cd "$(dirname "$0")/.."
peers=$(bash tools/peers.sh --dir)
bin=$PWD/bin/modelreg
mib=${MIB:-256} runs=${RUNS:-3} shards=${SHARDS:-4}
work=$(mktemp -d "${TMPDIR:-/tmp}/modelreg-bench.XXXXXX")
server=
stop() { [ -z "$server" ] || { kill "$server" 2>/dev/null && wait "$server" 2>/dev/null || true; }; server=; }
trap 'stop; rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
export MODELREG_CACHE=$work/cache MODELREG_STATE=$work/state MODELREG_CONFIG=$work/config.yaml HOME=$work DOCKER_CONFIG=$work OTEL_TRACES_EXPORTER=none

port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
host=127.0.0.1:$port
fresh() { # a registry with nothing in it
  stop
  rm -rf "$work/data"
  printf 'version: 0.1\nlog: {level: error}\nstorage: {filesystem: {rootdirectory: %s}, delete: {enabled: true}}\nhttp: {addr: "%s", secret: x}\n' "$work/data" "$host" >"$work/config.yml"
  "$peers/registry" serve "$work/config.yml" >/dev/null 2>&1 &
  server=$!
  for _ in $(seq 100); do curl -sf "http://$host/v2/" >/dev/null && return; sleep 0.05; done
  echo "the registry does not answer" >&2; exit 1
}
timed() { # FILE COMMAND…: adds the wall time in seconds to FILE
  local file=$1 start end; shift
  start=$(date +%s.%N); "$@" >/dev/null 2>"$work/err" || { cat "$work/err" >&2; exit 1; }; end=$(date +%s.%N)
  awk -v a="$start" -v b="$end" 'BEGIN { printf "%.3f\n", b - a }' >>"$work/$file"
}
median() { sort -n "$work/$1" | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }

model=$work/model
mkdir -p "$model"
for i in $(seq "$shards"); do head -c "${mib}M" /dev/urandom >"$model/model-$i.bin"; done
echo '{}' >"$model/config.json"
files=$(cd "$model" && ls)
oras_push() { (cd "$model" && "$peers/oras" push --plain-http --no-tty --disable-path-validation "$host/bench/oras:v1" $files); }
oras_pull() { "$peers/oras" pull --plain-http --no-tty -o "$work/out" "$host/bench/oras:v1"; }
our_push() { "$bin" push -q "$model" "$host/bench/ours:v1"; }
our_pull() { "$bin" pull -q "$host/bench/ours:v1" "$work/out"; }
floor_hash() { cat "$model"/* | openssl dgst -sha256; }
floor_copy() { cp -r "$model" "$work/out" && sync -f "$work/out"; }
floor_curl() {
  mkdir -p "$work/out"
  local d
  for f in $files; do
    d=$(sha256 "$f")
    curl -sf -o "$work/out/$f" "http://$host/v2/bench/ours/blobs/sha256:$d"
  done
}
declare -A sums
sha256() { echo "${sums[$1]}"; }
for f in $files; do sums[$f]=$(openssl dgst -sha256 -r "$model/$f" | cut -d' ' -f1); done

for run in $(seq "$runs"); do
  echo "run $run of $runs: $shards files of $mib MiB" >&2
  for who in oras our; do
    fresh; rm -rf "$work/cache"
    timed "$who-push" "${who}_push"
    rm -rf "$work/out"
    timed "$who-pull" "${who}_pull"
    [ $who = oras ] || { timed our-push-again our_push; timed our-pull-again our_pull; rm -rf "$work/out"; timed floor-curl floor_curl; }
    rm -rf "$work/out"
  done
  timed floor-hash floor_hash
  timed floor-copy floor_copy; rm -rf "$work/out"
done
ratio() { awk -v a="$(median "$1")" -v b="$(median "$2")" -v n="$3" 'BEGIN { printf "%-34s %6.2f   (%.2f s against %.2f s)\n", n, a / b, a, b }'; }
echo "ratio of medians, $shards x $mib MiB, $runs runs"
ratio our-push oras-push "push / oras push"
ratio our-pull oras-pull "pull / oras pull"
ratio our-push-again our-push "push again, unchanged / push"
ratio our-pull-again our-pull "pull again, unchanged / pull"
ratio our-push floor-hash "push / hashing the files"
ratio our-pull floor-copy "pull / cp and sync"
ratio our-pull floor-curl "pull / curl of each file"
