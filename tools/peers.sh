#!/usr/bin/env bash
# Build the tools that the slow suite and the benchmarks run side by side with
# modelreg, at fixed versions, into a cache that outlives the checkout. Prints
# nothing but what it builds. tools/peers.sh --dir prints where they are.
set -euo pipefail
dir=${MODELREG_PEERS:-${XDG_CACHE_HOME:-$HOME/.cache}/modelreg-peers}/bin
if [ "${1:-}" = --dir ]; then echo "$dir"; exit; fi

install() { # PATH@VERSION NAME
  local target=$dir/$2 stamp=$dir/.${2//\//-}
  if [ -x "$target" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$1" ]; then return; fi
  echo "building $2 from $1"
  mkdir -p "$(dirname "$target")"
  GOFLAGS='' GOBIN=$(dirname "$target") go install "$1"
  echo "$1" >"$stamp"
}

install github.com/distribution/distribution/v3/cmd/registry@v3.1.2 registry
install oras.land/oras/cmd/oras@v1.3.3 oras
install github.com/google/go-containerregistry/cmd/crane@v0.22.1 crane
install github.com/regclient/regclient/cmd/regctl@v0.11.7 regctl
install github.com/sigstore/cosign/v2/cmd/cosign@v2.6.5 v2/cosign
install github.com/sigstore/cosign/v3/cmd/cosign@v3.1.3 v3/cosign
install github.com/sigstore/fulcio@v1.8.8 fulcio
install github.com/sigstore/rekor-tiles/v2/cmd/rekor-server/posix@v2.3.0 rekor/posix
install github.com/sigstore/timestamp-authority/v2/cmd/timestamp-server@v2.1.3 timestamp-server
install sigs.k8s.io/kustomize/kustomize/v5@v5.7.1 kustomize

# What clusters are asked with: the published definitions of admission policies,
# and a small program that holds objects against them.
definitions() { # MODULE@VERSION FILES…
  local module=$1 stamp=$dir/.crds-${1//\//-} root
  shift
  if [ -e "$stamp" ]; then return; fi
  echo "fetching definitions from $module"
  root=$(cd / && GOFLAGS='' go mod download -json "$module" | sed -n 's/.*"Dir": "\(.*\)",*$/\1/p')
  mkdir -p "$dir/crds"
  for file in "$@"; do cat "$root/$file" >"$dir/crds/${file##*/}"; done
  touch "$stamp"
}
crds=config/crds/policies.kyverno.io/policies.kyverno.io
definitions github.com/kyverno/kyverno@v1.19.1 ${crds}_imagevalidatingpolicies.yaml ${crds}_validatingpolicies.yaml
definitions github.com/sigstore/policy-controller@v0.13.1 config/300-clusterimagepolicy.yaml

# What SARIF documents are held against: the published schema, which this module
# has as a text in its source.
definitions github.com/owenrumney/go-sarif/v3@v3.3.1 pkg/report/v210/sarif/schema.go

here=$(cd "$(dirname "$0")" && pwd)
sum=$(cat "$here"/admission/go.* "$here"/admission/*.go | sha256sum)
if [ "$(cat "$dir/.admission" 2>/dev/null)" != "$sum" ]; then
  echo "building admission from tools/admission"
  GOFLAGS='' go -C "$here/admission" build -o "$dir/admission" .
  echo "$sum" >"$dir/.admission"
fi
