#!/usr/bin/env bash
# A model's whole way, on this machine alone: a registry, a push, a signature, a
# pull by digest, and what happens when somebody tampers with it. Needs the built
# binary and nothing else; leaves nothing behind.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=$PWD/${1:-bin/modelreg}
model=$PWD/examples/digits/model
work=$(mktemp -d "${TMPDIR:-/tmp}/modelreg-demo.XXXXXX")
server=
cleanup() {
  [ -z "$server" ] || { kill "$server" 2>/dev/null && wait "$server" 2>/dev/null || true; }
  rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

# The demo neither reads nor changes the user's own configuration and store.
export MODELREG_CONFIG=$work/config.yaml MODELREG_CACHE=$work/cache MODELREG_KEY_PASSWORD=demo
unset MODELREG_REGISTRY SOURCE_DATE_EPOCH

step() { printf '\n\033[1m== %s\033[0m\n' "$*"; }
[ -t 1 ] || step() { printf '\n== %s\n' "$*"; }
show() { printf '$ modelreg %s\n' "${*//$work\//}"; "$bin" "$@"; }
fail() { echo "demo: $*" >&2; exit 1; }
refused() { # WANTED-EXIT COMMAND…: the command must fail with this code
  local want=$1 code=0; shift
  show "$@" || code=$?
  [ "$code" = "$want" ] || fail "expected exit code $want, got $code"
  echo "(exit code $code)"
}

step "Start a registry, with its data in a temporary directory"
mkfifo "$work/address"
"$bin" serve --data "$work/data" --listen 127.0.0.1:0 >"$work/address" &
server=$!
read -r url <"$work/address"
host=${url#http://}
echo "listening on $url"
ref=$host/demo/digits

cd "$work"
step "Push the example model: one file, one layer"
show push "$model" "$ref:v1"

step "Push it again: nothing to do"
show push "$model" "$ref:v1"

step "Make a key pair, in cosign's format, and sign the version"
show keygen -o demo
show sign "$ref:v1" --key demo.key

step "Resolve the tag to a digest, once; everything after this uses the digest"
digest=$("$bin" resolve "$ref:v1")
echo "$digest"

step "Look at it without fetching the weights"
show inspect "$ref@$digest"

step "Verify who signed it"
show verify "$ref@$digest" --key demo.pub

step "Pull by digest, verified before the first byte is written"
show pull "$ref@$digest" pulled --verify --key demo.pub

step "Compare with what was pushed, bit for bit"
diff -r -x .modelreg "$model" pulled && echo "identical"

step "Tamper with the weights in the registry's storage, and pull again"
weights=$(sha256sum "$model/model.safetensors" | cut -d' ' -f1)
blob=$work/data/docker/registry/v2/blobs/sha256/${weights:0:2}/$weights/data
[ -f "$blob" ] || fail "the blob is not where it was expected"
chmod u+w "$blob"
printf 'EVIL' | dd of="$blob" bs=1 seek=4000 conv=notrunc status=none
rm -rf "$work/cache"
refused 15 pull "$ref@$digest" tampered --verify --key demo.pub
[ ! -e tampered ] || fail "tampered files are visible"
echo "nothing of it reached the disk"

step "Push a changed model to the same tag: the old signature does not cover it"
cp -r "$model" changed && echo "changed" >>changed/README.md
show -q push changed "$ref:v1"
refused 8 pull "$ref:v1" unsigned --verify --key demo.pub
[ ! -e unsigned ] || fail "unsigned files are visible"

step "Done: the registry stops and everything is removed"
