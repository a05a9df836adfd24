#!/usr/bin/env bash
# What a reviewer should not have to say.
set -euo pipefail
cd "$(dirname "$0")/.."
tool() { go tool -modfile=tools/go.mod "$@"; }
bad=0
say() { echo "lint: $*"; }

say 'large files'
out=$(git ls-files -z | xargs -0 -r sh -c 'find "$@" -maxdepth 0 -size +1024k' sh)
[ -z "$out" ] || { echo "over 1 MiB, or built (git rm --cached FILE):"; echo "$out"; bad=1; }
say gofmt
out=$(git ls-files '*.go' | xargs -r gofmt -l)
[ -z "$out" ] || { echo "not formatted (run: gofmt -w FILE):"; echo "$out"; bad=1; }
say gofumpt
out=$(git ls-files '*.go' | xargs -r go tool -modfile=tools/go.mod gofumpt -l)
[ -z "$out" ] || { echo "not formatted (run: go tool -modfile=tools/go.mod gofumpt -w FILE):"; echo "$out"; bad=1; }
say go vet
go vet ./... || bad=1
go vet -tags e2e,interop ./... || bad=1
go -C tools vet ./... || bad=1
say staticcheck
tool staticcheck ./... || bad=1
(cd tools && go tool staticcheck ./...) || bad=1
say go fix
out=$(go fix -diff ./... 2>&1) || true
[ -z "$out" ] || { echo "$out" | head -40; bad=1; }
say go mod tidy
go mod tidy -diff || bad=1
exit $bad
