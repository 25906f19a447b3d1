# `make` builds the environment .venv with the package in it; `make demo` and `make test` do all that they need themselves.

# The first interpreter that mxnet 1.9.1 runs on; override with `make PYTHON=/path/to/python3.x`.
PYTHON ?= $(shell for python in python3 python3.12 python3.11 python3.10 python3.9; do \
	$$python -c 'import sys; sys.exit(not (3, 9) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null && echo $$python && break; done)
BIN := .venv/bin
DEMO ?= demo

SOURCES := setup.py pyproject.toml $(wildcard csrc/*.h csrc/*.cpp) $(wildcard fastinfer/*.pyx fastinfer/*.pxd)

.PHONY: all demo test bench lint clean
.DELETE_ON_ERROR:

all: .venv/built

.venv/bin/python:
	@test -n "$(PYTHON)" || { echo "fastinfer needs Python 3.9 to 3.12 (mxnet 1.9.1 runs on no other): make PYTHON=..." >&2; exit 2; }
	$(PYTHON) -m venv .venv || { echo "no virtual environment could be made: on Debian, apt-get install python3-venv" >&2; exit 2; }

.venv/built: .venv/bin/python $(SOURCES)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[report]'
	@touch $@

# Each group of tools is installed once, and again when pyproject.toml changes.
.venv/with-%: .venv/built pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[$*]'
	@touch $@

# Train on the real MNIST, write the first 1,000 test images as SageMaker's sample set prints them, transform, look.
demo: .venv/built
	$(BIN)/python -m fastinfer.train --train examples/mnist/train --test examples/mnist/test --model-dir $(DEMO)/model
	$(BIN)/python -m fastinfer.samples examples/mnist/test $(DEMO)/in --count 1000
	$(BIN)/python -m fastinfer.transform $(DEMO)/in $(DEMO)/out --model $(DEMO)/model --overwrite
	$(BIN)/python -m fastinfer.report $(DEMO)/in $(DEMO)/out --labels examples/mnist/test --png $(DEMO)/digits.png

test: .venv/with-test
	$(BIN)/python -m pytest

bench: .venv/with-bench
	$(BIN)/python -m pytest benchmarks

lint: .venv/with-lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pyright

clean:
	rm -rf .venv build dist *.egg-info fastinfer/*.so .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks $(DEMO)
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
