# make demo   the whole way once on the built-in cohort: 5 to 10 minutes on 2 cores
# make test   what CI runs: lint, types, import contracts, all tests but the slow ones: at most 12 minutes on 2 cores
# make test-all   the slow tests too; without nnU-Net, all tests that run it are skipped: see test-extras
# make test-extras   each optional extra in an environment of its own (.venv-NAME), with the tests that need it
# make benchmarks   speed and memory, as ratios
# Needs Python 3.11 to 3.13 and nothing else; everything goes into .venv. Another Python: make PYTHON=/path/to/python test

.DEFAULT_GOAL := help

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
WORKERS ?= 2
CHECK_PYTHON := import ensurepip, sys, venv; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python; do \
	"$$p" -c '$(CHECK_PYTHON)' >/dev/null 2>&1 && { command -v "$$p"; break; }; done)

export OMP_NUM_THREADS ?= 1

PYTEST := $(BIN)/pytest -n $(WORKERS) --dist loadfile

.PHONY: help install demo test test-all test-extras lint benchmarks format clean

help:
	@sed -n 's/^# //p' $(firstword $(MAKEFILE_LIST))

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "no Python 3.11 to 3.13 with venv found;" \
		"install one (Debian: python3-venv), or name it: make PYTHON=/path/to/python test" >&2; exit 2; }
	"$(PYTHON)" -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	@touch $@

demo: $(STAMP)
	$(BIN)/lesionforge demo --out demo

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: lint
	$(PYTEST) -m "not slow"

test-all: lint
	$(PYTEST)

EXTRAS := registration tensorboard nnunet
pins = $(firstword $(wildcard constraints-$(1).txt) constraints.txt)

test-extras: $(EXTRAS:%=test-extra-%)

test-extra-%:
	"$(PYTHON)" -m venv .venv-$*
	.venv-$*/bin/python -m pip install --quiet --disable-pip-version-check -c $(call pins,$*) -e ".[dev,$*]"
	.venv-$*/bin/pytest -m "not slow" tests/test_extras.py tests/preprocessing/alignment/test_with_ants.py tests/training/test_loop.py
	.venv-$*/bin/pytest tests/production/test_nnunet.py tests/tasks/test_nnunet.py

benchmarks: $(STAMP)
	$(BIN)/python benchmarks/run_all.py

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) .venv-* dist demo .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
