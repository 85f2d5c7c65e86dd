#!/usr/bin/env bash
# Installs vLLM and what giq needs on a machine without network, from a folder of wheels:
#   tests/campaign/install_offline.sh WHEELS VENV
# VENV is made over $PYTHON (python3), whose own packages it sees: PyTorch with CUDA is taken from there, as it is.
# A wheel too large to carry in one piece comes in parts, made by
#   split --bytes=60M --numeric-suffixes NAME.whl NAME.whl.part-
# and joined here. Nothing is resolved: the folder must hold every wheel that is missing (`pip check` tells at the end).
set -euo pipefail

[[ $# == 2 ]] || { echo "usage: $0 WHEELS VENV" >&2; exit 2; }
wheels="$(cd "$1" && pwd)"
venv="$2"
python="${PYTHON:-python3}"

for first in "$wheels"/*.whl.part-00; do
    [[ -e "$first" ]] || continue
    whole="${first%.part-00}"
    cat "$whole".part-* >"$whole.joining"
    "$python" -m zipfile --test "$whole.joining" >/dev/null
    mv "$whole.joining" "$whole"
    rm "$whole".part-*
done

[[ -x "$venv/bin/python" ]] || "$python" -m venv --system-site-packages "$venv"
# $PYTHON may itself be of a virtual environment, whose packages the line above does not show.
site="$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"
"$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))' >"$site/packages-of-python.pth"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-index --find-links "$wheels" --no-deps \
    "$wheels"/*.whl
"$venv/bin/python" -m pip check || echo "What pip check names may not matter; what follows must work." >&2
"$venv/bin/python" - <<'PYTHON'
import torch, vllm, msgspec, pyarrow, typer
print(f"vllm {vllm.__version__}, torch {torch.__version__}, CUDA {torch.version.cuda}: "
      f"{torch.cuda.get_device_name() if torch.cuda.is_available() else 'no GPU seen'}")
PYTHON
