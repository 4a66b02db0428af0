# The targets people type. Everything real happens in the `cloudmart` command and in pytest.
SHELL := /bin/bash
PYTHON ?= python3
STACK ?= dev
CONTEXT ?=
RUNS ?= 200
SEED ?= 1
ONLY ?=
OUT ?= .local/sbom.json
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help setup up down preview test e2e nightly reliability check bench docs pictures reference lock sbom audit

help: ## list the targets
	@grep -E '^[a-z0-9]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

# Stale when a lock or the project file is newer than the stamp.
.venv/.stamp: requirements.txt requirements-dev.txt pyproject.toml
	@echo "making .venv from the locked requirements (about a minute the first time) ..." >&2
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "error: Python 3.11 or newer is needed, found $$($(PYTHON) --version). Set PYTHON=/path/to/python3" >&2; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --disable-pip-version-check --require-hashes -r requirements-dev.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

setup: .venv/.stamp ## make .venv/ with the cloudmart command in it

up: setup ## deploy STACK (dev) to the local cluster, or to CONTEXT=...
	@$(BIN)/cloudmart up --stack $(STACK) $(if $(CONTEXT),--context $(CONTEXT))

down: setup ## take STACK away again; data is kept
	@$(BIN)/cloudmart down --stack $(STACK) $(if $(CONTEXT),--context $(CONTEXT)) $(if $(YES),--yes)

preview: setup ## check and price STACK: no cluster, no CLI, no network
	@$(BIN)/cloudmart preview --stack $(STACK)

# The fast tests need no cluster and no Pulumi CLI. A file stays with one process: its tests share what they record.
test: setup ## the fast tests
	@$(BIN)/pytest -q -n auto --dist loadfile -m "not cluster and not pulumi and not slow and not nightly and not reliability"

# Two processes on a cluster each, which takes 1.5 GiB: more of them wait for the processor, not for the cluster.
e2e: setup ## the slow tests, those on the local cluster, and on the real engine where there is one
	@$(BIN)/pytest -q -n auto --dist loadfile -m "slow and not cluster and not pulumi and not nightly"
	@$(BIN)/pytest -q -n 2 --dist loadfile -m "(cluster or pulumi) and not nightly and not reliability"

# What keeps a pull request waiting for longer than it is worth: time that passes in the cluster, and many seeds.
nightly: setup ## the tests that take long, on the local cluster and beside it
	@$(BIN)/pytest -q -n auto --dist loadfile -m "nightly and not cluster"
	@$(BIN)/pytest -q -n 2 --dist loadfile -m "nightly and cluster"

# Hours in all: ONLY=word takes the tests with that word in their names, MINUTES=5 bounds each kind.
reliability: setup ## faults, endurance and other things RUNS (200) times each; writes docs/reliability.md
	@$(BIN)/pytest -q tests/reliability --runs $(RUNS) --seed $(SEED) --figures docs/reliability.md \
		$(if $(MINUTES),--minutes $(MINUTES)) $(if $(ONLY),-k $(ONLY))

check: setup ## format, lint, strict types, fast tests
	@$(BIN)/ruff format --check --quiet . || { echo "error: not formatted; run: $(BIN)/ruff format ." >&2; exit 1; }
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy .
	@$(MAKE) --no-print-directory test

bench: setup ## measure all of it, or ONLY=part; writes docs/performance.md and docs/rightsizing-measured.md
	@$(BIN)/python -m benchmarks $(ONLY)

reference: setup ## write docs/reference/ anew: settings, rules, commands
	@$(BIN)/python -m docs.reference.generate

pictures: setup ## take docs/pictures/ anew, with a Chromium on PATH
	@$(BIN)/python -m docs.pictures.make

# A link that leads nowhere, a page that is not in the contents and a diagram that Mermaid refuses are errors.
docs: setup ## build the documentation as a site, in .local/site
	@$(BIN)/sphinx-build -q -E -a -W --keep-going -b html -d .local/site-cache docs .local/site
	@echo ".local/site/index.html" >&2

# No address of an index gets into a lock, so that it installs from every mirror. Renovate runs the command at its top.
COMPILE := $(BIN)/uv pip compile -q --upgrade --universal --python-version=3.11 --generate-hashes
lock: setup ## pin the dependencies anew, from pyproject.toml
	@$(COMPILE) --output-file=requirements.txt pyproject.toml
	@$(COMPILE) --extra=dev --output-file=requirements-dev.txt pyproject.toml
	@$(COMPILE) --output-file=benchmarks/checkov.txt benchmarks/checkov.in

# Without serial number and time stamp: the same lock makes the same file.
sbom: setup ## the bill of materials of what CloudMart runs with, as CycloneDX, in OUT (.local/sbom.json)
	@mkdir -p $(dir $(OUT))
	@PYTHONWARNINGS=ignore $(BIN)/cyclonedx-py requirements requirements.txt --pyproject pyproject.toml --output-reproducible \
		--of JSON --output-file $(OUT)
	@echo "$(OUT): $$($(BIN)/python -c 'import json, sys; print(len(json.load(open(sys.argv[1]))["components"]))' $(OUT)) components" >&2

audit: setup ## ask which locked dependencies have known vulnerabilities; needs the internet
	@.ci/audit
