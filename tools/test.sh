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
echo "test: go test $race ./..."
go test $race -timeout 10m ./...
echo "test: command-line scripts against the built binary"
CGO_ENABLED=0 make -s test-bin
