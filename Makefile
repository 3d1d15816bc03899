# make train | make test | make reproduce. Windows has no make: the README gives the same lines.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet

# On Linux, torch from PyPI comes with 2.8 GB of CUDA. Where there is no NVIDIA GPU, PyTorch's own index has a build
# without. "make TORCH=cuda" and "make TORCH=cpu" choose by hand.
TORCH ?= $(shell nvidia-smi -L >/dev/null 2>&1 && echo cuda || echo cpu)
CPU_BUILDS := https://download.pytorch.org/whl/cpu
SYSTEM := $(shell uname -s)

.PHONY: help setup setup-dev train test lint format notebooks results reproduce torture

help:
	@echo "make train       train version 10 on tiny Shakespeare"
	@echo "make test        lint, and run the tests"
	@echo "make format      format the code with ruff"
	@echo "make notebooks   write notebooks/ from lessons/"
	@echo "make results     draw results/, and update its tables in the README, the lessons and the notebooks"
	@echo "make reproduce   train versions 1 to 9 by the lecture's recipes and check their losses"
	@echo "make torture     kill and resume 100 runs, and try every wrong input (up to 15 minutes)"
	@echo "The first time, each one creates the environment .venv."

setup: $(VENV)/ready

setup-dev: $(VENV)/ready-dev

$(VENV)/ready: requirements.txt constraints.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "babygpt needs Python 3.11 or newer, and $(PYTHON) is" `$(PYTHON) --version 2>&1` "- try: make PYTHON=python3.11"; exit 2; }
	@echo "Creating the environment $(VENV) (once; this takes a few minutes) ..."
	@$(PYTHON) -m venv $(VENV)
	@if [ "$(SYSTEM)" = Linux ] && [ "$(TORCH)" = cpu ]; then \
		$(PIP) --no-deps --index-url $(CPU_BUILDS) --retries 0 --timeout 15 -c constraints.txt torch >/dev/null 2>&1 || \
		echo "PyTorch's index of CPU builds cannot be reached. PyPI's build of torch works as well, but is 2.8 GB larger."; fi
	@$(PIP) -r requirements.txt -c constraints.txt -e . || \
		{ echo "The installation failed; the reason is above. Without a network it cannot work. Fix it, and run make again."; exit 2; }
	@touch $@

$(VENV)/ready-dev: $(VENV)/ready requirements-dev.txt
	@$(PIP) -r requirements-dev.txt -c constraints.txt
	@touch $@

train: setup
	@$(BIN)/python -m babygpt.v10

# As many processes as cores, up to 4, with one thread each.
test: setup-dev lint
	@$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist worksteal

lint: setup-dev
	@$(BIN)/python -m ruff check .
	@$(BIN)/python -m ruff format --check .

format: setup-dev
	@$(BIN)/python -m ruff check --fix .
	@$(BIN)/python -m ruff format .

notebooks: setup-dev
	@$(BIN)/python -m babygpt.course.notebooks

results: setup-dev
	@$(BIN)/python -m babygpt.course.publish
	@$(BIN)/python -m babygpt.course.notebooks

reproduce: setup
	@$(BIN)/python -m babygpt.reproduce

torture: setup-dev
	@$(BIN)/python tests/torture.py
