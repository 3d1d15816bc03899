# make train | make test | make reproduce. Windows has no make: the README gives the lines of make train.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Most of what is installed is never imported. Python compiles the rest when it is first imported, and keeps the result.
PIP := $(BIN)/python -m pip install --quiet --no-compile
unexport PYTHONDONTWRITEBYTECODE

# On Linux, torch from PyPI brings 2.8 GB of CUDA along. uv finds out whether there is a GPU, and installs the build
# without CUDA if there is none. "make TORCH=cpu" and "make TORCH=cu130" choose by hand.
TORCH ?= auto
SYSTEM := $(shell uname -s)

.PHONY: help setup setup-dev train test lint format notebooks lessons pages record sheets slides workshop results reproduce torture

help:
	@echo "make train       train version 10 on tiny Shakespeare"
	@echo "make test        lint, and run the tests"
	@echo "make format      format the code with ruff"
	@echo "make notebooks   write notebooks/ from lessons/"
	@echo "make lessons     run every solution notebook in full, and compare the numbers in the text with its output"
	@echo "make record      the same, and record its runs in results/lessons/ for BABYGPT_RECORDED=1"
	@echo "make pages       write the lessons with all outputs as web pages, in site/; they need no network"
	@echo "make slides      build decks for lessons 0 to 10 in site/slides/; needs Node.js"
	@echo "make sheets      draw the sheets to print, as PDF in site/sheets/"
	@echo "make workshop    build all that a workshop needs: its pages in workshop/, and lessons, slides and sheets in site/"
	@echo "make results     redraw results/, and its tables in the README, the lessons and the notebooks"
	@echo "make reproduce   train versions 1 to 9 by the lecture's recipes and compare their losses with recorded ones"
	@echo "make torture     kill and resume 100 runs, and try every wrong input (up to 15 minutes)"
	@echo "The first time, each one creates the environment .venv."

setup: $(VENV)/ready

setup-dev: $(VENV)/ready-dev

$(VENV)/ready: requirements.txt constraints.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
		{ echo "babygpt needs Python 3.11 or newer, and $(PYTHON) is" `$(PYTHON) --version 2>/dev/null || echo not installed` "- try: make PYTHON=python3.11"; exit 2; }
	@echo "Creating the environment $(VENV) (once; this takes a minute or two) ..."
	@$(PYTHON) -m venv $(VENV)
	@if [ "$(SYSTEM)" = Linux ]; then \
		{ $(PIP) uv && UV_HTTP_RETRIES=0 $(BIN)/uv pip install --quiet --python $(BIN)/python --torch-backend=$(TORCH) \
			--constraint constraints.txt torch; } >/dev/null 2>&1 || \
		echo "The build of PyTorch without CUDA cannot be reached. The usual one works as well, but it is larger."; fi
	@$(PIP) -r requirements.txt -c constraints.txt -e . || \
		{ echo "The installation failed; the reason is above. Without a network it cannot work. Fix it, and run make again."; exit 2; }
	@touch $@

$(VENV)/ready-dev: $(VENV)/ready requirements-dev.txt
	@$(PIP) -r requirements-dev.txt -c constraints.txt
	@touch $@

train: setup
	@$(BIN)/python -m babygpt.v10

# One process more than there are cores, up to 4, with one thread each.
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

lessons: setup-dev
	@$(BIN)/python tests/full_lessons.py

pages: setup-dev
	@$(BIN)/python -m babygpt.course.pages

record: setup-dev
	@rm -rf results/lessons
	@BABYGPT_RECORDED=record $(BIN)/python tests/full_lessons.py

slides: setup-dev
	@$(BIN)/python -m babygpt.workshop.slides

sheets: setup-dev
	@$(BIN)/python -m babygpt.workshop.sheets

workshop: pages slides sheets
	@$(BIN)/python -m babygpt.workshop.publish

results: setup-dev
	@$(BIN)/python -m babygpt.course.publish
	@$(BIN)/python -m babygpt.course.notebooks

reproduce: setup
	@rm -rf runs/reproduce
	@$(BIN)/python -m babygpt.compare --versions 1-9 --out-dir runs/reproduce

torture: setup-dev
	@$(BIN)/python tests/torture.py
