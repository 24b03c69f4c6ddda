# Every target sets up what it needs: a virtual environment with the locked versions.
SHELL := /bin/sh
VENV  := .venv
BIN   := $(VENV)/bin
PY    ?= python3

.PHONY: help setup up down test check fix bench chaos mutate docs publish-contracts lock

setup: $(VENV)/.installed ## build .venv with tradewind and the test tools

$(VENV)/.installed: requirements.lock requirements-dev.lock pyproject.toml
	@PYTHON="$(PY)" sh scripts/setup.sh $(VENV)
	@touch $@

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1|/p' $(MAKEFILE_LIST) | awk -F'|' '{ printf "  make %-20s%s\n", $$1, $$2 }'

up: setup ## start everything on this machine
	@$(BIN)/tradewind up

down: setup ## stop it; the data stays
	@$(BIN)/tradewind down

check: setup ## lint, types, walls, unit tests: under two minutes
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest -q tests/unit

test: setup ## everything, on the real engines
	$(BIN)/pytest -q -n 2 --dist loadfile tests/unit tests/integration
	$(BIN)/pytest -q tests/e2e

fix: setup ## format, and mend what lint can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: setup ## the figures, printed: about half an hour
	$(BIN)/tradewind bench

chaos: setup ## ten seeds of faults under traffic, each proved clean
	$(BIN)/tradewind chaos --seed 1 --runs 10 --write docs/reference/chaos.md

mutate: setup ## take each safeguard out of a copy of the source, and see a test turn red
	$(BIN)/python -m tests.mutation --report docs/reference/mutation.md

docs: setup ## write docs/reference from the code
	$(BIN)/python -m tradewind.reference

publish-contracts: setup ## publish what is new in the events; refuses what would break a reader
	$(BIN)/python -m tradewind.published

lock: setup ## lock the versions and hashes of all dependencies anew
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-annotate pyproject.toml -o requirements.lock
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-annotate pyproject.toml --group dev -c requirements.lock -o requirements-dev.lock
