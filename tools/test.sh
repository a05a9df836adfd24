#!/usr/bin/env bash
# All tests of the module: units, command-line scripts and fuzz seeds, with the
# race detector where there is a C compiler for it, then the scripts once more
# against the binary as users get it. Packages that take long are built first.
set -euo pipefail
cd "$(dirname "$0")/.."
race=
if command -v "$(go env CC)" >/dev/null 2>&1; then
  race=-race
  export CGO_ENABLED=1
else
  echo "test: no C compiler, so without the race detector"
fi
echo "test: downloading modules"
go mod download
# The race detector makes opening a private key, which is slow so that guessing its
# password is, take seconds. Scripts that sign again and again run below, with the
# built binary.
signing="attest|bundle|copy|keyless|lock|oms|oms_ref|pipeline|policy|policy_signers|provenance|rollback|scan|tree|trust|verify_dir"
echo "test: go test $race ./..."
go test $race -timeout 20m -skip "^TestScript\$/^($signing)\$" ./...
go -C tools test $race ./bench
echo "test: what takes too long with the race detector"
CGO_ENABLED=0 go test -count=1 -run '^TestAttestLargest$' ./pkg/signing
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
