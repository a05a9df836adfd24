#!/usr/bin/env bash
# All tests of the module: units and fuzz seeds, then the command-line scripts
# against the binary as users get it. The race detector has tools/race.sh.
set -euo pipefail
cd "$(dirname "$0")/.."
export CGO_ENABLED=0
MODELREG_TEST_FUSE=$(bash tools/fuse.sh test)
export MODELREG_TEST_FUSE
echo "test: downloading modules"
go mod download
echo "test: go test, every package"
go test -timeout 20m -skip '^TestScript$' ./...
go -C tools test ./bench
echo "test: command-line scripts against the built binary"
make -s test-bin

# Root reads and writes everything, so tests about permissions skip for it; they
# run here once more as nobody, from copies that nobody can read.
if [ "$(id -u)" = 0 ] && command -v setpriv >/dev/null; then
  echo "test: permissions, as another user than root"
  dir=$(mktemp -d)
  trap 'rm -rf "$dir"' EXIT
  chmod 755 "$dir"
  mkdir -m 1777 "$dir/tmp"
  for test in pkg/artifact:TestPackRefuses pkg/store:TestReadOnlyStore cmd/modelreg:TestPushRefuses; do
    pkg=${test%%:*}
    copy=$dir/$(basename "$pkg")
    cp -r "$pkg" "$copy"
    go test -c -o "$copy/run.test" "./$pkg"
    chmod -R a+rX "$copy"
    (cd "$copy" && TMPDIR=$dir/tmp HOME=$dir/tmp setpriv --reuid=65534 --regid=65534 --clear-groups \
      ./run.test -test.count=1 -test.run "^${test#*:}\$")
  done
fi
