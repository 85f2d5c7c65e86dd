#!/usr/bin/env bash
# Installs the rivals that `python -m tests.performance.rivals` measures, each pinned and in an environment of its own:
#   tests/performance/rivals/install.sh [TOOL ...]      (default: vllm guidellm aiperf inference-perf)
# They go to .venv-rivals in the root of the repository (RIVALS_DIR names another folder); `vllm bench serve` is taken
# from the environment that tests/vllm/install.sh makes (.venv-vllm), because it is the same package. All four take some
# 6 GB. A tool that is installed already is left as it is; one that fails is named, and the others go on.
# Exit codes: 0 all are ready, 1 at least one failed.
set -uo pipefail

GUIDELLM="guidellm==0.8.1"
AIPERF="aiperf==0.13.0"
INFERENCE_PERF="inference-perf==0.7.0"
TORCH="torch==2.13.0+cpu" # GuideLLM imports torch; any other build brings gigabytes of CUDA

PIP_FLAGS=(--quiet --disable-pip-version-check --no-input)

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
root="$(cd "$here/../../.." && pwd)"
folder="${RIVALS_DIR:-$root/.venv-rivals}"

say() { echo "tests/performance/rivals/install.sh: $*" >&2; }

# The first interpreter from version $1 to below version $2, among those on the path and those of pyenv.
find_python() {
    local candidate
    local candidates=(python3.12 python3.13 python3.11 python3)
    command -v pyenv >/dev/null && candidates+=("$(pyenv root)"/versions/3.1[1-3].*/bin/python)
    for candidate in "${candidates[@]}"; do
        if "$candidate" -c "import ssl, sys; sys.exit(not ($1) <= sys.version_info < ($2))" 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    say "no Python from ${1/, /.} to below ${2/, /.} was found."
    return 1
}

# make TOOL LOWEST HIGHEST REQUIREMENT ...: the environment of a tool, one `pip install` per requirement, in order.
make() {
    local tool="$1" python pins="${*:4}" venv="$folder/$1" requirement
    if [[ "$(cat "$venv/pins" 2>/dev/null)" == "$pins" ]]; then
        say "$tool is ready."
        return
    fi
    python="$(find_python "$2" "$3")" || return 1
    say "installing $pins into $venv."
    "$python" -m venv --clear "$venv" || return 1
    for requirement in "${@:4}"; do
        "$venv/bin/pip" install "${PIP_FLAGS[@]}" "$requirement" || return 1
    done
    echo "$pins" >"$venv/pins"
    say "$tool is ready."
}

install_tool() {
    case "$1" in
        vllm) "$root/tests/vllm/install.sh" ;;
        guidellm) make guidellm "3, 11" "3, 14" "$TORCH" "$GUIDELLM" ;;
        aiperf) make aiperf "3, 11" "3, 14" "$AIPERF" ;;
        inference-perf) make inference-perf "3, 12" "3, 14" "$INFERENCE_PERF" ;;
        *) say "unknown tool $1: vllm, guidellm, aiperf, inference-perf."; return 1 ;;
    esac
}

main() {
    local tool failed=0
    mkdir -p "$folder" || return 1
    for tool in "${@:-vllm guidellm aiperf inference-perf}"; do
        for tool in $tool; do
            install_tool "$tool" || { say "$tool could not be installed."; failed=1; }
        done
    done
    return "$failed"
}

main "$@"
