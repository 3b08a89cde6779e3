# Each target sets up what it needs, once, and prints the plain commands that it runs.

PYTHON ?= python3
VENV ?= .venv
# What to train: make train ARGS="dcgan-mnist --steps 2000"
ARGS ?=

.PHONY: train test check

train: $(VENV)/installed
	$(VENV)/bin/jaxgan train $(ARGS)

test: $(VENV)/installed-dev
	$(VENV)/bin/python -m pytest $(ARGS)

check: $(VENV)/installed-dev
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/pyright --pythonpath $(VENV)/bin/python

$(VENV)/bin/pip:
	$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(None if (3, 11) <= v < (3, 14) else "jaxgan needs Python 3.11 to 3.13; this is %d.%d. Name another: make PYTHON=python3.12" % v[:2])'
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: pyproject.toml | $(VENV)/bin/pip
	$(VENV)/bin/pip install -e .
	touch $@

$(VENV)/installed-dev: pyproject.toml | $(VENV)/bin/pip
	$(VENV)/bin/pip install -e '.[dev]'
	touch $@ $(VENV)/installed
