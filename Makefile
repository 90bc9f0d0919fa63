# Everything starts from a bare Python 3.11 or newer; uv is used where it is installed.
.DEFAULT_GOAL := help
.PHONY: help setup demo test lint golden live fuzz bench protos wasm lock clean

PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
UV := $(shell command -v uv)
BIN := .venv/bin
JOBS ?= 2

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: .venv/.ready ## Create .venv with the pinned dependencies

.venv/.ready: requirements-dev.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "Headgate needs Python 3.11 or newer; install one, or name it: make PYTHON=/path/to/python3" >&2; exit 1; }
ifdef UV
	uv venv --quiet --allow-existing --python $(PYTHON) .venv
	uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements-dev.lock
	uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
else
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
endif
	@touch $@

demo: setup ## Run the gateway on simulated vendors: no key, no Docker, no network
	$(BIN)/headgate demo

test: setup lint ## Lint, then every test (unit, contract, conformance, live on the real Envoy)
	$(BIN)/pytest -n $(JOBS) --dist loadfile

lint: setup ## ruff, mypy --strict, import contract
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

golden: setup ## Rewrite the expected outputs under tests/golden from what the code does now
	HEADGATE_GOLDEN=write $(BIN)/pytest tests/golden

live: setup ## Only the tests that run the real Envoy
	$(BIN)/pytest -n $(JOBS) --dist loadfile tests/live

fuzz: setup ## Fuzz every dialect, SECONDS for each target (default 60)
	@for dialect in $$($(BIN)/python -c 'from control_plane.dialects.registry import PROVIDERS; print(*PROVIDERS)'); do \
	  for target in request answer error; do \
	    echo "$$dialect $$target"; $(BIN)/python tests/fuzz/run.py $$dialect $$target --seconds $(or $(SECONDS),60) 2>&1 | tail -n 6 || exit 1; \
	  done; \
	done

bench: setup ## Measure CPU per request and per chunk side by side with plain Envoy (needs gcc)
	$(BIN)/python tests/bench/run.py

protos: setup ## Compile protos/ into control_plane/pb
	$(BIN)/python -m grpc_tools.protoc -I protos --python_out=. --pyi_out=. $$(find protos -name '*.proto')

wasm: ## Compile envoy/wasm (needs clang and lld)
	$(MAKE) -C envoy/wasm

lock: ## Resolve the dependencies anew (needs uv)
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --group dev --extra aws --extra azure --extra google --extra k8s pyproject.toml -o requirements-dev.lock
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --constraint requirements-dev.lock pyproject.toml -o requirements.lock

clean: ## Remove the virtual environment and caches
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis
