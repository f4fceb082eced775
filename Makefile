# The project's commands. `make` alone lists them.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
TORCH ?= torch==2.13.0
# Extra arguments for pip when it fetches torch, such as the CPU-only index that pytorch.org/get-started shows.
TORCH_ARGS ?=
VENV := .venv
BIN := $(VENV)/bin
IMAGE ?=
SGLANG := .sglang-env
SGLANG_BIN := $(SGLANG)/bin
MARKERS ?= not slow and not gpu
export TOKENIZERS_PARALLELISM ?= false
# Large activations come and go all the time; without this glibc maps and unmaps them, which costs a fifth of the speed.
ALLOCATOR := MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=100000000000 MALLOC_TOP_PAD_=268435456

.DEFAULT_GOAL := help
.PHONY: help demo test test-slow sglang-env test-servers lint typecheck default-model evaluate evaluator speed wheel-check clean

help:  ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/.installed  ## describe rendered example scenes, or your own picture: make demo IMAGE=photo.tif
	$(BIN)/python scripts/demo.py $(if $(IMAGE),"$(IMAGE)")

test: $(VENV)/.installed-dev  ## the quick tests; MARKERS="not gpu" runs the slow ones too
	$(BIN)/python -m pytest -q -m "$(MARKERS)"

test-slow: $(VENV)/.installed-dev  ## only the slow tests
	$(BIN)/python -m pytest -q -m "slow and not gpu"

sglang-env: $(SGLANG)/.installed  ## a CPU-only SGLang for the tests, in an environment of its own (2.8 GB)

# Several servers run beside each other, so each keeps to one thread.
test-servers: $(VENV)/.installed-dev $(SGLANG)/.installed  ## the tests that start a real SGLang server, on the CPU
	OMP_NUM_THREADS=1 RSAGENT_TEST_SERVERS="$(abspath $(SGLANG_BIN)/python)" $(BIN)/python -m pytest -q tests/servers

lint: $(VENV)/.installed-dev  ## ruff: style, imports, docstrings
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

typecheck: $(VENV)/.installed-dev  ## pyright, strict, on rsagent/
	$(BIN)/pyright

default-model: $(VENV)/.installed-dev  ## train the default checkpoint from the data in RSAGENT_DATA; resumes after a kill
	@test -n "$(RSAGENT_DATA)" || { echo "set RSAGENT_DATA to the folder that holds the data sets" >&2; exit 2; }
	$(ALLOCATOR) $(BIN)/python -m rsagent train all --recipe training/recipes/tiny.yaml --data "$(RSAGENT_DATA)" --out runs/tiny --resume
	$(ALLOCATOR) $(BIN)/python -m rsagent train all --recipe training/recipes/tiny-4.yaml --data "$(RSAGENT_DATA)" --out runs/tiny-4 --resume
	$(BIN)/python scripts/evaluate_default.py --checkpoint runs/tiny-4/checkpoint --runs runs/tiny-4/evaluation

evaluate: $(VENV)/.installed-dev  ## the quality table of the default checkpoint (needs RSAGENT_DATA)
	$(BIN)/python scripts/evaluate_default.py --only encoder --only captions --only questions --only scenes --page docs/results/default.md

evaluator: $(VENV)/.installed-dev  ## what the evaluator itself is worth
	$(BIN)/python scripts/measure_evaluation.py

speed: $(VENV)/.installed-dev  ## the latency table of the default checkpoint
	$(BIN)/python scripts/evaluate_default.py --only speed --page docs/results/speed.md

wheel-check: $(VENV)/.installed-dev  ## build the wheel, install it elsewhere, caption a picture with it
	$(BIN)/python scripts/wheel_check.py

clean:  ## remove what was built; keeps .venv and runs/
	rm -rf build dist demo *.egg-info .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +

# Torch comes first and by itself, so that TORCH_ARGS concern nothing else.
$(VENV)/.installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -c "import torch" 2>/dev/null || $(BIN)/python -m pip install -q $(TORCH_ARGS) "$(TORCH)"
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[geo]'
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[dev,eval,geo,mcp,openai,preview,serve,sglang,small,structured,studio,train]'
	touch $@

# The server's own environment. Stand-ins take the place of what only a GPU or an AMX machine can load; they lie in tests/.
$(SGLANG)/.installed: tests/servers/requirements.txt tests/servers/standins/install.py
	$(SGLANG_BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(SGLANG)
	$(SGLANG_BIN)/python -c "import torch" 2>/dev/null || $(SGLANG_BIN)/python -m pip install -q $(TORCH_ARGS) "$(TORCH)"
	$(SGLANG_BIN)/python -m pip install -q "$(TORCH)" -r tests/servers/requirements.txt
	$(SGLANG_BIN)/python -m pip install -q --no-deps sglang==0.5.23
	$(SGLANG_BIN)/python tests/servers/standins/install.py
	touch $@
