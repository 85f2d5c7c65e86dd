#!/usr/bin/env bash
# Installs a real vLLM for the CPU and runs giq against it:
#   tests/vllm/run.sh GIQ_VENV VLLM_VENV
# Where this machine cannot run vLLM it says so in plain words and fails: nothing was tested.
set -euo pipefail

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
giq_venv="$(cd "$1" && pwd)"
mkdir -p "$2"
vllm_venv="$(cd "$2" && pwd)"

"$here/install.sh" "$vllm_venv"
export GIQ_VLLM_VENV="$vllm_venv"
cd "$here/../.."
exec "$giq_venv/bin/python" -m pytest tests/vllm --override-ini=addopts= --strict-markers --import-mode=importlib \
  --timeout=2400 -v
