# The front door: `make help` lists what there is, `make pretrain` walks the whole way.
# Every step goes on where it was interrupted and says when it has nothing to do.

SHELL := /bin/bash
.NOTPARALLEL:
.DEFAULT_GOAL := help
unexport PYTHONDONTWRITEBYTECODE

# What can be set on the command line, as in `make pretrain RECIPE=article NPROC=8`.
GPUS := $(words $(filter GPU,$(shell nvidia-smi -L 2>/dev/null)))
DATASET ?= bach
RECIPE ?= $(if $(filter 0,$(GPUS)),tiny,article)
NPROC ?= $(if $(filter 0,$(GPUS)),1,$(GPUS))
TP ?= 1
PP ?= 1
ARGS ?=
N ?= 4
BARS ?= 8
SEED ?= 7
SWEEP ?= profiling/sweeps/$(if $(filter 0,$(GPUS)),cpu,$(if $(filter 1,$(GPUS)),single-gpu,article-table2)).yaml
BUDGET ?= $(if $(filter 0,$(GPUS)),4m,2h)
DATA ?= data/$(notdir $(DATASET))
RUN ?= runs/$(notdir $(DATASET))-$(RECIPE)

VENV := .venv
READY := $(VENV)/ready
CLOCK := build/clock
MUSIC := $(VENV)/bin/megatron-music
LAYOUT := parallel.tensor_model_parallel_size=$(TP) parallel.pipeline_model_parallel_size=$(PP)
COMPOSE = $(MUSIC) sample $(RUN)/hf -o $(RUN)/music -n $(N) --bars $(BARS) --seed $(SEED)
LAUNCH := $(if $(filter 1,$(NPROC)),$(MUSIC),$(VENV)/bin/torchrun --standalone --nproc-per-node $(NPROC) -m megatron_music)

# The first Python on the path that versions are pinned for. Looked up when first needed, and once.
PINS_OF = -c 'import sys; print("constraints/py%d%d.txt" % sys.version_info[:2])' 2>/dev/null
ifndef PYTHON
PYTHON = $(eval PYTHON := $(shell for python in python3.11 python3.12 python3; do \
	[ -f "$$($$python $(PINS_OF))" ] && echo $$python && break; done))$(PYTHON)
endif
PINS = $(eval PINS := $(shell $(PYTHON) $(PINS_OF)))$(PINS)

# Without a GPU, and where pip is not told where to find wheels, torch comes without its CUDA packages.
ifndef TORCH_INDEX
TORCH_INDEX = $(if $(filter 0,$(GPUS)),$(eval TORCH_INDEX := $(shell $(PYTHON) -m pip config list 2>/dev/null \
	| grep -q find-links || echo https://download.pytorch.org/whl/cpu))$(TORCH_INDEX))
endif

INSTALL = $(VENV)/bin/python -m pip install --disable-pip-version-check --no-compile --progress-bar off \
	$(addprefix --extra-index-url ,$(TORCH_INDEX)) -c $(PINS) -e '.[train,dev]'

# What a person sees of it: every twentieth package, each large download, the unpacking.
COUNT = $$(grep -c == $(PINS))
TOLD = { n=0; while read -r what name rest; do case "$$what $$name $$rest" in \
	Collecting*) n=$$((n + 1)); ((n % 20)) || echo "set-up: $$n of about $(COUNT) packages found, $$SECONDS s";; \
	Downloading*\([0-9][0-9][0-9]*MB\)*) echo "set-up: downloading $$name $$rest";; \
	Installing\ collected*) echo "set-up: unpacking, $$SECONDS s";; esac; done; }

# $(call timed,NAME,COMMAND): run COMMAND and note how long it took.
timed = SECONDS=0; $(2) && echo "$(1) $$SECONDS s" >> $(CLOCK)

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "Settings: DATASET=$(DATASET) RECIPE=$(RECIPE) NPROC=$(NPROC) TP=$(TP) PP=$(PP) N=$(N) BARS=$(BARS) SEED=$(SEED)"
	@echo "          ARGS='train.lr=1e-3 ...' for the recipe, PYTHON=python3.11, TORCH_INDEX=URL"

.PHONY: setup
setup: $(READY) ## make the virtual environment .venv with pinned versions

# An environment without its ready file was interrupted: it is made anew.
$(READY): pyproject.toml $(wildcard constraints/*.txt)
	@[ -f "$(PINS)" ] || { echo "error: no Python on the path that versions are pinned for in constraints/;" \
		"install Python 3.11 or give PYTHON=/path/to/python3.11" >&2; exit 1; }
	@mkdir -p build
	@echo "set-up: $(PYTHON), $(COUNT) pinned packages, into $(VENV); half a minute where the network is fast"
	@if [ -f $@ ]; then rm $@; else $(PYTHON) -m venv --clear $(VENV); fi
	@set -o pipefail; $(call timed,set-up,$(INSTALL) 2> build/setup.log | $(TOLD)) || { \
		grep -v '^WARNING' build/setup.log | tail -n 4 >&2; exit 1; }
	@$(MUSIC) --help > /dev/null
	@touch $@

.PHONY: data
data: setup ## build the data set DATASET into data/
	@$(MUSIC) data build $(DATASET) -o $(DATA)

.PHONY: pretrain
pretrain: layout clock setup ## the whole way: data, training, export, four pieces of music
	@$(call timed,data,$(MUSIC) data build $(DATASET) -o $(DATA))
	@$(call timed,train,$(LAUNCH) train $(RECIPE) --data $(DATA) --run $(RUN) $(LAYOUT) $(ARGS))
	@$(call timed,export,$(MUSIC) export $(RUN) -o $(RUN)/hf)
	@$(call timed,music,$(COMPOSE))
	@echo "took: $$(paste -sd , $(CLOCK) | sed 's/,/, /g')"

.PHONY: layout
layout:
	@for n in "$(NPROC)" "$(TP)" "$(PP)"; do [[ "$$n" =~ ^[1-9][0-9]*$$ ]] || { \
		echo "error: NPROC, TP and PP must be whole numbers from 1 (got '$$n')" >&2; exit 2; }; done
	@(( $(NPROC) % ($(TP) * $(PP)) == 0 )) || { echo "error: NPROC=$(NPROC) processes cannot hold TP=$(TP) x PP=$(PP);" \
		"use a multiple of $$(($(TP) * $(PP)))" >&2; exit 2; }

.PHONY: clock
clock:
	@mkdir -p build && rm -f $(CLOCK)

.PHONY: sample
sample: setup ## compose N pieces of BARS bars with the model of the run RUN, by SEED
	@$(COMPOSE)

.PHONY: profile
profile: setup ## train briefly in every layout of SWEEP for at most BUDGET; report the best
	@$(MUSIC) profile sweep $(SWEEP) --budget $(BUDGET)

.PHONY: test
test: setup ## run the tests; ARGS='-k audio' for some
	@$(VENV)/bin/python -m pytest $(ARGS)

.PHONY: check
check: setup ## format, lint, types, import rules
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/mypy
	@$(VENV)/bin/lint-imports

.PHONY: format
format: setup ## put the sources into their standard form
	@$(VENV)/bin/ruff format .
	@$(VENV)/bin/ruff check --fix .

.PHONY: doctor
doctor: setup ## say what this machine has, and how to mend what it lacks
	@$(MUSIC) doctor

.PHONY: clean
clean: ## remove the environment and caches; data/ and runs/ stay
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -not -path './data/*' -not -path './runs/*' -prune -exec rm -rf {} +
	@echo "data/ and runs/ were left alone; remove them yourself if you mean to"
