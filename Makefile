# Both commands set themselves up: a virtual environment and everything in it.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
JOBS ?= 2

.PHONY: demo test lint slow package clean

demo: $(VENV)/installed
	$(BIN)/secondsight compare

test: $(VENV)/installed-dev lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS)

slow: $(VENV)/installed-dev
	$(BIN)/python -m pytest -m slow

# The wheel and the sdist, built, and the wheel installed where the sources are not.
package: $(VENV)/installed-dev
	$(BIN)/python -m pytest -m slow tests/test_packaging.py

lint: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

$(VENV)/installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(VENV)/installed-dev: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --editable ".[dev]"
	touch $@

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache
