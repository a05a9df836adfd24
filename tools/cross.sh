#!/usr/bin/env bash
# Build the binary for every platform that is released, without optimising it:
# what is asked is whether it compiles.
set -euo pipefail
cd "$(dirname "$0")/.."
for os in linux darwin windows; do
  for arch in amd64 arm64; do
    echo "cross: $os/$arch"
    CGO_ENABLED=0 GOOS=$os GOARCH=$arch go build -gcflags='all=-N -l' -o /dev/null ./cmd/modelreg
  done
done
