# make train | make test | make reproduce. Windows has no make: the README gives the same lines.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help setup train test lint format notebooks results reproduce torture

help:
	@echo "make train       train version 10 on tiny Shakespeare (about two minutes on two CPU cores)"
	@echo "make test        lint, and run the tests"
	@echo "make format      lay the code out as ruff wants it"
	@echo "make notebooks   write notebooks/ anew from lessons/"
	@echo "make results     draw results/ anew, and its tables in the README, the lessons and the notebooks"
	@echo "make reproduce   train versions 1 to 9 by the lecture's recipes and check their losses"
	@echo "make torture     kill and resume 100 runs, and hand in all that is wrong (up to 15 minutes)"
	@echo "Each makes the environment .venv first, if it is not there."

setup: $(VENV)/ready

$(VENV)/ready: requirements.txt constraints.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "babygpt needs Python 3.11 or newer, and $(PYTHON) is" `$(PYTHON) --version` "- try: make PYTHON=python3.11"; exit 2; }
	@echo "Making the environment $(VENV) (once, a minute or more) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet -r requirements.txt -c constraints.txt -e .
	@touch $@

train: setup
	@$(BIN)/python -m babygpt.v10

test: setup lint
	@$(BIN)/python -m pytest

lint: setup
	@$(BIN)/python -m ruff check .
	@$(BIN)/python -m ruff format --check .

format: setup
	@$(BIN)/python -m ruff check --fix .
	@$(BIN)/python -m ruff format .

notebooks: setup
	@$(BIN)/python -m babygpt.course.notebooks

results: setup
	@$(BIN)/python -m babygpt.course.publish
	@$(BIN)/python -m babygpt.course.notebooks

reproduce: setup
	@$(BIN)/python -m babygpt.reproduce

torture: setup
	@$(BIN)/python tests/torture.py
