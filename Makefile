# make help | setup | demo | test | test-fast | test-shuffled | test-versions | fuzz | lint | format | docs | clean
# Options: PYTHON=python3.12  MMCV=full (compiled ops, takes 12+ minutes to build)  TORCH_INDEX=<url of a package index with CPU or other CUDA builds>
# The demo with three seeds: make demo SEEDS='0 1 2'; a first look: make demo QUICK=1

PYTHON ?= python3
MMCV ?= lite
VENV ?= .venv
PY := $(VENV)/bin/python
READY := $(VENV)/.ready-$(MMCV)
UV := $(shell command -v uv 2>/dev/null)
# Some machines set this; without byte code, importing torch and timm takes three times as long.
unexport PYTHONDONTWRITEBYTECODE

# A worker takes a core and up to 3 GB; each is one thread wide (tests/conftest.py).
WORKERS ?= $(shell n=$$(getconf _NPROCESSORS_ONLN); echo $$(( n < 8 ? n : 8 )))
# Large blocks are kept instead of given back to the system: a tenth off the steps of a ViT-B.
PYTEST = MALLOC_MMAP_THRESHOLD_=33554432 MALLOC_TRIM_THRESHOLD_=3000000000 $(PY) -m pytest -n $(WORKERS) --dist worksteal
FUZZ ?= 20
SEED := $(or $(SEED),$(shell date +%s))

SEEDS ?= 0
# QUICK=1: a first look, the same way in a minute and a half
QUICK ?=
DEMO_SUITE = configs/suites/demo$(if $(QUICK),-quick).py
DEMO ?= work_dirs/demo$(if $(QUICK),-quick)

.PHONY: help setup demo test test-fast test-shuffled test-versions fuzz lint type format docs clean gpu-report
.DEFAULT_GOAL := help

help:
	@echo 'make setup   environment in $(VENV): pinned dependencies, this package editable (MMCV=lite|full)'
	@echo 'make demo    data -> pretraining (MAE, MAE + FAMT) -> detection and segmentation -> table and report; continues where it was interrupted'
	@echo 'make demo QUICK=1  a first look in a minute and a half: all of it runs, too short for a gain'
	@echo 'make test    the test-suite, one process per core (WORKERS=2)'
	@echo 'make test-fast  its unit tests: no tools, no training, about a minute on 2 cores'
	@echo 'make test-shuffled  the test-suite in random order, with another hash seed (SEED=... the same again)'
	@echo 'make test-versions  the wheel with the oldest and newest versions, and the forks, under each Python here (hours; ARGS="--sets oldest")'
	@echo 'make fuzz    the property tests with new examples, FUZZ=20 times as many (SEED=... draws the same again)'
	@echo 'make gpu-report  tests and benchmarks of this machine'"'"'s GPU, under 20 minutes (ARGS="--device cpu --quick" tries it on a CPU)'
	@echo 'make lint    ruff and mypy'
	@echo 'make type    mypy alone'
	@echo 'make format  ruff, writing'
	@echo 'make docs    the site of docs/ in site/, links checked (mkdocs-material is installed for it)'
	@echo 'make clean   remove the demos (data/scenes, $(DEMO)); the environment stays'

setup: $(READY)

$(PY):
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if (3, 10) <= v < (3, 14) else f"error: Python 3.10 to 3.13 is needed, $(PYTHON) is {v[0]}.{v[1]}: make $(MAKECMDGOALS) PYTHON=python3.12")'
ifeq ($(UV),)
	$(PYTHON) -m venv $(VENV)
else
	$(UV) venv -q --allow-existing --python "$$($(PYTHON) -c 'import sys; print(sys.executable)')" $(VENV)
endif

$(READY): setup.cfg pyproject.toml constraints.txt | $(PY)
	@echo 'installing (about 3 GB with the CUDA build of torch)'
ifeq ($(UV),)
	$(PY) -m pip install -q --upgrade pip
	-$(PY) -m pip uninstall -q -y $(if $(filter full,$(MMCV)),mmcv-lite,mmcv)
	$(if $(filter full,$(MMCV)),$(PY) -m pip install -q -c constraints.txt torch setuptools wheel psutil ninja $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)))
	$(PY) -m pip install -c constraints.txt $(if $(filter full,$(MMCV)),--no-build-isolation) $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) -e '.[$(MMCV),test]'
else
	-$(UV) pip uninstall -q --python $(PY) $(if $(filter full,$(MMCV)),mmcv-lite,mmcv)
	$(if $(filter full,$(MMCV)),$(UV) pip install -q --python $(PY) -c constraints.txt torch setuptools wheel psutil ninja $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX) --index-strategy unsafe-best-match))
	$(UV) pip install --python $(PY) --compile-bytecode -c constraints.txt $(if $(filter full,$(MMCV)),--no-build-isolation-package mmcv) $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX) --index-strategy unsafe-best-match) -e '.[$(MMCV),test]'
endif
	@rm -f $(VENV)/.ready-*; touch $@

test: $(READY)
	$(PYTEST) --durations=20

test-fast: $(READY)
	$(PYTEST) -m 'not slow'

# Another order of the tests and another hash seed each time: what one test leaves behind must not decide another.
test-shuffled: $(READY)
	@echo 'seed $(SEED); the same order again: make test-shuffled SEED=$(SEED)'
	PYTHONHASHSEED=$$(( $(SEED) % 4294967296 )) $(PYTEST) --random-order --random-order-bucket=package --random-order-seed=$(SEED)

# Environments of 3 to 5 GB each, one after the other: tests/helpers/try_versions.py --help.
test-versions: $(READY)
	$(PY) tests/helpers/try_versions.py $(ARGS)

fuzz: $(READY)
	@echo 'seed $(SEED); the same examples again: make fuzz SEED=$(SEED) FUZZ=$(FUZZ)'
	FUZZ=$(FUZZ) $(PYTEST) -m hypothesis --hypothesis-profile=fuzz --hypothesis-seed=$(SEED)
	$(PY) -W ignore tests/helpers/fuzz_configs.py --count 500 --seed $(SEED)

lint: $(READY)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy

type: $(READY)
	$(VENV)/bin/mypy

format: $(READY)
	$(VENV)/bin/ruff check --fix .

docs: $(READY)
ifeq ($(UV),)
	@$(PY) -c 'import material' 2>/dev/null || $(PY) -m pip install -q -c constraints.txt -e '.[docs]'
else
	@$(PY) -c 'import material' 2>/dev/null || $(UV) pip install -q --python $(PY) -c constraints.txt -e '.[docs]'
endif
	@NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build --strict
	@echo 'site/index.html'

# docs/gpu.md; the files lie in docs/results/gpu.
gpu-report: $(READY)
	@$(PY) -W ignore tools/gpu_report.py $(ARGS)

# Two runs at a time with one thread each, or one on each GPU; what is done is not run again (configs/suites/demo.py).
demo: $(READY)
	@$(PY) tools/transfer.py $(DEMO_SUITE) --seeds $(SEEDS) --work-dir $(DEMO)
	@$(PY) tools/transfer.py $(DEMO_SUITE) --seeds $(SEEDS) --work-dir $(DEMO) --table --format html --out $(DEMO)/report.html
	@echo 'detections side by side, curves: $(DEMO)/report.html'

clean:
	rm -rf data/scenes work_dirs/demo work_dirs/demo-quick $(DEMO)
