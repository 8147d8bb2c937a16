# Two commands, each the whole set-up from a fresh clone: `make demo` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
DEMO_OUT ?= demo
EVIDENCE_WORK ?= evidence
EVIDENCE_WORKERS ?= 2

# Constraints pin torch to a build that is tested; they bind every pip call below.
export PIP_CONSTRAINT := $(CURDIR)/constraints.txt
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# The embedded text encoder is a local folder: nothing is looked up on a hub.
export HF_HUB_OFFLINE := 1

.PHONY: help demo evidence campaigns test lint types tests docs test-gpu sanitize-gpu test-lowest clean

help: ## Show this help.
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 16

demo: $(VENV)/.demo ## Simulate, pretrain with and without similarity, compare: demo/report.html.
	$(BIN)/selip demo --out $(DEMO_OUT)

evidence: $(VENV)/.test ## The study of which target helps, some nine hours of one core; a stop loses one run.
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/evidence.py run --work $(EVIDENCE_WORK) --workers $(EVIDENCE_WORKERS)
	$(BIN)/python benchmarks/evidence.py summary --work $(EVIDENCE_WORK)

test: lint types tests docs ## Everything that must hold before a change lands.

lint: $(VENV)/.test ## Style and format.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.test ## Static types.
	$(BIN)/mypy

tests: $(VENV)/.test ## Tests and doctests, with coverage.
	$(BIN)/coverage erase
	OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses 2 --dist worksteal --cov --cov-report term

campaigns: $(VENV)/.test ## Long random searches for failures; the counts go into docs/reliability.md.
	OMP_NUM_THREADS=1 $(BIN)/pytest tests/campaigns --campaign-scale 20 --campaign-results reliability

docs: $(VENV)/.test ## Documentation, with warnings as errors.
	$(BIN)/sphinx-build --fail-on-warning --keep-going --quiet -b html docs docs/_build/html

test-gpu: $(VENV)/.test ## Tests that need a CUDA device.
	$(BIN)/pytest -m gpu

sanitize-gpu: $(VENV)/.test ## The Triton kernels under compute-sanitizer; needs a CUDA device and the CUDA toolkit.
	for tool in memcheck racecheck; do \
		compute-sanitizer --tool $$tool --target-processes all --error-exitcode 1 \
			$(BIN)/python -m pytest -m gpu tests/losses/test_triton.py || exit 1; \
	done

test-lowest: ## Tests on the lowest versions that pyproject.toml allows; needs uv and, on Linux, 3 GB.
	env -u PIP_CONSTRAINT uv venv --clear .venv-lowest
	VIRTUAL_ENV=.venv-lowest uv pip install --resolution lowest-direct --editable ".[dev]"
	.venv-lowest/bin/python -m pytest -m "not packaging and not gpu" --ignore tests/docs

clean: ## Remove the environment and everything built.
	rm -rf $(VENV) .venv-lowest build dist docs/_build .coverage* .mypy_cache .pytest_cache .ruff_cache

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: $(BIN)/python pyproject.toml constraints.txt
	$(BIN)/pip install --quiet --editable ".[demo]"
	touch $@

# The extras nnunet and timm without torchvision: its build must be torch's, and no network uses it.
$(VENV)/.test: $(BIN)/python pyproject.toml constraints.txt
	$(BIN)/pip install --quiet --editable ".[dev,docs]"
	$(BIN)/pip install --quiet --no-deps "dynamic-network-architectures==0.4.4" "timm==1.0.22"
	touch $@ $(VENV)/.demo
