# hashhub. `make` explains the targets.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PYTEST_ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help venv demo serve test test-all static check format interop bench protos reference release record lock clean

help: ## Explain the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# One environment in two layers, each with a stamp that is newer than its lock when it is up to date: what runs, and on
# top of it what tests. Hashes are checked, and nothing is resolved anew.
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

$(VENV)/runs: docker/requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) \
		and "hashhub needs Python 3.11 or newer; set PYTHON=/path/to/python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(PIP) --require-hashes -r docker/requirements.lock
	$(PIP) --no-deps --no-build-isolation --editable .
	@# Where PYTHONDONTWRITEBYTECODE is set, every start would compile ours anew, for half a second.
	$(BIN)/python -m compileall -q hashhub connectors
	@touch $@

$(VENV)/tests: requirements.lock $(VENV)/runs
	$(PIP) --require-hashes -r requirements.lock
	@touch $@

venv: $(VENV)/tests ## Build the virtual environment: what runs, and what tests

demo: $(VENV)/runs ## Show the main job: lists in, uploads matched, a conflict, a withdrawal
	$(BIN)/python -m hashhub.testing.demo

serve: $(VENV)/runs ## Run a hub on embedded SQLite in ./hashhub-data (Ctrl-C stops it)
	$(BIN)/hashhub serve --data hashhub-data

# What pytest makes of the tests' source is kept, or each worker would make it anew, for four seconds. And all cores are
# busy: second threads of small matrix products would only wait for one, and take a third of such a test's time.
PYTEST := PYTHONDONTWRITEBYTECODE= OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest

test: venv ## Prove the promises in four minutes: what needs no programs beside it, and each real part once
	HYPOTHESIS_PROFILE=quick $(PYTEST) -n 2 -m "not (process or postgresql or docs or deep)" $(PYTEST_ARGS)

# Three at a time: much of the rest waits, for processes to start and for times to pass.
test-all: venv ## Run the whole suite, PostgreSQL included, in fifteen minutes
	$(PYTEST) -n 3 $(PYTEST_ARGS)

check: static test-all ## All that must pass before a merge: static, then the suite

static: venv ## Format, lint, types, import layers, contract, generated code
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/buf lint
	$(BIN)/buf format --diff --exit-code
	$(BIN)/buf breaking --against $(lastword $(sort $(wildcard proto/released/*.binpb)))
	@tmp=$$(mktemp -d) && trap 'rm -rf "$$tmp"' EXIT && $(BIN)/python proto/generate.py "$$tmp" && \
	  diff -r -x __pycache__ "$$tmp/hashhub/v1" hashhub/v1 && echo "generated code is up to date"

format: venv ## Format Python and proto files
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	$(BIN)/buf format --write

# What `make test-all` skips for want of others' software, in an environment of its own that has it.
INTEROP := $(VENV)-interop
$(INTEROP)/tests: tests/interop/requirements.lock $(VENV)/tests
	$(PYTHON) -m venv $(INTEROP)
	$(INTEROP)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(INTEROP)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes \
	  -r tests/interop/requirements.lock
	$(INTEROP)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

interop: $(INTEROP)/tests ## Let others' software judge (needs a C++ compiler; hashdeep, ClamAV, Chromium, Java from the system)
	$(INTEROP)/bin/python -m pytest -n 2 tests/interop tests/connectors tests/hygiene tests/hashing/test_video.py \
	  tests/hook/test_clamd*.py tests/docs/test_hook_clamd.py $(PYTEST_ARGS)

bench: venv ## Measure on this machine (needs a C++ compiler), ARGS=--quick for two minutes of it; see bench/README.md
	$(PIP) --require-hashes -r bench/requirements.lock
	$(BIN)/python -m bench $(ARGS)

protos: venv ## Generate hashhub/v1 from proto/
	$(BIN)/python proto/generate.py

reference: venv ## Write the API of Python, openapi.json and samples of --json into build/reference
	$(BIN)/python -m tests.docs.reference build/reference

release: venv ## Build wheel, sdist and SBOM into dist, and try them in empty environments
	rm -rf dist
	$(BIN)/python -m tests.release dist

# Once, for a version that is released: from then on nothing may break either.
record: venv ## Record this version's contract and databases, which later versions are held to
	$(BIN)/buf build --exclude-source-info -o proto/released/$$($(BIN)/python -c 'import hashhub; print(hashhub.__version__)').binpb
	$(BIN)/python -m tests.recorded

# What runs and what tests has wheels, so that nobody needs a compiler; what measures need not.
RESOLVE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
  --no-emit-index-url
lock: venv ## Resolve the five lock files anew
	$(PIP) uv
	$(RESOLVE) --only-binary :all: --all-extras --group dev pyproject.toml -o requirements.lock
	$(RESOLVE) --all-extras --group bench -c requirements.lock pyproject.toml -o bench/requirements.lock
	$(RESOLVE) --all-extras --group interop -c requirements.lock pyproject.toml \
	  -o tests/interop/requirements.lock
	$(RESOLVE) --only-binary :all: --extra server --extra postgres --extra formats --extra reconcile \
	  --extra sources --group build -c requirements.lock pyproject.toml -o docker/requirements.lock
	$(RESOLVE) --only-binary :all: --extra hook-local --extra hook-bucket --group build \
	  -c requirements.lock pyproject.toml -o docker/hook.requirements.lock

clean: ## Remove the virtual environment and caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist
