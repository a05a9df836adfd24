#!/usr/bin/env bash
# All tests of the module: units and fuzz seeds, with the race detector for the
# packages that have goroutines if there is a C compiler for it, then the
# command-line scripts against the binary as users get it.
set -euo pipefail
cd "$(dirname "$0")/.."
race='' cgo=0
if command -v "$(go env CC)" >/dev/null 2>&1; then
  race=-race cgo=1
else
  echo "test: no C compiler, so without the race detector"
fi
echo "test: downloading modules"
go mod download

# Where nothing runs at once, the race detector only takes ten times longer; and
# what commands run at once is in packages, which have their own tests.
raced=() plain=()
while read -r pkg dir; do
  files=$(find "$dir" -maxdepth 1 -name '*.go' ! -name '*_test.go')
  # shellcheck disable=SC2086
  if [ "$pkg" != "${pkg%/cmd/*}" ]; then
    plain+=("$pkg")
  elif [ -n "$files" ] && grep -qE 'go func|errgroup|\.Go\(|sync\.(RW)?Mutex|atomic\.' $files; then
    raced+=("$pkg")
  else
    plain+=("$pkg")
  fi
done < <(go list -f '{{.ImportPath}} {{.Dir}}' ./...)
# These move much or count far, which the race detector makes minutes of. What they
# have goroutines for is in other tests too.
long='^Test(ArchiveGoesOn|ImportGoesOnInsideAFile|PullFetchesWhatChanged|PullByHostileIndexes|PullWithoutGoodIndexes|TooManyEntries|RoundTrip|PackTooManyLayers|UnpackKnowsWhatItWrote)$'
echo "test: go test $race, the ${#raced[@]} packages with goroutines"
# Deriving a key from a password is slow by design, and slower when it is watched.
CGO_ENABLED=$cgo go test $race -gcflags='golang.org/x/crypto/...=-race=false' -timeout 20m -skip "^TestScript\$|$long" "${raced[@]}"
echo "test: go test, the ${#plain[@]} others, and what takes too long with the race detector"
CGO_ENABLED=0 go test -timeout 20m -skip '^TestScript$' "${plain[@]}"
CGO_ENABLED=0 go test -timeout 20m -run "$long" ./pkg/hub ./pkg/artifact ./pkg/coding
go -C tools test ./bench
echo "test: command-line scripts against the built binary"
CGO_ENABLED=0 make -s test-bin

# Root reads and writes everything, so tests about permissions skip for it; they
# run here once more as nobody, from copies that nobody can read.
if [ "$(id -u)" = 0 ] && command -v setpriv >/dev/null; then
  echo "test: permissions, as another user than root"
  dir=$(mktemp -d)
  trap 'rm -rf "$dir"' EXIT
  chmod 755 "$dir"
  mkdir -m 1777 "$dir/tmp"
  for test in artifact:TestPackRefuses store:TestReadOnlyStore; do
    pkg=${test%%:*}
    cp -r "pkg/$pkg" "$dir/$pkg"
    CGO_ENABLED=0 go test -c -o "$dir/$pkg/run.test" "./pkg/$pkg"
    chmod -R a+rX "$dir/$pkg"
    (cd "$dir/$pkg" && TMPDIR=$dir/tmp HOME=$dir/tmp setpriv --reuid=65534 --regid=65534 --clear-groups \
      ./run.test -test.count=1 -test.run "^${test#*:}\$")
  done
fi
