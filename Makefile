# make demo      from nothing: a virtual environment, the package, both first programs on Fashion-MNIST
# make test      lint, types, quick tests            make test-all  the slow ones too
# make bench     gradloom and its peers in one run    make docs      the API reference, as pages
# make lint / make format / make clean
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.ONESHELL:
.DELETE_ON_ERROR:

VENV ?= .venv
PY := $(VENV)/bin/python
PIP := $(PY) -m pip --disable-pip-version-check
# the first interpreter that is new enough; `make PYTHON=...` names another
PYTHON ?= $(firstword $(foreach p,python3 python3.14 python3.13 python3.12 python3.11,\
	$(shell command -v $(p) >/dev/null 2>&1 && $(p) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $(p))))
PYTEST_ARGS ?= -n auto

.PHONY: demo test test-all docs bench lint format types clean help
help:
	@sed -n 's/^# //p' Makefile | head -5

# An environment is made again where its interpreter no longer runs (a moved checkout, an upgraded Python).
define ENSURE_VENV
if ! $(PY) -m pip --version >/dev/null 2>&1; then
  if [ -z "$(PYTHON)" ]; then echo "gradloom needs Python 3.11 or newer; name one with make PYTHON=..." >&2; exit 1; fi
  echo "making $(VENV) with $$($(PYTHON) --version)"
  rm -rf "$(VENV)"
  $(PYTHON) -m venv "$(VENV)" || { rm -rf "$(VENV)"; $(PYTHON) -m virtualenv -q "$(VENV)"; } || \
    { echo "could not make a virtual environment: install your system's python3-venv package" >&2; exit 1; }
fi
endef

# The stamps name what was installed; they depend on pyproject.toml alone, since the install is editable.
$(VENV)/.stamp-core: pyproject.toml
	@$(ENSURE_VENV)
	@echo "installing gradloom"
	$(PIP) install -q -e .
	touch $@

$(VENV)/.stamp-dev: pyproject.toml
	@$(ENSURE_VENV)
	@echo "installing gradloom with what the tests need"
	$(PIP) install -q -e '.[dev]'
	touch $(VENV)/.stamp-core $@

demo: $(VENV)/.stamp-core
	@$(PY) examples/first_keras.py
	@echo
	@$(PY) examples/first_torch.py

lint: $(VENV)/.stamp-dev
	@$(PY) -m ruff check .
	$(PY) -m ruff format --check .

format: $(VENV)/.stamp-dev
	@$(PY) -m ruff format .
	$(PY) -m ruff check --fix .

types: $(VENV)/.stamp-dev
	@$(PY) -m mypy

test: lint types
	@$(PY) -m pytest -m "not slow" $(PYTEST_ARGS)

test-all: lint types
	@$(PY) -m pytest $(PYTEST_ARGS)

# the API reference, from the docstrings, as pages to open in a browser
docs: $(VENV)/.stamp-dev
	@$(PIP) install -q -e '.[docs]'
	$(PY) docs/reference.py
	echo "open docs/reference/gradloom.html"

bench:
	@$(MAKE) --no-print-directory -C benchmarks bench

clean:
	rm -rf $(VENV) build dist docs/reference .pytest_cache .mypy_cache .ruff_cache .hypothesis
