# `make` builds the environment .venv with the package in it; `make demo` and `make test` do all that they need themselves.

# The first interpreter that is supported; override with `make PYTHON=/path/to/python3.x`.
SUPPORTED := import sys; sys.exit(not (3, 9) <= sys.version_info[:2] <= (3, 14))
PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11 python3.10 python3.9; do \
	$$python -c '$(SUPPORTED)' 2>/dev/null && echo $$python && break; done)
BIN := .venv/bin
DEMO ?= demo

SOURCES := setup.py pyproject.toml $(wildcard csrc/*.h csrc/*.cpp) $(wildcard fastinfer/_native/*.pyx fastinfer/_native/*.pxd)

# What the toolkits of SageMaker's container run on: NumPy 1.23, of which there are no wheels for Python 3.12.
CONTAINER_PYTHON ?= $(shell for python in $(PYTHON) python3 python3.11 python3.10 python3.9; do \
	$$python -c 'import sys; sys.exit(not (3, 9) <= sys.version_info[:2] <= (3, 11))' 2>/dev/null && echo $$python && break; done)

.PHONY: all demo notebook test faults bench bench-memory lint clean docs docs/commands.md docs/errors.md fuzz fuzz-kernels fuzz-readers sanitize native native-neon exhaust instructions
.DELETE_ON_ERROR:
.SECONDARY:

all: .venv/built

.venv/bin/python:
	@$(or $(PYTHON),false) -c '$(SUPPORTED)' || { echo "fastinfer needs Python 3.9 to 3.14: make PYTHON=..." >&2; exit 2; }
	@echo "making the environment .venv with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv .venv || { echo "no virtual environment could be made: on Debian, apt-get install python3-venv" >&2; exit 2; }

PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check

# From Python 3.13 on there are no wheels of the NumPy that mxnet asks for; it runs with NumPy 2 (runtimes/mxnet/compat.py).
COMMA := ,
define INSTALL
@echo "installing fastinfer[$(1)] and what it requires; the first time this takes minutes"
@$(PIP_INSTALL) --editable '.[$(1)]'
@$(BIN)/python -c 'import sys; sys.exit(sys.version_info >= (3, 13))' || $(PIP_INSTALL) --no-deps 'mxnet==1.9.1'
endef

.venv/built: .venv/bin/python $(SOURCES)
	$(call INSTALL,train$(COMMA)report)
	@touch $@

# With a group of tools beside it, which builds the package as well: one build, not two.
.venv/with-%: .venv/bin/python $(SOURCES)
	$(call INSTALL,train$(COMMA)report$(COMMA)$*)
	@touch .venv/built $@

# SageMaker's own software in environments of its own, for the tests: its container's toolkits, and its SDK.
.venv/container/ready .venv/sdk/ready: .venv/%/ready: tests/sagemaker/%.txt .venv/bin/python
	@if test -n "$(CONTAINER_PYTHON)"; then set -e; $(CONTAINER_PYTHON) -m venv .venv/$*; \
	  .venv/$*/bin/python -m pip install --quiet --disable-pip-version-check --requirement $<; \
	else echo "no Python 3.9 to 3.11: tests that need SageMaker's $* are skipped"; mkdir -p .venv/$*; fi
	@touch $@

# Train on the real MNIST, write the first 1,000 test images as SageMaker's sample set prints them, transform, look.
# RUNTIME=onnx exports the model first, and runs that.
RUNTIME ?= mxnet
DEMO_MODEL := $(DEMO)/model$(if $(filter onnx,$(RUNTIME)),.onnx)
demo: .venv/$(if $(filter onnx,$(RUNTIME)),with-export,built)
	$(BIN)/fastinfer train --train examples/mnist/train --test examples/mnist/test --model-dir $(DEMO)/model
	$(BIN)/fastinfer samples examples/mnist/test $(DEMO)/in --count 1000
	$(if $(filter onnx,$(RUNTIME)),$(BIN)/fastinfer export $(DEMO)/model $(DEMO_MODEL) --rows $(DEMO)/in --overwrite)
	$(BIN)/fastinfer transform $(DEMO)/in $(DEMO)/out --model $(DEMO_MODEL) --runtime $(RUNTIME) --overwrite
	$(BIN)/fastinfer report $(DEMO)/out --inputs $(DEMO)/in --labels examples/mnist/test --png $(DEMO)/digits.png -o $(DEMO)/report.html

# The notebook's story, executed on this machine, with what it shows: demo/notebook.ipynb.
notebook: .venv/with-notebook
	@mkdir -p $(DEMO)
	cp examples/mnist/notebook.ipynb examples/mnist/mnist.py $(DEMO)
	ln -sfn $(CURDIR)/examples/mnist/train $(DEMO)/train && ln -sfn $(CURDIR)/examples/mnist/test $(DEMO)/test
	FASTINFER_LOCAL_ROOT=$(abspath $(DEMO))/sagemaker PATH="$(CURDIR)/$(BIN):$$PATH" \
	  $(BIN)/jupyter-execute --inplace --kernel_name=python3 $(DEMO)/notebook.ipynb
	@echo "executed: $(DEMO)/notebook.ipynb"

# Many tests wait for processes that they start: three at a time keep two cores busy. A module's tests stay in one process, which
# shares what it has set up.
TEST_PROCESSES ?= 3
test: .venv/with-test .venv/container/ready .venv/sdk/ready
	$(BIN)/python -m pytest -n $(TEST_PROCESSES) --dist loadfile

# Every fault at every call by which a run touches its folder, and in a row; then real commands, killed at random (some hours).
ROUNDS ?= 20
faults: .venv/with-test
	$(BIN)/python -m pytest tests/faults tests/faults/all_faults.py
	$(BIN)/python -m tests.faults.random_kills --rounds $(ROUNDS)
	$(BIN)/python -m tests.faults.random_kills --rounds $(ROUNDS) --disks

# One report of all benchmarks: build/bench/report.html. Wrong answers are not timed.
bench: .venv/with-bench
	$(BIN)/python -m pytest benchmarks --ignore benchmarks/bench_memory.py --figures build/bench/figures.json
	$(BIN)/python -m benchmarks.report build/bench/figures.json build/bench

# 26 GB of disk and 12 GB of memory: up to 20 GB in a file, and a million files. Its figures are added to the report.
bench-memory: .venv/with-bench
	$(BIN)/python -m pytest benchmarks/bench_memory.py --figures build/bench/figures.json --keep-others
	$(BIN)/python -m benchmarks.report build/bench/figures.json build/bench

# The page of error codes, from the registry.
docs/errors.md: .venv/built
	$(BIN)/python -c 'from fastinfer.errors import errors_page; print(errors_page(), end="")' > $@

# The page of commands, from their parsers.
docs/commands.md: .venv/built
	$(BIN)/python -c 'from fastinfer.commands._page import commands_page; print(commands_page(), end="")' > $@

# The docs as a site, in build/docs; warnings are errors, and links within it must lead somewhere. `make docs LINKS=1` asks other
# sites, too.
docs: .venv/with-docs
	$(BIN)/sphinx-build -n -W --keep-going -q -b html docs build/docs
	$(if $(LINKS),$(BIN)/sphinx-build -n -q -b linkcheck docs build/docs-links)
	@echo "built: build/docs/index.html"

# The type checkers need what the package can use, which the tests install; stubs are compared with the modules that were built.
lint: .venv/with-test .venv/with-lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pyright
	$(BIN)/stubtest --mypy-config-file pyproject.toml --allowlist tests/native/stubtest.txt \
	  $(patsubst fastinfer/_native/%.pyx,fastinfer._native.%,$(wildcard fastinfer/_native/*.pyx))
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/cython-lint fastinfer/_native
	$(BIN)/clang-format --dry-run -Werror $(wildcard csrc/* tests/native/*.h tests/native/*.cpp benchmarks/*.cpp)

# The kernels without Python: every target against the reference, under the sanitizers. Needs a C++17 compiler.
NATIVE_FLAGS := -std=c++17 -g -Wall -Wextra -Werror -fno-exceptions -Icsrc
# Changed inputs to each kernel.
RUNS ?= 20000
SANITIZERS := -fsanitize=address,undefined -fno-sanitize-recover=undefined
native: build/native
	build/native -runs=$(RUNS) tests/native/seeds/*

build/native: $(wildcard csrc/*) $(wildcard tests/native/*)
	@mkdir -p build
	$(CXX) $(NATIVE_FLAGS) -O1 $(SANITIZERS) -DFASTINFER_STANDALONE tests/native/fuzz_kernels.cpp csrc/*.cpp -o $@

# The NEON target on any machine. On Debian: apt-get install g++-aarch64-linux-gnu qemu-user
native-neon:
	@command -v aarch64-linux-gnu-g++ qemu-aarch64 >/dev/null || { echo "needs a cross compiler and qemu-user" >&2; exit 2; }
	@mkdir -p build
	aarch64-linux-gnu-g++ $(NATIVE_FLAGS) -O2 -static -DFASTINFER_STANDALONE tests/native/fuzz_kernels.cpp csrc/*.cpp \
	  -o build/native-neon
	qemu-aarch64 build/native-neon -runs=$(RUNS) tests/native/seeds/*

# The kernels and then each reader of a stranger's bytes (tests/fuzz), for SECONDS each. The kernels are guided by coverage: on
# Debian, apt-get install clang libclang-rt-14-dev. So are the readers where `pip install atheris` has been done; else their kept
# inputs are changed at random. What the kernels find new is kept in build/corpus.
SECONDS ?= 60
fuzz: fuzz-kernels fuzz-readers

fuzz-kernels:
	@command -v clang++ >/dev/null || { echo "make fuzz-kernels needs clang++ with libFuzzer" >&2; exit 2; }
	@mkdir -p build/corpus
	clang++ $(NATIVE_FLAGS) -O2 -fsanitize=fuzzer $(SANITIZERS) tests/native/fuzz_kernels.cpp csrc/*.cpp -o build/fuzz
	build/fuzz -max_total_time=$(SECONDS) -max_len=2048 -print_final_stats=1 build/corpus tests/native/seeds

fuzz-readers: .venv/with-test
	$(BIN)/python -m tests.fuzz --seconds $(SECONDS)

# The suite with an extension built for the sanitizers, in a folder of its own. Leaks are not looked for: an interpreter
# that ends keeps what it has. Left out: what builds packages, and what measures memory, of which the sanitizers take more.
sanitize: .venv/with-test native
	$(BIN)/python -m pip install --quiet --disable-pip-version-check 'Cython>=3.0,<4' 'setuptools>=64,<83'
	rm -rf build/sanitize && mkdir -p build/sanitize
	FASTINFER_BUILD_SANITIZE=1 $(BIN)/python setup.py -q build_ext --build-lib build/sanitize --build-temp build/sanitize/temp
	cp -rn fastinfer/. build/sanitize/fastinfer/
	PYTHONPATH=build/sanitize LD_PRELOAD="$$($(CC) -print-file-name=libasan.so) $$($(CXX) -print-file-name=libstdc++.so)" \
	ASAN_OPTIONS=detect_leaks=0 $(BIN)/python -m pytest -p no:cacheprovider --ignore tests/test_packaging.py \
	  --ignore tests/native/test_fuzz.py -k "not memory and not endless_line"

# Instructions an image, against the stored figures; skips where valgrind is missing.
instructions: .venv/built
	$(BIN)/python benchmarks/instructions.py

# Every float32 there is, printed, against std::to_chars: some ten minutes.
exhaust:
	@mkdir -p build
	$(CXX) $(NATIVE_FLAGS) -O2 tests/native/exhaust_floats.cpp csrc/format_rows.cpp -o build/exhaust
	build/exhaust

clean:
	rm -rf .venv build dist *.egg-info fastinfer/_native/*.so .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks $(DEMO)
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
