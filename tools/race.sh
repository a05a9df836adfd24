#!/usr/bin/env bash
# The packages that have goroutines, with the race detector, which needs a C
# compiler. Where nothing runs at once it would only take ten times longer; and
# what commands run at once is in packages, which have their own tests.
set -euo pipefail
cd "$(dirname "$0")/.."
if ! command -v "$(go env CC)" >/dev/null 2>&1; then
  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "race: needs a C compiler, and there is none: install gcc" >&2
    exit 1
  fi
  echo "race: installing gcc"
  apt-get update -qq && apt-get install -y -qq gcc libc6-dev
fi

MODELREG_TEST_FUSE=$(bash tools/fuse.sh race)
export MODELREG_TEST_FUSE
raced=()
while read -r pkg dir; do
  files=$(find "$dir" -maxdepth 1 -name '*.go' ! -name '*_test.go')
  # shellcheck disable=SC2086
  if [ "$pkg" = "${pkg%/cmd/*}" ] && [ -n "$files" ] &&
    grep -qE 'go func|errgroup|\.Go\(|sync\.(RW)?Mutex|atomic\.' $files; then
    raced+=("$pkg")
  fi
done < <(go list -f '{{.ImportPath}} {{.Dir}}' ./...)
# These move much or count far, which the race detector makes minutes of. What they
# have goroutines for is in other tests too.
long='^Test(ArchiveGoesOn|ImportGoesOnInsideAFile|PullFetchesWhatChanged|PullByHostileIndexes|PullWithoutGoodIndexes|TooManyEntries|RoundTrip|PackTooManyLayers|UnpackKnowsWhatItWrote|DeltaMemory)$'
echo "race: go test -race, the ${#raced[@]} packages with goroutines"
# Deriving a key from a password is slow by design, and slower when it is watched.
CGO_ENABLED=1 go test -race -gcflags='golang.org/x/crypto/...=-race=false' -timeout 20m -skip "^TestScript\$|$long" "${raced[@]}"
