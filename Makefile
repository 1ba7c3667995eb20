# What people, CI and the README call. Each target sets up what it needs.
PYTHON ?= python3
ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PIP := $(BIN)/python -m pip --disable-pip-version-check
# As many processes as cores, up to 8; the tests that share one Ray run in one of them, and first (tests/conftest.py).
PYTEST := $(BIN)/python -m pytest -n logical --maxprocesses 8 --dist loadgroup --no-loadscope-reorder

.DEFAULT_GOAL := help
.PHONY: help setup demo quickstart doctor test test-all test-slow check format bench lock clean

help:  ## Show this list.
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1|\2/' | awk -F'|' '{printf "%-20s%s\n", $$1, $$2}'

setup: $(STAMP)  ## Make .venv and install mrigen into it, at the versions in constraints.txt.

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "mrigen needs Python 3.11 or newer, and $(PYTHON) is %d.%d: run make PYTHON=python3.11" % sys.version_info[:2])'
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	@echo "Installing into $(VENV): a minute or two ..."
	@$(PIP) install --quiet -c constraints.txt -e '.[dev]'
	@touch $@

demo: $(STAMP)  ## Generate a small data set of all 20 cells, and a page to look at it.
	@$(BIN)/mrigen demo $(ARGS)

quickstart: $(STAMP)  ## Run the whole chain here, from a phantom cohort to an evaluated model (25 minutes).
	@$(BIN)/mrigen quickstart $(ARGS)

doctor: $(STAMP)  ## Check this machine, and say what to mend.
	@$(BIN)/mrigen doctor $(ARGS)

test: $(STAMP)  ## Run the tests (3 to 4 minutes on two cores). ARGS="tests/unit -x" chooses some.
	$(PYTEST) $(ARGS)

test-slow: $(STAMP)  ## Run the tests that take minutes.
	$(PYTEST) -m "slow and not gpu and not browser" $(ARGS)

test-all: $(STAMP)  ## Run all tests but those that need a GPU or a browser.
	$(PYTEST) -m "not gpu and not browser" $(ARGS)

check: $(STAMP)  ## Lint, formatting, types and import rules: what CI checks.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMP)  ## Mend what ruff can mend.
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(STAMP)  ## Run the scripts in docs/benchmarks that give the published figures.
	@set -e; for script in docs/benchmarks/*.py; do \
		test -e "$$script" || { echo "docs/benchmarks holds no script"; exit 1; }; \
		echo "== $$script"; $(BIN)/python "$$script" $(ARGS); done

lock:  ## Write constraints.txt and requirements.txt anew from pyproject.toml, in a fresh environment.
	@folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT && $(PYTHON) -m venv "$$folder" && \
		"$$folder/bin/pip" install --quiet '.[dev]' && \
		{ sed -n '/^#/p' constraints.txt; "$$folder/bin/pip" freeze --exclude mrigen | sed -E 's/\+(cpu|cu[0-9]+)$$//; / @ /d; /^nvidia-/d; /^cuda-/d; /^triton==/d'; } > "$$folder/new" && \
		cp "$$folder/new" constraints.txt && "$$folder/bin/pip" install --quiet uv && \
		echo boto3 | "$$folder/bin/uv" pip compile --no-config --quiet --generate-hashes --no-header --no-annotate \
			--default-index https://pypi.org/simple --python-version 3.11 --python-platform x86_64-manylinux_2_28 \
			-c constraints.txt pyproject.toml - > "$$folder/all" && \
		{ sed -n '/^#/p' requirements.txt; awk '/^[^ ]/ {kept = !/^(torch==|nvidia-|cuda-|triton==)/} kept' "$$folder/all"; } > "$$folder/new" && \
		cp "$$folder/new" requirements.txt

clean:  ## Remove .venv, caches and build output; results in out/ and runs/ stay.
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +
