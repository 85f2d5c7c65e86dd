# Two commands to know: `make quickstart` and `make test`.
PYTHON ?= python3
VENV ?= .venv
VLLM_VENV ?= .venv-vllm
VLLM_PYTHON ?= python3
GIQ := $(VENV)/bin/giq

.PHONY: quickstart main-job install dev test test-vllm performance database gpu lint types clean

quickstart: ## install giq, then run the main job on the simulated engine
	@began=$$(date +%s); $(MAKE) --no-print-directory install && \
	  echo "Installed in $$(( $$(date +%s) - began )) s."
	@began=$$(date +%s); $(MAKE) --no-print-directory main-job && \
	  echo "The main job took $$(( $$(date +%s) - began )) s."

main-job: ## profile the simulated engine in real time, recommend, write the manifest
	@echo "1. Profile: the simulated engine, llama-3-8b on one nvidia-l4, over HTTP in real time. ESTIMATED, not measured."
	$(GIQ) profile --simulate --model llama-3-8b --accelerator nvidia-l4 \
	  --input-tokens 64 --output-tokens 16 --concurrency 12,32 --request-rate 10 --duration 20s
	@echo "2. Recommend: the cheapest accelerator for the chatbot use case, over the whole catalog. ESTIMATED, not measured."
	$(GIQ) recommend --model llama-3-8b --target-ttft 300ms
	@echo "3. Manifest of the first choice; for a cluster: giq manifest | kubectl apply -f -"
	$(GIQ) manifest

install: $(VENV)/.giq ## giq in its own environment
$(VENV)/.giq: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "giq needs Python 3.11 or newer; set PYTHON=/path/to/python3.11"; exit 1; }
	@test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	@$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

dev: $(VENV)/.dev ## giq and what its tests need
$(VENV)/.dev: pyproject.toml $(VENV)/.giq
	@$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	@$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --group dev
	@touch $@

test: dev ## the test suite: no GPU, no vLLM
	$(VENV)/bin/python -m pytest

test-vllm: dev ## against a real vLLM on the CPU (installs it, about 3 minutes)
	tests/vllm/run.sh "$(VENV)" "$(VLLM_VENV)"

performance: dev ## what giq holds, beside other load tools (installs them), and its memory: about 40 minutes, quiet machine
	-tests/performance/rivals/install.sh
	$(VENV)/bin/python -m tests.performance.everything_on
	$(VENV)/bin/python -m tests.performance.memory
	$(VENV)/bin/python -m tests.performance.rivals

database: dev ## calibrations and the curves that ship, made anew from the catalog and the engine: about ten minutes
	$(GIQ) calibrate benchmarks/published.csv --to profiles > /dev/null
	$(GIQ) benchmarks build --to benchmarks

gpu: dev ## measure the GPU of this machine and put the points into benchmarks/: within 25 minutes; the same again goes on
	$(VENV)/bin/python -m tests.campaign run benchmarks/campaigns/one-nvidia-gpu.yaml --time-limit 25m \
	  --python $(VLLM_PYTHON) --bundle results/bundle || test $$? -eq 3
	$(VENV)/bin/python -m tests.campaign load benchmarks/campaigns/one-nvidia-gpu.yaml --profiles profiles || test $$? -eq 3

lint: dev
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

types: dev
	$(VENV)/bin/mypy

clean:
	rm -rf $(VENV) $(VLLM_VENV) .venv-rivals dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
