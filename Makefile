# make help | setup | demo | test | lint | format | clean
# Options: PYTHON=python3.12  MMCV=full (compiled ops, takes 12+ minutes to build)  TORCH_INDEX=<url of a package index with CPU or other CUDA builds>
# Other seeds of the demo: make demo SEED=1 DEMO=work_dirs/demo-seed1

PYTHON ?= python3
MMCV ?= lite
VENV ?= .venv
PY := $(VENV)/bin/python
READY := $(VENV)/.ready-$(MMCV)
UV := $(shell command -v uv 2>/dev/null)
SHELL := /bin/bash
.SHELLFLAGS := -o pipefail -c
# Some machines set this; without byte code, importing torch and timm takes three times as long.
unexport PYTHONDONTWRITEBYTECODE

SEED ?= 0
DEMO ?= work_dirs/demo
SCENES := data/scenes/meta.json
RUN_ARGS = --work-dir $(@D) --seed $(SEED) --resume
step = @printf '\033[1m== %s\033[0m\n' '$(1)'
# What is worth a line on the screen, with the name of the run before it; all of it is in the run's log. Errors are not filtered.
PROGRESS = | sed -unE 's;^[0-9/]+ ([0-9:]+) - mmengine - [A-Z]+ - ((Epoch|Iter)\(|result written|[Rr]andom|Load|resumed);\1 [$(notdir $(@D))] \2;p'

.PHONY: help setup demo test lint format clean
.DEFAULT_GOAL := help

help:
	@echo 'make setup   environment in $(VENV): pinned dependencies, this package editable (MMCV=lite|full)'
	@echo 'make demo    data -> pretraining (MAE, MAE + FAMT) -> detection and segmentation -> table; continues where it was interrupted'
	@echo 'make test    the test-suite'
	@echo 'make lint    ruff'
	@echo 'make format  ruff, writing'
	@echo 'make clean   remove the demo (data/scenes, $(DEMO)); the environment stays'

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
	$(PY) -m pytest

lint: $(READY)
	$(VENV)/bin/ruff check .

format: $(READY)
	$(VENV)/bin/ruff check --fix .

PRETRAININGS := mae mae_famt
records = $(patsubst %,$(DEMO)/$(1)%/result.json,$(2))
RESULTS := $(call records,,$(PRETRAININGS)) $(call records,det_,random $(PRETRAININGS)) $(call records,seg_,random $(PRETRAININGS))

# Two runs at a time with one thread each: so small a model gains nothing from a second thread.
demo: $(READY)
	@OMP_NUM_THREADS=1 PYTHONWARNINGS=ignore $(MAKE) --no-print-directory -j2 $(RESULTS)
	@printf '\n\033[1m== result table\033[0m  (work dirs in $(DEMO): logs, pictures, checkpoints)\n'
	@$(PY) tools/table.py $(RESULTS:/result.json=)

$(SCENES): | $(READY)
	$(call step,data: scenes made on this machine)
	@$(PY) tools/make_scenes.py --out data/scenes

# Each run goes on from its newest checkpoint, and is done when its result.json is there.
$(call records,,$(PRETRAININGS)): $(DEMO)/%/result.json: $(SCENES)
	$(call step,pretraining on 4000 unlabelled scenes: $*)
	@$(PY) tools/pretrain.py configs/pretrain/$*_vit-demo_scenes.py $(RUN_ARGS) $(PROGRESS)

$(call records,det_,$(PRETRAININGS)): $(DEMO)/det_%/result.json: $(DEMO)/%/result.json
	$(call step,detection from $*)
	@$(PY) tools/train.py configs/detection/mask-rcnn_vit-demo_scenes.py $(RUN_ARGS) --pretrained $(DEMO)/$* $(PROGRESS)

$(call records,seg_,$(PRETRAININGS)): $(DEMO)/seg_%/result.json: $(DEMO)/%/result.json
	$(call step,segmentation from $*)
	@$(PY) tools/train.py configs/segmentation/upernet_vit-demo_scenes.py $(RUN_ARGS) --pretrained $(DEMO)/$* $(PROGRESS)

$(DEMO)/det_random/result.json: $(SCENES)
	$(call step,detection from random init)
	@$(PY) tools/train.py configs/detection/mask-rcnn_vit-demo_scenes.py $(RUN_ARGS) $(PROGRESS)

$(DEMO)/seg_random/result.json: $(SCENES)
	$(call step,segmentation from random init)
	@$(PY) tools/train.py configs/segmentation/upernet_vit-demo_scenes.py $(RUN_ARGS) $(PROGRESS)

clean:
	rm -rf data/scenes $(DEMO)
