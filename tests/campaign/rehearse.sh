#!/usr/bin/env bash
# The whole way of a campaign on this machine's CPU, with tiny models: about ten minutes, in FOLDER.
#   tests/campaign/rehearse.sh FOLDER [STAGE ...]      (stages: interrupt run load recommend; default: all, in this order)
# giq's Python is $GIQ_PYTHON (.venv/bin/python), the one that has vLLM $VLLM_PYTHON (.venv-vllm/bin/python).
set -euo pipefail

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
python="${GIQ_PYTHON:-$root/.venv/bin/python}"
vllm="${VLLM_PYTHON:-$root/.venv-vllm/bin/python}"
mkdir -p "$1"
folder="$(cd "$1" && pwd)"
shift
here="$root/tests/campaign"
file="$here/rehearsal/rehearsal.yaml"

export GIQ_HOME="$folder/home" HF_HUB_OFFLINE=1 VLLM_CPU_KVCACHE_SPACE=2
export VLLM_CPU_OMP_THREADS_BIND="${VLLM_CPU_OMP_THREADS_BIND:-$(($(nproc) - 1))}"
mkdir -p "$GIQ_HOME"
cp -r "$here/rehearsal/profiles" "$GIQ_HOME/"
cd "$root"

run() {
    "$python" -m tests.campaign run "$file" --results "$folder/results" --python "$vllm" --bundle "$folder/bundle" "$@"
}

# SIGTERM once the first load point is saved: what runs saves, the server is stopped, and what is missing is listed.
interrupt() {
    local code=0 pid
    "$python" -m tests.campaign run "$file" --results "$folder/results" --python "$vllm" &
    pid=$!
    until compgen -G "$folder/results/llama-rehearsal-bf16/short/run=*/points.parquet" >/dev/null; do
        kill -0 "$pid" || return 1
        sleep 0.5
    done
    kill -TERM "$pid"
    wait "$pid" || code=$?
    echo "interrupted: exit code $code" >&2
    [[ "$code" == 130 ]]
}

# The same command until nothing is missing, five minutes at a time.
all() {
    local turn
    for turn in 1 2 3 4 5; do
        run --time-limit "${TIME_LIMIT:-5m}" && return
        [[ $? == 3 ]] || return 1
    done
}

# From the bundle alone, into a folder and a database of their own.
load() {
    "$python" -m tests.campaign load "$file" --bundle "$folder/bundle" --results "$folder/elsewhere" \
        --benchmarks "$folder/benchmarks" --profiles "$GIQ_HOME/profiles" --page "$folder/rehearsal.md"
}

recommend() {
    "$python" -m giq recommend --model llama-rehearsal --accelerator cpu --input-tokens uniform:16-48 \
        --output-tokens uniform:4-12 --target-ttft 300ms --results-dir "$folder/benchmarks"
}

for stage in "${@:-interrupt run load recommend}"; do
    for name in $stage; do
        if [[ "$name" == run ]]; then all; else "$name"; fi
    done
done
