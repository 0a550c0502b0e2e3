# The one front door.  make demo · make test · make coverage · make lint · make bench · make docs · make sizes
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
WORKERS ?= 2

.PHONY: help demo test coverage lint bench docs sizes tools clean
.DELETE_ON_ERROR:

help:
	@sed -n '1s/^# //p' Makefile

$(VENV)/.base: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "gpuforge needs Python 3.11 or newer: make PYTHON=python3.12 …")'
	@echo "installing gpuforge into $(VENV)"
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) --upgrade pip
	@$(PIP) --editable .
	@touch $@

# PyTorch for the examples: a CPU build where pip offers one, several GB where it brings CUDA
$(VENV)/.torch: $(VENV)/.base examples/train-resnet/requirements.txt
	@echo "installing PyTorch for the examples (200 MB to several GB, once)"
	@$(PIP) --requirement examples/train-resnet/requirements.txt
	@touch $@

$(VENV)/.test: $(VENV)/.base
	$(PIP) --group test
	@touch $@

$(VENV)/.lint: $(VENV)/.base
	$(PIP) --group lint
	@touch $@

$(VENV)/.docs: $(VENV)/.base
	$(PIP) --group docs
	@touch $@

demo: $(VENV)/.torch            ## train a real network on a simulated machine and bring the checkpoint back
	@PATH="$(abspath $(BIN)):$$PATH" sh examples/train-resnet/demo.sh

tools:
	@sh .ci/tools

# make test COVERAGE=1 measures the same run and applies the gate
COVERAGE ?=
RUN := $(if $(COVERAGE),$(BIN)/coverage run,$(BIN)/python) -m pytest -n $(WORKERS) --dist worksteal

test: tools $(VENV)/.torch $(VENV)/.test   ## every test: units, contracts, real SSH, kills, examples
	@rm -f .coverage .coverage.*
	$(RUN) $(PYTEST)
ifneq ($(COVERAGE),)
	$(BIN)/coverage combine --quiet
	@rm -f .coverage.*   # of processes that tests killed while they wrote
	$(BIN)/coverage report --skip-empty --skip-covered | tail -n 60
	$(BIN)/python .ci/coverage.py
endif

coverage:
	$(MAKE) test COVERAGE=1

lint: $(VENV)/.lint $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/.torch $(VENV)/.test tools
	$(BIN)/python benchmarks/startup.py
	$(BIN)/python benchmarks/run_latency.py
	$(BIN)/python benchmarks/up.py
	$(BIN)/python benchmarks/sync_first.py

docs: $(VENV)/.docs
	$(BIN)/python docs/generate.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "site/index.html"

sizes: $(VENV)/.base
	@$(BIN)/python .ci/sizes.py

clean:
	rm -rf $(VENV) build dist site .coverage .coverage.* .mypy_cache .ruff_cache .pytest_cache .hypothesis
