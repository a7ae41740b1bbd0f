# Both commands set themselves up: a virtual environment and everything in it.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
JOBS ?= 2

# What a change breaks first: tokens, methods, answers, images, prompts; no other processes.
CORE := tests/golden tests/decoding tests/methods tests/inference \
	$(filter-out tests/test_extras.py tests/test_package.py,$(wildcard tests/test_*.py))

.PHONY: demo test fast lint slow docs package browser clean

demo: $(VENV)/installed
	$(BIN)/secondsight compare

test: $(VENV)/installed-dev lint browser
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS)

fast: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) -m "not slow and not thorough" $(CORE)
	$(BIN)/mypy

slow: $(VENV)/installed-dev
	$(BIN)/python -m pytest -m slow

# The site, in build/site; a link or a name that leads nowhere fails it. One of the tests does the same.
docs: $(VENV)/installed-dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

# The server's page is tested in Chromium; without one those tests are skipped, and say so.
browser:
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || { \
	  [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update -qq && \
	  apt-get install -y -qq --no-install-recommends chromium >/dev/null; } || \
	  echo "There is no Chromium here: the page's tests will be skipped."

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
