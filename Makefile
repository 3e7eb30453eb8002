# `make demo` and `make test` are all that most people need. Both require Python 3.11 or newer and nothing else.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
# The environment has two levels: the packages of the demo, then the development tools on top of them.
LOCAL := $(VENV)/.ready-local
READY := $(VENV)/.ready

$(LOCAL): requirements-local.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is required; choose one with: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -m venv --clear $(VENV)
	@bash deploy/install.sh $(RUN) $<
	@touch $@

$(READY): requirements-dev.lock $(LOCAL)
	@bash deploy/install.sh $(RUN) $<
	@touch $@

.PHONY: help setup demo smoke test containers kubernetes faults mutants bench simulate fuzz lint structure audit sbom format configuration lock schema contracts clean
help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY) ## install the packages, development tools included, and run nothing

demo: $(LOCAL) ## the whole system on this machine: Kafka, PostgreSQL, a simulated fleet, consumers, the API on port 3000; Ctrl-C stops it
	@exec $(RUN) -m deploy.demo

smoke: $(LOCAL) ## the demo without a person: starts it, checks its numbers and its ledger, prints them, stops it
	@exec $(RUN) -m deploy.demo --smoke

test: $(READY) ## all tests, against a real Kafka and a real PostgreSQL (ARGS="-k name" selects some, POSTGRES=15 takes Debian's 15)
	@$(if $(POSTGRES),POSTGRES_BINARIES=/usr/lib/postgresql/$(POSTGRES)/bin )exec $(RUN) -m pytest $(or $(ARGS),-n 4 --dist worksteal)

containers: $(READY) ## the image and docker-compose.yml, run and checked in a container engine that is found or started; exit 1 with the reason
	@exec $(RUN) -m deploy.containers

faults: $(READY) ## the fault matrix (ONLY=scenario, ROUNDS=n): kills, freezes, disconnects; exit 1 when a guarantee is broken
	@exec $(RUN) -m tests.faults

mutants: $(READY) ## mistakes made in a copy of the engine (ONLY=mutant, JOBS=n), each of which the fault matrix must find; exit 1 when one survives
	@exec $(RUN) -m tests.faults.mutants

bench: $(READY) ## the benchmarks (ONLY=measure, RUNS=n, SCALE=share): progress on stderr, one JSON object per result on stdout
	@exec $(RUN) -m tests.bench

simulate: $(READY) ## the consumer under virtual time with random faults (SEEDS=n, FROM=seed, JOBS=processors, TRACE=1, DEFECTS=1); exit 1 when a seed fails
	@exec $(RUN) -m tests.simulation

fuzz: $(READY) ## fuzzing: MINUTES=10 for the decoders with a coverage-guided fuzzer, then as long for the HTTP service
	@exec $(RUN) -m tests.fuzz $(or $(MINUTES),10)

audit: $(READY) ## known vulnerabilities of the locked packages; exit 1 when there is one
	@$(RUN) -m deploy.audit

sbom: $(READY) ## the packages of the image as a CycloneDX document on stdout, from requirements-api.lock (LOCK=file)
	@$(RUN) -m deploy.sbom $(LOCK)

kubernetes: $(READY) ## the Helm chart on the real control plane of Kubernetes, which Go builds once (ten minutes), with simulated nodes
	@exec $(RUN) -m tests.kubernetes

contracts: $(READY) ## write docs/openapi.json, docs/asyncapi.json and docs/schemas from the code
	@$(RUN) -m tests.contracts

lint: $(READY) ## ruff, mypy --strict, and known vulnerabilities of the locked packages
	@$(RUN) -m ruff check .
	@$(RUN) -m ruff format --check .
	@$(RUN) -m mypy
	@$(RUN) -m deploy.audit

structure: $(READY) ## modules per folder, import chains and cycles, long functions, imports against the rules; exit 1 when a rule is broken
	@$(RUN) -m tests.structure

format: $(READY) ## apply ruff's fixes and its formatting
	@$(RUN) -m ruff check --fix-only .
	@$(RUN) -m ruff format .

schema: $(LOCAL) ## write sql/schema.sql from the migrations
	@$(RUN) -m deploy.schema

configuration: $(READY) ## write docs/configuration.md, .env.example and the settings in the chart's schema from the settings classes
	@$(RUN) -m tests.support.repository.configuration

COMPILE := uv pip compile -q --universal --generate-hashes --no-emit-index-url --no-header --python-version 3.11
lock: $(LOCAL) ## resolve all dependencies again and write the lock files
	@$(RUN) -W ignore -m deploy.stack.lock deploy/stack tests/bench tests/tls tests/faults/regions tests/support/clients
	@command -v uv >/dev/null || { echo 'make lock requires uv to resolve the Python packages: pip install uv' >&2; exit 1; }
	$(COMPILE) pyproject.toml --extra api --extra archive --extra formats --extra migrate --extra oauth --extra otel -o requirements.lock
	$(COMPILE) pyproject.toml --extra api --extra formats --extra oauth --extra otel -c requirements.lock -o requirements-api.lock
	$(COMPILE) pyproject.toml --extra local -c requirements.lock -o requirements-local.lock
	$(COMPILE) pyproject.toml --extra local --extra dev -c requirements-local.lock -o requirements-dev.lock
	echo 'quixstreams[postgresql]>=3.28,<4' | $(COMPILE) - -o tests/bench/requirements.lock

clean: ## remove the data of the local servers, the environment and the caches; stops no process
	for link in .stack/*/*-outside; do [ ! -L "$$link" ] || rm -rf "$$(readlink "$$link")"; done
	rm -rf .stack $(VENV) .venv-bench .mypy_cache .ruff_cache .pytest_cache .hypothesis .schemathesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
