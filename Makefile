# Each target sets up .venv by itself when it is needed, and is instant about it afterwards.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

CORE := $(VENV)/.core-installed
DEV := $(VENV)/.dev-installed
BENCHMARKS := $(sort $(wildcard benchmarks/*.py))

.DEFAULT_GOAL := help
.PHONY: help demo test check quick bench docs wheel clean

help:  ## this list
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/  make \1\t\2/' | expand -t 15

demo: $(CORE)  ## install impasto and paint a photo: demo.png
	$(BIN)/impasto demo -o demo.png

test: check  ## everything that CI checks: format, lint, types, imports, tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2

check: $(DEV)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy src $(BENCHMARKS)
	$(BIN)/lint-imports

quick: $(DEV)  ## the tests of a minute
	$(BIN)/python -m pytest -q -m "not slow"

bench: $(DEV)  ## the figures of the README; needs ../shared
	@set -e; for benchmark in $(filter-out benchmarks/gallery.py benchmarks/style_previews.py benchmarks/studio_pictures.py benchmarks/jury.py,$(BENCHMARKS)); do \
		echo "== $$benchmark"; $(BIN)/python $$benchmark; \
	done

docs: $(DEV)  ## paint the pictures of the documentation again
	$(BIN)/python benchmarks/gallery.py
	$(BIN)/python benchmarks/style_previews.py
	$(BIN)/python benchmarks/studio_pictures.py

wheel: $(DEV)  ## build the wheel and the sdist into dist/
	$(BIN)/python -m build --outdir dist

clean:  ## remove whatever make made, .venv included
	rm -rf $(VENV) build dist demo.png .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find src tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

# torch is asked for first and exactly: the pinned version, whichever build of it pip's own settings prefer.
$(VENV)/.torch-installed: constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("impasto needs Python 3.11 or newer; try: make PYTHON=python3.12" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(PIP) $$(grep -E '^torch==' constraints.txt)
	@touch $@

$(CORE): $(VENV)/.torch-installed pyproject.toml
	$(PIP) -e .
	@touch $@

$(DEV): $(VENV)/.torch-installed pyproject.toml
	$(PIP) -e '.[dev]'
	@touch $@ $(CORE)
