# Every target makes what it needs: a virtual environment in .venv, filled by pip once.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
BACKENDS ?= tensorflow jax torch
KERAS_BACKEND ?= jax
PYTEST_ARGS ?=
# Exactly this version: it has a plain CPU build, while the newest torch may pull gigabytes of CUDA libraries.
TORCH := torch==2.13.0
quickstart: export KERAS_BACKEND := $(KERAS_BACKEND)

.PHONY: help quickstart test test-cv test-matrix bench docs lint format clean $(BACKENDS:%=test-%) $(BACKENDS:%=test-%-quick) $(BACKENDS:%=test-%-slow) $(BACKENDS:%=test-%-matrix)

help:
	@echo "make quickstart   train a nested pair on real images and write both models (KERAS_BACKEND=jax|tensorflow|torch)"
	@echo "make test         the test suite under every backend; make test-jax and so on for one, test-cv for KerasCV"
	@echo "make test-matrix  every family of stock models, trained as a pair and by itself"
	@echo "make bench        what a pair's fit costs beside the stock models', under every backend"
	@echo "make docs         the documentation site, in site/"
	@echo "make lint         ruff and mypy;  make format to let ruff fix"

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# One stamp for each set of packages, so that each is installed once and again when pyproject.toml changes.
$(VENV)/.installed-tensorflow $(VENV)/.installed-jax: $(VENV)/.installed-%: pyproject.toml | $(BIN)/python
	$(BIN)/pip install --quiet --editable '.[quickstart,$*]'
	@touch $@

$(VENV)/.installed-torch: pyproject.toml | $(BIN)/python
	$(BIN)/pip install --quiet $(TORCH)
	$(BIN)/pip install --quiet --editable '.[quickstart,torch]'
	@touch $@

$(VENV)/.installed-dev: pyproject.toml | $(BIN)/python
	$(BIN)/pip install --quiet --editable '.[dev]'
	@touch $@

quickstart: $(VENV)/.installed-$(KERAS_BACKEND)
	$(BIN)/python examples/quickstart.py --output output

$(VENV)/.installed-cv: pyproject.toml $(VENV)/.installed-dev | $(BIN)/python
	$(BIN)/pip install --quiet --editable '.[dev,cv]'
	@touch $@

# Two processes at a time, each with one thread; the output of one comes whole when it is through. BACKENDS has the one
# first that takes longest.
# XLA optimises little, since tests run what they compile a few times only, and keeps what it compiled for tests to come.
PYTEST := TF_CPP_MIN_LOG_LEVEL=3 OMP_NUM_THREADS=1 TF_NUM_INTRAOP_THREADS=1 JAX_DISABLE_MOST_OPTIMIZATIONS=1 \
	JAX_COMPILATION_CACHE_DIR=$(CURDIR)/.pytest_cache/jax JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS=0 \
	$(BIN)/python -m pytest $(PYTEST_ARGS)

test: $(VENV)/.installed-cv $(BACKENDS:%=$(VENV)/.installed-%)
	@$(MAKE) --no-print-directory --jobs 2 --output-sync=target \
		$(BACKENDS:%=test-%-quick) $(BACKENDS:%=test-%-slow) test-cv

$(BACKENDS:%=test-%): test-%: test-%-quick test-%-slow

$(BACKENDS:%=test-%-quick): test-%-quick: $(VENV)/.installed-dev $(BACKENDS:%=$(VENV)/.installed-%)
	KERAS_BACKEND=$* $(PYTEST) -m "not cv and not slow and not matrix"

$(BACKENDS:%=test-%-slow): test-%-slow: $(VENV)/.installed-dev $(BACKENDS:%=$(VENV)/.installed-%)
	KERAS_BACKEND=$* $(PYTEST) -m "slow and not cv and not matrix"

# KerasCV imports TensorFlow under every backend.
test-cv: $(VENV)/.installed-cv $(BACKENDS:%=$(VENV)/.installed-%) $(VENV)/.installed-tensorflow
	set -e; for backend in $(BACKENDS); do KERAS_BACKEND=$$backend $(PYTEST) -m cv tests/stock_models/test_keras_cv.py; done

# Every family of stock models against the stock model: minutes a backend, most of it compiling.
test-matrix: $(VENV)/.installed-cv $(BACKENDS:%=$(VENV)/.installed-%)
	@$(MAKE) --no-print-directory --jobs 2 --output-sync=target $(BACKENDS:%=test-%-matrix)

$(BACKENDS:%=test-%-matrix): test-%-matrix: $(VENV)/.installed-cv $(BACKENDS:%=$(VENV)/.installed-%)
	KERAS_BACKEND=$* $(PYTEST) -m matrix tests/stock_models/test_stock_matrix.py tests/stock_models/test_keras_cv_matrix.py

# One thread: with as many as there are cores, the time of a step depends on when the machine puts threads to sleep.
BENCH := TF_CPP_MIN_LOG_LEVEL=3 OMP_NUM_THREADS=1 TF_NUM_INTRAOP_THREADS=1 TF_NUM_INTEROP_THREADS=1 \
	XLA_FLAGS=--xla_cpu_multi_thread_eigen=false \
	$(BIN)/python -W ignore
SPEED := benchmarks/results/speed

bench: $(VENV)/.installed-dev $(BACKENDS:%=$(VENV)/.installed-%)
	set -e; for backend in $(BACKENDS); do export KERAS_BACKEND=$$backend; \
		$(BENCH) benchmarks/overhead.py --output $(SPEED)/overhead.jsonl; done

# Keras is imported for nothing: the pages' API reference is read off the source.
docs: $(VENV)/.installed-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

$(VENV)/.installed-docs: pyproject.toml | $(BIN)/python
	$(BIN)/pip install --quiet --editable '.[docs]'
	@touch $@

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) output site .pytest_cache .mypy_cache .ruff_cache .hypothesis
