# Each target sets up what it needs: a virtual environment in this folder and, for the tests, programs of the system.
# The second call finds everything in place.

PYTHON ?= python3
# What `make test` runs; `make test RINGS=tests/unit` is one ring, `RINGS=tests/unit/test_x.py` one file.
RINGS ?= tests
PYTEST_FLAGS ?=
BENCH_FLAGS ?=

ifeq ($(PYTHON),python3)
INTERPRETER := python3
VENV := .venv
else
INTERPRETER := $(or $(shell tests/environment/interpreter.sh $(PYTHON)),$(error $(PYTHON) does not run here))
VENV := .venv-$(shell $(INTERPRETER) -c 'import sys; print("%d.%d" % sys.version_info[:2])')
endif
BIN := $(VENV)/bin
READY := $(VENV)/ready
BENCH := $(VENV)-bench
AS_ROOT = $(if $(filter 0,$(shell id -u)),--allow-root)

.DEFAULT_GOAL := help
.PHONY: help demo test lab lint bench soak

help:  ## Show this list.
	@sed -n 's/^\([a-z]*\):.*##/make \1\t/p' Makefile | expand -t 14
	@echo "Another interpreter: make test PYTHON=python3.12. Only some tests: make test RINGS=tests/unit."

demo: $(READY)  ## Run the quickstart notebook without a browser; print what it found and how long it took.
	@$(BIN)/python notebooks/run_demo.py

lab: $(READY)  ## Open the quickstart notebook in JupyterLab.
	@$(BIN)/jupyter lab $(AS_ROOT) notebooks/01_quickstart.ipynb

test: $(READY)  ## Run every test but the hour-long ones.
	@$(BIN)/python tests/environment/machine.py
	@$(BIN)/python -m pytest -m "not soak" $(PYTEST_FLAGS) $(RINGS)

soak: $(READY)  ## Run the long versions of the tests.
	@$(BIN)/python tests/environment/machine.py
	@$(BIN)/python -m pytest -m soak $(PYTEST_FLAGS) $(RINGS)

lint: $(READY)  ## Check style, formatting, types and the direction of imports.
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache

# Its virtual environment is one of its own: the libraries it compares with are large.
bench: $(BENCH)/ready  ## Compare with the libraries one would otherwise use; BENCH_FLAGS="--rounds 5 --json FILE".
	@$(BENCH)/bin/python tests/benchmarks/run.py $(BENCH_FLAGS)

# A virtual environment whose making was interrupted has no pip yet and is made anew.
$(READY): pyproject.toml
	@$(INTERPRETER) tests/environment/interpreter.py
	@test -x $(BIN)/pip || $(INTERPRETER) -m venv --clear $(VENV)
	@echo "installing Flowrra and its tools into $(VENV)"
	@$(BIN)/python -m pip --disable-pip-version-check install -qq --editable '.[dev]'
	@touch $@

# Ray has no wheel for every machine; without it its lines say that it is not installed.
$(BENCH)/ready: pyproject.toml
	@$(INTERPRETER) tests/environment/interpreter.py
	@test -x $(BENCH)/bin/pip || $(INTERPRETER) -m venv --clear $(BENCH)
	@echo "installing Flowrra and what it is compared with into $(BENCH)"
	@$(BENCH)/bin/python -m pip --disable-pip-version-check install -qq --editable '.[bench]'
	@$(BENCH)/bin/python -m pip --disable-pip-version-check install -qq --editable '.[bench-ray]' || echo "Ray does not install here"
	@touch $@
