# The targets need Python 3.11 or later and make, and set up everything else in .venv; `make help` lists
# them.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
JOBS ?= 2
# Python compiles what is imported, which is a quarter of what is installed.
INSTALL := $(BIN)/python -m pip install --quiet --no-compile --disable-pip-version-check --constraint constraints.txt --editable
PYTEST := $(BIN)/python -m pytest --quiet --numprocesses $(JOBS) --dist worksteal

# Even where the environment forbids it (images of containers do), as nothing is compiled when it is
# installed: hundreds of processes import Keras and its backend, each 6 s longer without bytecode.
export PYTHONDONTWRITEBYTECODE :=

# Files with tests that have a mark, besides those of tests/backends.
MARKED = tests/backends $(shell grep -rlE --include='test_*.py' 'mark\.($(1))\b' tests/unit tests/integration)
# Hundreds of short trainings, each compiled anew.
ON_ONE_BACKEND := --ignore=tests/unit/training/test_optimizers.py

.DEFAULT_GOAL := help
.PHONY: help demo test test-slow lint lint-types lint-style docs coverage dist try-wheel bench mutation format clean
.PHONY: test-torch test-tensorflow test-jax slow-torch slow-tensorflow slow-jax

help: ## list the targets
	@grep -E '^[a-z-]+:.* ## ' Makefile | sed -E 's/^([a-z-]+):.* ## /  make \1|/' | column -t -s '|'

demo: $(VENV)/installed ## two small networks: two minutes
	$(BIN)/keras-prelu demo

# Minutes: style, types, import directions; code that knows no backend is tested once, on PyTorch, which
# compiles nothing; what differs between backends is tested on each of them.
test: lint test-torch test-tensorflow test-jax ## style, types and the fast tests on three backends: minutes

lint: $(VENV)/installed-dev ## style, types and import directions
	$(MAKE) --no-print-directory --jobs $(JOBS) lint-types lint-style

lint-types:
	$(BIN)/mypy

lint-style:
	$(BIN)/ruff format --check --quiet .
	$(BIN)/ruff check --quiet .
	$(BIN)/lint-imports

test-torch: $(VENV)/installed-dev
	KERAS_BACKEND=torch $(PYTEST) -m "not slow" tests

test-tensorflow: $(VENV)/installed-dev
	KERAS_BACKEND=tensorflow $(PYTEST) -m "(backends or tensorflow) and not slow" $(call MARKED,backends|tensorflow)

# JAX compiles each example of a property test anew, and everything twice as long with optimizations;
# tests that use the fixture `optimized` turn them on. slow-torch starts processes of JAX.
test-jax slow-jax: export HYPOTHESIS_PROFILE ?= short
test-jax slow-jax slow-torch: export JAX_DISABLE_MOST_OPTIMIZATIONS ?= 1
test-jax: $(VENV)/installed-dev
	KERAS_BACKEND=jax $(PYTEST) -m "backends and not slow" $(call MARKED,backends)

# The rest: documentation, examples, tools, kills and devices. As in `make test`, PyTorch runs what one
# backend is enough for: on TensorFlow, which compiles each small training anew, it takes three to eight
# times as long. TensorFlow and JAX run what differs between backends, and the unit tests in which
# functions of users are traced, which differ most; TensorFlow those of `finetune` too. All unit tests
# on each backend are a job of .github/workflows/tests.yml; `make coverage` runs them on TensorFlow.
test-slow: docs slow-torch slow-tensorflow slow-jax ## everything else: documentation, examples, tools, devices

slow-torch: $(VENV)/installed-dev
	KERAS_BACKEND=torch $(PYTEST) -m "slow and not (tensorflow or jax)" tests

slow-tensorflow: $(VENV)/installed-dev
	KERAS_BACKEND=tensorflow $(PYTEST) $(ON_ONE_BACKEND) \
		-m "slow and (backends or tensorflow) or (traced or trained) and not (slow or backends or tensorflow)" tests

slow-jax: $(VENV)/installed-dev
	KERAS_BACKEND=jax $(PYTEST) -m "slow and (backends or jax) or traced and not (slow or backends)" tests

# The site, in docs/_build; a warning is an error.
docs: $(VENV)/installed-dev ## the documentation's site, in docs/_build
	$(BIN)/python -m sphinx --jobs $(JOBS) -W --keep-going --quiet -b html docs docs/_build

# Lines and branches that no test takes on TensorFlow are listed; below 95 % it fails.
coverage: $(VENV)/installed-dev ## lines and branches that tests take, on TensorFlow
	KERAS_BACKEND=tensorflow $(PYTEST) --cov --cov-report=term-missing:skip-covered tests

# What a release uploads, in dist/, checked.
dist: $(VENV)/installed-dev ## what a release uploads, in dist/
	rm -rf dist build
	$(BIN)/python -m build --quiet
	$(BIN)/python -m twine check --strict dist/*
	$(BIN)/check-wheel-contents dist/*.whl

# The wheel as a user installs it: in an environment of its own, where the checkout can't be imported.
try-wheel: ## the wheel, as a user installs it
	rm -rf build/try-wheel && $(PYTHON) -m venv build/try-wheel
	build/try-wheel/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt dist/*.whl
	cd build/try-wheel && bin/keras-prelu --version && bin/python -c 'import keras_prelu as kp; kp.PReLU()'

# Forty minutes on two cores, with nothing else running.
bench: $(VENV)/installed-dev ## times and memory beside ReLU: forty minutes
	$(BIN)/python -m tools.bench

# More than an hour on two cores: whether tests notice small changes to what everything else rests on;
# MODULES are those of tools/mutation.
mutation: $(VENV)/installed-dev ## whether tests notice small changes: over an hour
	$(BIN)/python -m tools.mutation --jobs $(JOBS) $(MODULES)

format: $(VENV)/installed-dev ## format the code
	$(BIN)/ruff check --fix --quiet .
	$(BIN)/ruff format --quiet .

clean: ## remove what the targets made
	rm -rf $(VENV) build dist docs/_build docs/_plotted docs/_notebook_cache docs/jupyter_execute docs/reference/commands *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache

# The stamps are newer than what they depend on, so an environment is reused until that changes.
$(VENV)/created:
	$(PYTHON) -m venv $(VENV)
	touch $@

$(VENV)/installed: $(VENV)/created setup.py constraints.txt
	$(INSTALL) .
	touch $@

$(VENV)/installed-dev: $(VENV)/created setup.py constraints.txt
	$(INSTALL) '.[dev,executorch,hub,jax,torch]'
	touch $(VENV)/installed $@
