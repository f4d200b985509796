# `make demo`, `make test` and `make bench` need Python 3.11 or later and make, and set up everything else in .venv.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
JOBS ?= 2
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable
PYTEST := $(BIN)/python -m pytest --quiet --numprocesses $(JOBS) --dist worksteal
# What is tested on every backend; the rest, the command line above all, does not depend on it.
ON_EVERY_BACKEND := tests/test_ops.py tests/test_layers.py tests/test_cost.py tests/test_parameterizations.py \
	tests/test_initializers.py tests/test_constraints.py tests/test_regularizers.py tests/test_callbacks.py tests/surgery tests/diagnostics \
	tests/training tests/deployment/test_backends.py tests/test_released.py tests/test_private_keras.py

.PHONY: demo test lint docs dist try-wheel lists-tests-of-every-backend test-tensorflow test-jax test-torch bench mutation format clean

demo: $(VENV)/installed
	$(BIN)/keras-prelu demo

test: lint docs test-tensorflow test-jax test-torch

lint: $(VENV)/installed-dev
	$(BIN)/ruff format --check --quiet .
	$(BIN)/ruff check --quiet .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The site, in docs/_build; a warning is an error.
docs: $(VENV)/installed-dev
	$(BIN)/python -m sphinx -W --keep-going --quiet -b html docs docs/_build

# What a release uploads, in dist/, checked.
dist: $(VENV)/installed-dev
	rm -rf dist build
	$(BIN)/python -m build --quiet
	$(BIN)/python -m twine check --strict dist/*
	$(BIN)/check-wheel-contents dist/*.whl

# The wheel as a user installs it: in an environment of its own, where the checkout can't be imported.
try-wheel:
	rm -rf build/try-wheel && $(PYTHON) -m venv build/try-wheel
	build/try-wheel/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt dist/*.whl
	cd build/try-wheel && bin/keras-prelu --version && bin/python -c 'import keras_prelu as kp; kp.PReLU()'

# For workflows that test with other versions.
lists-tests-of-every-backend:
	@echo $(ON_EVERY_BACKEND)

# Lines and branches that no test takes are told, and too many of them are an error; what JAX and PyTorch alone take is tested there.
test-tensorflow: $(VENV)/installed-dev
	KERAS_BACKEND=tensorflow $(PYTEST) --cov --cov-report=term-missing:skip-covered tests

# JAX compiles each example of a property test anew, and everything twice as long with optimizations; tests that use
# the fixture `optimized` turn them on.
test-jax: export HYPOTHESIS_PROFILE ?= short
test-jax: export JAX_DISABLE_MOST_OPTIMIZATIONS ?= 1
test-jax test-torch: test-%: $(VENV)/installed-dev
	KERAS_BACKEND=$* $(PYTEST) $(ON_EVERY_BACKEND)

# Forty minutes on two cores, with nothing else running.
bench: $(VENV)/installed-dev
	$(BIN)/python -m tools.bench

# More than an hour on two cores: whether tests notice small changes to what everything else rests on; MODULES are those of tools/mutation.
mutation: $(VENV)/installed-dev
	$(BIN)/python -m tools.mutation --jobs $(JOBS) $(MODULES)

format: $(VENV)/installed-dev
	$(BIN)/ruff check --fix --quiet .
	$(BIN)/ruff format --quiet .

clean:
	rm -rf $(VENV) build dist docs/_build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache

# The stamps are newer than what they depend on, so an environment is reused until that changes.
$(VENV)/created:
	$(PYTHON) -m venv $(VENV)
	touch $@

$(VENV)/installed: $(VENV)/created setup.py constraints.txt
	$(INSTALL) .
	touch $@

$(VENV)/installed-dev: $(VENV)/installed
	$(INSTALL) '.[dev,hub,jax,torch]'
	touch $@
