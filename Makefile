# Every command of the project. Each sets up what it needs: a `.venv` from `requirements.lock`, again when the lock changes.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: help run up test check lint types bench lock clean

help:  ## what there is
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 10

run: $(INSTALLED)  ## dataset to answering endpoint on the embedded AWS; DATA=file.csv trains on your own
	@$(BIN)/trainmaster run $(if $(DATA),--data "$(DATA)")

up: $(INSTALLED)  ## Prefect server and UI, embedded AWS, all deployments served, until Ctrl-C
	@$(BIN)/trainmaster up

test: $(INSTALLED)  ## the tests
	@$(BIN)/pytest

check: lint types test  ## what CI runs

lint: $(INSTALLED)
	@$(BIN)/ruff check --quiet
	@$(BIN)/ruff format --quiet --check

types: $(INSTALLED)
	@$(BIN)/mypy --no-error-summary

bench: $(INSTALLED)  ## how long the main job takes, and where the time goes
	@$(BIN)/python -m benchmarks.main_job

lock: $(INSTALLED)  ## requirements.lock anew from pyproject.toml
	@$(BIN)/uv pip compile pyproject.toml --upgrade --all-extras --universal --python-version 3.11 \
	  --generate-hashes --no-emit-index-url --no-annotate --no-header --quiet --output-file requirements.lock

clean:  ## remove the environment, the state and the caches
	@rm -rf $(VENV) .trainmaster .pytest_cache .mypy_cache .ruff_cache .hypothesis

# uv installs the lock in seconds; where it cannot reach the index pip is set up for, pip does the same in a minute or two.
$(INSTALLED): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; (3, 11) <= v <= (3, 13) or sys.exit("Trainmaster needs Python 3.11, 3.12 or 3.13; $(PYTHON) is %d.%d. Choose one: make PYTHON=python3.12 …" % v)'
	@echo "Setting up $(VENV) …"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@sed -n '/^uv==/,/[^\\]$$/p' requirements.lock > $(VENV)/uv.lock
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --require-hashes -r $(VENV)/uv.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements.lock 2>$(VENV)/uv.log \
	  || { echo "uv could not install ($$(tail -n 1 $(VENV)/uv.log)); pip will, in a minute or two …"; \
	       $(BIN)/python -m pip install -qq --disable-pip-version-check --require-hashes -r requirements.lock; }
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@
