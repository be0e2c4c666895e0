# One word per habit. Every target that runs Python sets up .venv first; a second call installs nothing.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Whole files go to the processes, in the order in which they were collected.
SHARED := -n logical --maxprocesses 8 --dist loadfile --no-loadscope-reorder

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint types format docs lock clean

help:  ## show this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 10

setup: $(STAMP)  ## create .venv from the lock file

# setup.py is not a prerequisite: an editable install follows the sources by itself.
$(STAMP): requirements/lock.txt tools/setup_env.sh
	PYTHON="$(PYTHON)" tools/setup_env.sh
	@touch $@

demo: $(STAMP)  ## pre-train, detect, compare: the main job on a toy world
	$(BIN)/python tools/run_benchmark.py configs/suites/demo.py --jobs 2

test: $(STAMP)  ## run the whole test suite, a process a core
	$(BIN)/python -m pytest $(SHARED)

lint: $(STAMP)  ## check style, spelling and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell
	$(BIN)/mypy

format: $(STAMP)  ## rewrite files in the house style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(STAMP)  ## write the documents' tables, check the documents, build them as a site, work_dirs/docs/site
	$(BIN)/python tools/build_docs.py --tables
	$(BIN)/python -m pytest -q tests/test_readme.py tests/test_docs.py tests/test_model_index.py
	$(BIN)/python tools/build_docs.py

lock: $(STAMP)  ## resolve requirements/dev.in anew
	$(BIN)/uv pip compile requirements/dev.in --overrides requirements/overrides.txt --universal --python-version 3.10 \
	  --fork-strategy requires-python --no-annotate --no-header \
	  --no-emit-package opencv-python-headless -o requirements/lock.txt

clean:  ## remove what runs have written, not the environment
	rm -rf work_dirs data/toyworld .pytest_cache .mypy_cache .ruff_cache
