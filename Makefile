# Two commands are enough: `make demo` and `make test`. Both need Python 3.11 or newer and nothing else.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
READY := $(VENV)/.ready

$(READY): requirements-dev.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; say which with: make PYTHON=python3.12 ..." >&2; exit 1; }
	@echo "Setting up $(VENV) (once; about a minute) ..." >&2
	@$(PYTHON) -m venv --clear $(VENV)
	@$(VENV)/bin/pip install --disable-pip-version-check --no-deps --require-hashes -r requirements-dev.lock
	@touch $@

.PHONY: help setup demo smoke test faults bench fuzz lint structure audit format configuration lock schema contracts clean
help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY) ## only the packages, without running anything

demo: $(READY) ## everything on this machine: Kafka, PostgreSQL, fleet, consumers, API on port 3000; Ctrl-C stops it
	@exec $(RUN) -m deploy.demo

smoke: $(READY) ## the demo without a person: starts, checks the numbers and the ledger, prints them, stops
	@exec $(RUN) -m deploy.demo --smoke

test: $(READY) ## all tests, against a real Kafka and a real PostgreSQL (ARGS="-k name" for some of them)
	@exec $(RUN) -m pytest $(or $(ARGS),-n 2 --dist worksteal)

faults: $(READY) ## the fault matrix (ONLY=scenario, ROUNDS=n): kills, freezes, cuts; exit 1 when a promise was broken
	@exec $(RUN) -m tests.faults

bench: $(READY) ## the benchmarks (ONLY=measure, RUNS=n, SCALE=share): progress on stderr, a JSON object a result on stdout
	@exec $(RUN) -m tests.bench

fuzz: $(READY) ## nonsense at length (MINUTES=10): so long the decoders under a coverage-guided fuzzer, then as long the HTTP service
	@exec $(RUN) -m tests.fuzz $(or $(MINUTES),10)

audit: $(READY) ## known weaknesses of the packages in the lock files; exit 1 when there is one
	@$(RUN) -m deploy.audit

contracts: $(READY) ## write docs/openapi.json and docs/asyncapi.json from the code
	@$(RUN) -m tests.contracts

lint: $(READY) ## ruff, mypy --strict, known weaknesses of the packages
	@$(RUN) -m ruff check .
	@$(RUN) -m ruff format --check .
	@$(RUN) -m mypy
	@$(RUN) -m deploy.audit

structure: $(READY) ## modules per folder, import chains and cycles, long functions, imports against the rules; exit 1 when a rule is broken
	@$(RUN) -m tests.structure

format: $(READY) ## put the code into the house's form
	@$(RUN) -m ruff check --fix-only .
	@$(RUN) -m ruff format .

schema: $(READY) ## write sql/schema.sql from the migrations
	@$(RUN) -m deploy.schema

configuration: $(READY) ## write docs/configuration.md and .env.example from the settings classes
	@$(RUN) -m tests.support.repository.configuration

lock: $(READY) ## resolve all dependencies anew and write the lock files
	@$(RUN) -W ignore -m deploy.stack.lock deploy/stack tests/bench tests/tls
	@command -v uv >/dev/null || { echo 'uv is needed to resolve the Python packages: pip install uv' >&2; exit 1; }
	uv pip compile -q --universal --generate-hashes --no-emit-index-url --no-header --python-version 3.11 pyproject.toml -o requirements.lock
	uv pip compile -q --universal --generate-hashes --no-emit-index-url --no-header --python-version 3.11 pyproject.toml --extra dev -c requirements.lock -o requirements-dev.lock
	echo 'quixstreams[postgresql]>=3.28,<4' | uv pip compile -q --universal --generate-hashes --no-emit-index-url --no-header --python-version 3.11 - -o tests/bench/requirements.lock

clean: ## stop nothing, remove the local servers' data, the environment and the caches
	for link in .stack/*/*-outside; do [ ! -L "$$link" ] || rm -rf "$$(readlink "$$link")"; done
	rm -rf .stack $(VENV) .venv-bench .mypy_cache .ruff_cache .pytest_cache .hypothesis .schemathesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
