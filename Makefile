# hashhub. `make` explains the targets.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PYTEST_ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help venv demo serve test check format bench protos reference lock clean

help: ## Explain the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# The stamp is newer than the lock when the environment is up to date. Hashes are checked; nothing is resolved anew.
$(VENV)/installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) \
		and "hashhub needs Python 3.11 or newer; set PYTHON=/path/to/python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

venv: $(VENV)/installed ## Build the virtual environment from requirements.lock

demo: venv ## Show the main job: lists in, uploads matched, a conflict, a withdrawal
	$(BIN)/python -m hashhub.testing.demo

serve: venv ## Run a hub on embedded SQLite in ./hashhub-data (Ctrl-C stops it)
	$(BIN)/hashhub serve --data hashhub-data

test: venv ## Run the whole suite, PostgreSQL included
	$(BIN)/python -m pytest -n 2 $(PYTEST_ARGS)

check: venv ## Format, lint, types, import layers, contract, generated code; then the suite
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/buf lint
	$(BIN)/buf format --diff --exit-code
	@if git cat-file -e origin/main:buf.yaml 2>/dev/null; then \
	  echo $(BIN)/buf breaking --against .git#branch=origin/main; $(BIN)/buf breaking --against '.git#ref=origin/main'; \
	else echo "buf breaking: no main branch to compare the contract with yet"; fi
	@tmp=$$(mktemp -d) && trap 'rm -rf "$$tmp"' EXIT && $(BIN)/python proto/generate.py "$$tmp" && \
	  diff -r -x __pycache__ "$$tmp/hashhub/v1" hashhub/v1 && echo "generated code is up to date"
	$(MAKE) --no-print-directory test

format: venv ## Format Python and proto files
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	$(BIN)/buf format --write

bench: venv ## Measure on this machine, ARGS=--quick for three minutes of it; see bench/README.md
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r bench/requirements.lock
	$(BIN)/python -m bench $(ARGS)

protos: venv ## Generate hashhub/v1 from proto/
	$(BIN)/python proto/generate.py

reference: venv ## Write docs/cli.md and docs/reference from the code
	$(BIN)/python tests/cli/reference.py > docs/cli.md
	$(BIN)/python tests/docs/reference.py docs/reference

lock: venv ## Resolve the three requirements.lock files anew
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url \
	  --all-extras --group dev pyproject.toml -o requirements.lock
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url \
	  --all-extras --group bench -c requirements.lock pyproject.toml -o bench/requirements.lock
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url \
	  --extra server --extra postgres --group build -c requirements.lock pyproject.toml -o docker/requirements.lock

clean: ## Remove the virtual environment and caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist
