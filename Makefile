# Verbs of the project. `make help` lists them; CI calls nothing that does not stand here.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
SHELL := /bin/bash

# Tests and the demo import onnxruntime, which would else report to its maker.
export ORT_DISABLE_TELEMETRY := 1

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
CLIENTS := .venv-clients
CLIENTS_STAMP := $(CLIENTS)/.installed
TORCH := .venv-torch
TORCH_STAMP := $(TORCH)/.installed
GPU := .venv-gpu
GPU_STAMP := $(GPU)/.installed
PYTEST := $(BIN)/python -m pytest
# By files: what a module sets up serves all its tests.
PARALLEL := -n 2 --dist loadfile
# In the order of tests/support/order.py.
IN_ORDER := $(PARALLEL) --no-loadscope-reorder
# A cluster that is lent by its owner is one for all tests: these go one by one.
CLUSTERS := $(if $(MOORING_TEST_CONTEXT),,$(IN_ORDER))
PROCESSES := tests/contract tests/runtime tests/bench_tests tests/operator tests/faults
SOURCES := operator/mooring_operator runtime/mooring_runtime tests examples

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^## /{printf "\n%s\n", substr($$0, 4)} /^[a-z0-9-]+:.*## /{printf "  %-20s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

## Use it
.PHONY: demo demo-stateful demo-down
demo: $(STAMP) ## Serve a real model on a real cluster, from nothing (CONTEXT= and REGISTRY= use yours)
	$(BIN)/python -m tests.demo up $(if $(CONTEXT),--context $(CONTEXT)) $(if $(REGISTRY),--registry $(REGISTRY))

demo-stateful: $(STAMP) ## Stream speech to a model with state, kill its pod meanwhile, lose nothing (CONTEXT=, REGISTRY=)
	$(BIN)/python -m tests.demo stateful $(if $(CONTEXT),--context $(CONTEXT)) $(if $(REGISTRY),--registry $(REGISTRY))

demo-down: $(STAMP) ## Take the demos down and leave nothing
	$(BIN)/python -m tests.demo down $(if $(CONTEXT),--context $(CONTEXT))

## Check it
.PHONY: test lint types floors unit processes unit-torch unit-gpu contract server router faults controlplane e2e
test: lint types floors unit processes unit-torch controlplane e2e ## Run every check that this host can run

lint: $(STAMP) ## Style and file size
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(STAMP) ## mypy --strict
	$(BIN)/mypy $(SOURCES)

floors: $(STAMP) ## A lower floor never imports a higher one
	$(BIN)/lint-imports --no-cache

unit: $(STAMP) ## Pure functions, golden files, property tests
	$(PYTEST) $(PARALLEL) tests/operator tests/runtime tests/bench_tests tests/faults tests/repository -m "not process"

processes: $(STAMP) $(CLIENTS_STAMP) ## All of contract, server, router and faults, two files at a time
	$(PYTEST) $(IN_ORDER) $(PROCESSES) -m process

server: $(STAMP) $(CLIENTS_STAMP) ## The model server as a process: real clients, faults, fuzzing
	$(PYTEST) tests/runtime tests/bench_tests -m process

router: $(STAMP) ## The router of stateful services: the real Envoy on the files that the operator renders
	$(PYTEST) tests/operator -m process

faults: $(STAMP) ## A minute of crashes, pauses, full disks and swaps of models: no acknowledged step is lost or doubled
	$(PYTEST) tests/faults -m process

unit-torch: $(TORCH_STAMP) ## The torch backend, in an environment of its own (2.5 GB to fetch, 5 GB on disk)
	$(TORCH)/bin/python -m pytest tests/runtime/backends/test_torch*.py tests/runtime/torch

unit-gpu: $(GPU_STAMP) $(TORCH_STAMP) ## The backends on an NVIDIA GPU, where there is one
	$(GPU)/bin/python -m pytest -m gpu tests/runtime/backends/test_onnx_gpu.py tests/runtime/metrics/test_machine_gpu.py
	$(TORCH)/bin/python -m pytest -m gpu tests/runtime/backends/test_torch_gpu.py

contract: $(STAMP) ## What the operator renders, the runtime and the chart really have
	$(PYTEST) tests/contract

controlplane: $(STAMP) ## The operator on a real API server
	$(PYTEST) $(CLUSTERS) tests/controlplane tests/cluster_tests -m "not e2e"

# One file at a time: two clusters at once starve what it measures, pauses of sessions and latencies.
e2e: $(STAMP) ## Real kubelets, images and clients on two nodes
	$(PYTEST) tests/e2e tests/cluster_tests tests/demo -m e2e

.PHONY: e2e-long soak bench bench-operator bench-runtime bench-sessions bench-autoscaling
e2e-long: $(STAMP) ## The end-to-end, fault and simulation checks in their long form (an hour and a half; KEDA is built for it)
	$(PYTEST) tests/e2e tests/controlplane --long
	$(PYTEST) tests/runtime/sessions tests/runtime/dataplane tests/faults/protocol_model --long

soak: $(STAMP) ## Faults for as long as you like; prints seeds that play a round again (ARGS="--seconds 600 --seed 42")
	$(BIN)/python -m tests.faults $(ARGS)

bench: bench-operator bench-runtime bench-sessions bench-autoscaling ## Every benchmark

bench-operator: $(STAMP) ## 200 services beside a plain client; writes build/bench/operator.json
	$(BIN)/python -m tests.bench.operator

bench-runtime: $(STAMP) ## The model server beside Triton and others (half an hour; ARGS=--help); writes build/bench/runtime.json
	$(BIN)/python -m tests.bench.runtime $(ARGS)

bench-sessions: $(STAMP) ## Sessions beside the same model without state, and beside state in Redis (ARGS=--help); writes build/bench/sessions.json
	$(BIN)/python -m tests.bench.sessions $(ARGS)

bench-autoscaling: $(STAMP) ## The scaling rule beside its rivals on simulated traffic (ARGS=--help); writes build/bench/autoscaling.json
	$(BIN)/python -m tests.bench.autoscaling $(ARGS)

## Make it
.PHONY: install lock format golden crds images cluster
install: $(STAMP) $(CLIENTS_STAMP) ## Make the environments in .venv and .venv-clients from the locked requirements

$(STAMP): requirements/dev.txt requirements/models.txt requirements/tools.txt operator/pyproject.toml runtime/pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/tools.txt
	$(BIN)/uv pip sync --quiet --require-hashes --python $(BIN)/python requirements/dev.txt requirements/models.txt
	$(BIN)/uv pip install --quiet --no-deps --no-build-isolation --python $(BIN)/python -e operator -e runtime
	touch $@

$(CLIENTS_STAMP): requirements/clients.txt | $(STAMP)
	$(PYTHON) -m venv --without-pip $(CLIENTS)
	$(BIN)/uv pip sync --quiet --require-hashes --python $(CLIENTS)/bin/python requirements/clients.txt
	touch $@

$(TORCH_STAMP): requirements/dev-torch.txt $(STAMP)
	$(PYTHON) -m venv --without-pip $(TORCH)
	$(BIN)/uv pip sync --quiet --require-hashes --python $(TORCH)/bin/python requirements/dev-torch.txt
	$(BIN)/uv pip install --quiet --no-deps --no-build-isolation --python $(TORCH)/bin/python -e operator -e runtime
	touch $@

# onnxruntime-gpu takes the place of onnxruntime: both are one module.
$(GPU_STAMP): requirements/dev.txt requirements/runtime-onnx-gpu.txt $(STAMP)
	$(PYTHON) -m venv --without-pip $(GPU)
	$(BIN)/uv pip sync --quiet --require-hashes --python $(GPU)/bin/python requirements/dev.txt
	$(BIN)/uv pip uninstall --quiet --python $(GPU)/bin/python onnxruntime
	$(BIN)/uv pip install --quiet --no-deps --require-hashes --python $(GPU)/bin/python \
	  -r requirements/runtime-onnx-gpu.txt
	$(BIN)/uv pip install --quiet --no-deps --no-build-isolation --python $(GPU)/bin/python -e operator -e runtime
	touch $@

lock: ## Write the locks anew from requirements/*.in
	for name in dev dev-torch; do \
	  $(BIN)/uv pip compile --quiet --generate-hashes --no-header --no-emit-index-url --no-annotate \
	    --excludes requirements/excludes.txt \
	    --python-version 3.11 --python-platform x86_64-manylinux_2_31 requirements/$$name.in \
	    -o requirements/$$name.txt || exit 1; done
	for name in clients operator runtime-onnx runtime-onnx-gpu runtime-torch tools; do \
	  $(BIN)/uv pip compile --quiet --generate-hashes --no-header --no-emit-index-url --no-annotate \
	    --excludes requirements/excludes.txt \
	    --python-version 3.11 --python-platform linux requirements/$$name.in -o requirements/$$name.txt || exit 1; done
	$(BIN)/uv pip compile --quiet --no-deps --generate-hashes --no-header --no-emit-index-url --no-annotate \
	  --python-version 3.11 --python-platform linux requirements/models.in -o requirements/models.txt
	for name in triton torchserve mlserver kserve autoscaling; do \
	  $(BIN)/uv pip compile --quiet --generate-hashes --no-header --no-emit-index-url --no-annotate \
	    --python-version 3.11 --python-platform x86_64-manylinux_2_35 requirements/bench-$$name.in \
	    -o requirements/bench-$$name.txt || exit 1; done

format: $(STAMP) ## Format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

golden: $(STAMP) crds ## Write the golden files and docs/metrics.md anew; the diff is the review
	$(PYTEST) tests/operator tests/runtime/metrics --update-golden

crds: $(STAMP) ## Write the CRD from the models
	$(BIN)/python -m mooring_operator crds > crds/inferenceservices.yaml
	$(BIN)/python -m mooring_operator crds --chart > charts/mooring/templates/crds.yaml

images: $(STAMP) ## Build the operator's and the runtime's image (VARIANT=onnx-gpu or torch for the large ones)
	$(BIN)/python -m tests.cluster images operator runtime:$(or $(VARIANT),onnx)

cluster: $(STAMP) ## Start a two-node Kubernetes for trying things (`python -m tests.cluster --help`)
	$(BIN)/python -m tests.cluster up --nodes 2
