# Targets that need .venv create or update it first.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

CORE := $(VENV)/.core-installed
DEV := $(VENV)/.dev-installed
BENCHMARKS := $(sort $(wildcard benchmarks/*.py))
# Not benchmarks: modules that the scripts share, and scripts that paint pictures or sheets.
PICTURES := gallery style_previews studio_pictures guided_pictures brush_pictures jury
MODULES := public results evaluation clips
PUBLIC := speed memory growth batch brush_speed quality
SHARED_BENCHMARKS := $(filter-out $(patsubst %,benchmarks/%.py,$(PICTURES) $(MODULES) $(PUBLIC)),$(BENCHMARKS))
TESTS ?= tests

.DEFAULT_GOAL := help
.PHONY: help demo test check quick bench bench-shared coverage docs pictures wheel clean

help:  ## this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 20

demo: $(CORE)  ## install impasto and paint a photo: demo.png
	$(BIN)/impasto demo -o demo.png

test: check  ## all checks of CI: format, lint, types, imports, tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist worksteal

check: $(DEV)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy src $(BENCHMARKS)
	$(BIN)/lint-imports

quick: $(DEV)  ## the fast tests, about two minutes on two cores
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist worksteal -m "not slow"

bench: $(DEV)  ## measure speed, memory, growth and quality with public pictures, about 20 minutes; writes docs/benchmarks.md
	$(BIN)/python benchmarks/speed.py
	$(BIN)/python benchmarks/memory.py
	$(BIN)/python benchmarks/growth.py
	$(BIN)/python benchmarks/batch.py --count 12 --rounds 2
	OMP_NUM_THREADS=2 $(BIN)/python benchmarks/brush_speed.py
	$(BIN)/python benchmarks/quality.py
	$(BIN)/python benchmarks/results.py

bench-shared: $(DEV)  ## all other benchmarks; needs ../shared and takes hours
	$(BIN)/python benchmarks/speed.py --shared
	@set -e; for benchmark in $(SHARED_BENCHMARKS); do echo "== $$benchmark"; $(BIN)/python $$benchmark; done

coverage: $(DEV)  ## branch coverage of the core by its tests; TESTS=tests/losses measures fewer tests
	OMP_NUM_THREADS=1 $(BIN)/python -m coverage run -m pytest -q -n 2 $(TESTS)
	$(BIN)/python -m coverage combine --quiet
	$(BIN)/python -m coverage report $(if $(filter-out tests,$(TESTS)),--fail-under=0)

docs: $(DEV)  ## build the documentation site: docs/_build/html/index.html
	$(BIN)/python -m sphinx -b html -W --keep-going -q -d docs/_build/doctrees docs docs/_build/html

pictures: $(DEV)  ## repaint the pictures of the documentation
	$(BIN)/python benchmarks/gallery.py
	$(BIN)/python benchmarks/style_previews.py
	$(BIN)/python benchmarks/guided_pictures.py
	$(BIN)/python benchmarks/brush_pictures.py
	$(BIN)/python benchmarks/studio_pictures.py
	$(BIN)/python docs/extensions/notebook_cells.py

wheel: $(DEV)  ## build the wheel and the sdist into dist/
	$(BIN)/python -m build --outdir dist

clean:  ## remove everything that make created, including .venv
	rm -rf $(VENV) build dist docs/_build demo.png .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage .coverage.*
	find src tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

# Install torch first: the pinned version, in the build that pip's settings select.
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
