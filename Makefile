# The targets people type. Everything real happens in the `cloudmart` command and in pytest.
SHELL := /bin/bash
PYTHON ?= python3
STACK ?= dev
CONTEXT ?=
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help setup up down preview test e2e check bench lock

help: ## list the targets
	@grep -E '^[a-z0-9]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

# Stale when a lock or the project file is newer than the stamp.
.venv/.stamp: requirements.txt requirements-dev.txt pyproject.toml
	@echo "making .venv from the locked requirements (about a minute the first time) ..." >&2
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "error: Python 3.11 or newer is needed, found $$($(PYTHON) --version). Set PYTHON=/path/to/python3" >&2; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

setup: .venv/.stamp ## make .venv/ with the cloudmart command in it
