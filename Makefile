# Everything on a bare machine with Python >= 3.10:
#   make demo    set up, then the main job from end to end; look at demo/index.html
#   make test    set up, then lint, types and tests
# uv is used where it is installed, else the venv and pip modules of Python.

SHELL := /bin/bash
VENV ?= .venv
PYTHON ?= python3
OUTPUT ?= demo
SEED ?= 0
PY := $(VENV)/bin/python
READY := $(VENV)/.seas-aug-ready
UV := $(shell command -v uv 2>/dev/null)
ifeq ($(UV),)
  HAS_VENV := $(PY) -m pip --version
  MAKE_VENV := $(PYTHON) -m venv
  INSTALL := $(PY) -m pip install --disable-pip-version-check -q
  REINSTALL := --force-reinstall
else
  HAS_VENV := $(PY) --version
  MAKE_VENV := $(UV) venv -q --allow-existing --python $(PYTHON)
  INSTALL := $(UV) pip install -q --python $(PY)
  REINSTALL := --reinstall
endif

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-slow lint types format clean

help:
	@sed -n 's/^#   //p' Makefile

setup: $(READY)

# opencv-python (a dependency of this package) and opencv-python-headless (one of anomalib's) write the same module cv2.
# The former needs libGL, libxcb and glib from the system, which a server without a display lacks, so the headless one
# is written last.
$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "Python 3.10 or newer is needed, this is " + sys.version.split()[0] + "; name another one: make PYTHON=python3.12 ...")'
	@$(HAS_VENV) >/dev/null 2>&1 || $(MAKE_VENV) $(VENV)
	$(INSTALL) -e ".[dev]"
	$(INSTALL) --no-deps $(REINSTALL) "opencv-python-headless==$$($(PY) -c 'from importlib.metadata import version; print(version("opencv-python-headless"))')"
	@$(PY) -c 'import cv2'
	@touch $@

demo: setup
	$(PY) -m seas_aug demo --output $(OUTPUT) --seed $(SEED)

test: lint types
	# two processes of one thread each, a file of tests to one of them
	OMP_NUM_THREADS=1 $(PY) -m pytest --numprocesses auto --maxprocesses 2 --dist loadfile

test-slow: setup
	$(PY) -m pytest -m slow

lint: setup
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .

types: setup
	$(PY) -m mypy

format: setup
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

clean:
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
