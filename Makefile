# What there is to do here. `make` alone prints it; each line after `##` is the help of its target.

VENV := .venv
PYTHON ?= $(firstword $(foreach name,python3 python3.13 python3.12 python3.11,\
	$(shell $(name) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null && echo $(name))))
BIN := $(VENV)/bin
# One worker a core. On one core, or to see output as it comes: make test WORKERS=0
WORKERS ?= auto
# What `make bench` measures: what needs no data, and fits into half an hour on two cores.
BENCHES := speed growth counts compile_time
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help install demo test lint types tests format bench wheel clean
.SHELLFLAGS := -euo pipefail -c
SHELL := bash

help:  ## print this list
	@echo "nasdsl: a search space as text, proved, searched and exported."
	@echo
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo
	@echo "Python 3.11, 3.12 or 3.13 is all that must be there ($(or $(PYTHON),none found))."

install: $(VENV)/installed  ## create .venv with nasdsl in it

demo: $(VENV)/installed  ## search a space on real digit images, train the winner, export and check it
	@$(BIN)/nasdsl demo

test: lint types tests  ## run lint, types and every test

lint: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache

types: $(VENV)/installed-dev
	$(BIN)/mypy

tests: $(VENV)/installed-dev
	$(BIN)/pytest -n $(WORKERS)

format: $(VENV)/installed-dev  ## put Python and .nas files into their one layout
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .
	$(BIN)/nasdsl fmt $$(find spaces examples -name '*.nas')

bench: $(addprefix bench-,$(BENCHES))  ## speed, growth, counts, compile_time: under 30 minutes (others: make bench-NAME)

# Any file of benchmarks/ by name; CONTRIBUTING.md says what some need. ARGS goes to it.
bench-%: $(VENV)/installed-dev
	@echo "== benchmarks/$*"
	@$(BIN)/python -m benchmarks.$* $(ARGS)

wheel: $(VENV)/installed-dev  ## build the wheel and the sdist into dist/
	$(BIN)/hatchling build

clean:  ## remove .venv, caches and what was built (runs/ stays)
	rm -rf $(VENV) dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# --- the environment, made once ---------------------------------------------------------------------

$(VENV)/bin/python:
	@if [ -z "$(PYTHON)" ]; then \
		echo "nasdsl needs Python 3.11, 3.12 or 3.13, and found none; name one with: make PYTHON=/path/to/python3" >&2; \
		exit 1; \
	fi
	@echo "creating $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
		echo "$(PYTHON) can't make a virtual environment; on Debian: apt install python3-venv" >&2; exit 1; }

$(VENV)/installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "installing nasdsl into $(VENV): a few minutes the first time, most of it PyTorch"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	@touch $@

$(VENV)/installed-dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "installing nasdsl and its development tools into $(VENV): a few minutes the first time"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $(VENV)/installed $@
