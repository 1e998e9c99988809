# The front door: `make help` lists what there is, `make pretrain` walks the whole way.
# Every step resumes where it was interrupted and says when it has nothing to do.

SHELL := /bin/bash
ifndef BESIDE
.NOTPARALLEL:
endif
.DEFAULT_GOAL := help
unexport PYTHONDONTWRITEBYTECODE

# What can be set on the command line, as in `make pretrain RECIPE=article NPROC=8`.
GPUS := $(shell launch/count_gpus.sh)
PYTHON_ENV ?=
RUNTIME ?= $(if $(PYTHON_ENV),local,auto)
SLURM := $(filter slurm,$(RUNTIME))
SOURCE ?=
override SOURCE := $(if $(filter . .. ./ ../,$(SOURCE)),$(abspath $(SOURCE)),$(SOURCE))
DATASET ?= $(or $(SOURCE),bach)
# Of voices, whose windows are short; bands need longer ones.
VOICES := bach bach-sung js-fakes palestrina folk renaissance quartets scores
# Words without music: the collection that music21 holds, and tables of songs.
WORDS := $(filter hymns %.csv %.tsv %.jsonl %.ndjson,$(DATASET))
LAPTOP_RECIPE = $(if $(WORDS),tiny-text,$(if $(filter-out $(VOICES),$(subst +, ,$(DATASET))),tiny-band,tiny))
GPU_RECIPE = $(if $(WORDS),gpt2-lyrics,article)
RECIPE ?= $(if $(SLURM),$(GPU_RECIPE),$(if $(filter 0,$(GPUS)),$(LAPTOP_RECIPE),$(GPU_RECIPE)))
# Without GPUs: a process for each of two cores, where the batch is two windows.
CPUS := $(shell nproc)
CPU_NPROC = $(if $(filter 1,$(CPUS)),1,$(if $(filter tiny tiny-text chorales,$(RECIPE)),2,1))
NPROC ?= $(if $(SLURM),8,$(if $(filter 0,$(GPUS)),$(CPU_NPROC),$(GPUS)))
TP ?= 1
PP ?= 1
NODES ?= 1
SBATCH ?=
BASE ?= current
PORT ?= 8888
HOST ?=
WHAT ?= jupyter
ARGS ?=
WORKERS ?= 2
N ?= 4
BARS ?= 8
SEED ?=
OF ?= 32
MEGATRON_LM ?=
SWEEP ?= profiling/sweeps/$(if $(filter 0,$(GPUS)),cpu,$(if $(filter 1,$(GPUS)),single-gpu,article-table2)).yaml
BUDGET ?= $(if $(filter 0,$(GPUS)),4m,2h)
DATA ?= data/$(notdir $(DATASET:%/=%))
RUN ?= runs/$(notdir $(DATASET:%/=%))-$(RECIPE)

VENV := .venv
BENCH := build/bench
RAY := build/ray
BROWSER := build/browser
STOCK = build/stock$(if $(PYTHON_ENV),-$(notdir $(abspath $(PYTHON_ENV))))
PURELIB = import sysconfig; print(sysconfig.get_path("purelib"))
# An environment that is there already (conda's, a module's, the machine's) is used as it is.
ifeq ($(PYTHON_ENV),)
READY := $(VENV)/ready
CORE := $(VENV)/core
NOTEBOOKS := $(VENV)/notebooks
DOCS := $(VENV)/docs
LOCAL_PYTHON := $(VENV)/bin/python
LOCAL_MUSIC := $(VENV)/bin/megatron-music
else
READY := checked-python-env
CORE := $(READY)
NOTEBOOKS := $(READY)
DOCS := $(READY)
LOCAL_PYTHON := $(if $(filter active,$(PYTHON_ENV)),$(shell command -v python3),$(PYTHON_ENV:%/=%)/bin/python3)
LOCAL_MUSIC := $(LOCAL_PYTHON) -m megatron_music
export MUSIC_PYTHON := $(LOCAL_PYTHON)
endif
CLOCK := build/clock
COMPILED := build/compiled
LAYOUT := NPROC=$(NPROC) TP=$(TP) PP=$(PP)

# Where commands run, and why; `auto` takes the container where an image and a GPU for it exist.
WITH := BASE=$(BASE) PORT=$(PORT) DATASET='$(DATASET)' SOURCE='$(SOURCE)' RECIPE='$(RECIPE)' SWEEP='$(SWEEP)'
CHOICE = $(eval CHOICE := $(if $(filter auto,$(RUNTIME)),$(if $(filter 0,$(GPUS)),local (no GPU here), \
	$(shell $(WITH) docker/run.sh --choose)),$(RUNTIME) (as asked)))$(CHOICE)
WHERE = $(firstword $(CHOICE))
INSIDE = $(eval INSIDE := $(shell $(WITH) docker/run.sh --print))$(INSIDE)
MUSIC = $(if $(filter docker,$(WHERE)),$(INSIDE) megatron-music,$(LOCAL_MUSIC))
TRAIN = $(LAYOUT) $(if $(filter docker,$(WHERE)),$(INSIDE) pretrain,launch/pretrain.sh)
NEEDS = $(NEEDS_$(WHERE))
NEEDS_local := setup
NEEDS_docker := image
NEEDS_slurm := setup

# Names with spaces, as of a folder `My Music`, are one word to the shell.
quoted = $(if $(word 2,$(1)),'$(1)',$(1))
DATA_FOLDER = $(call quoted,$(DATA))
RUN_FOLDER = $(call quoted,$(RUN))

# The music of a collection that has a name is fetched, unless SOURCE says where it lies.
BUILD = $(MUSIC) data build $(call quoted,$(DATASET)) -o $(DATA_FOLDER) \
	$(if $(WORDS),--text,$(if $(filter-out $(DATASET),$(SOURCE)),--source $(call quoted,$(SOURCE)),--fetch))
ESTIMATE = $(MUSIC) train $(RECIPE) --estimate --gpus $$(($(NPROC) * $(NODES))) \
	parallel.tensor_model_parallel_size=$(TP) parallel.pipeline_model_parallel_size=$(PP) $(ARGS)
# Pieces begin and close, where the model knows the place in a piece; other models refuse these options.
WHOLE = $$(grep -qs '"place"' $(RUN_FOLDER)/hf/config.json && echo --begin --end)
# With a seed the same songs again, else more.
SONGS = $(if $(WORDS),,--bars $(BARS)) $(addprefix --seed ,$(1)) \
	$(if $(or $(WORDS),$(SLURM),$(if $(OF),,all)),-n $(N),--best $(N) --of $(OF))
COMPOSE = $(MUSIC) sample $(RUN_FOLDER)/hf -o $(RUN_FOLDER)/$(if $(WORDS),words,music $(WHOLE)) $(SONGS)

# The first Python on the path that versions are pinned for. Looked up when first needed, and once.
PINS_OF = -c 'import sys; print("constraints/py%d%d.txt" % sys.version_info[:2])' 2>/dev/null
ifndef PYTHON
PYTHON = $(eval PYTHON := $(shell for python in python3.11 python3.12 python3; do \
	[ -f "$$($$python $(PINS_OF))" ] && echo $$python && break; done))$(PYTHON)
endif
PINS = $(eval PINS := $(shell $(PYTHON) $(PINS_OF)))$(PINS)

# Without a GPU, and where pip is not told where to find wheels, torch comes without its CUDA packages;
# a cluster's login node has no GPU, its other nodes do.
ifndef TORCH_INDEX
TORCH_INDEX = $(if $(filter 0,$(GPUS)$(SLURM)),$(eval TORCH_INDEX := $(shell $(PYTHON) -m pip config list 2>/dev/null \
	| grep -q find-links || echo https://download.pytorch.org/whl/cpu))$(TORCH_INDEX))
endif

# $(call install,WHAT)
install = $(VENV)/bin/python -m pip install --disable-pip-version-check --no-compile --progress-bar off \
	$(addprefix --extra-index-url ,$(TORCH_INDEX)) -c $(PINS) $(1)
, := ,

# $(call installed,NAME,WHAT): install and say how far it is; the last lines of an error are shown.
installed = $(call timed,$(1),$(call install,$(2)) 2> build/setup.log | $(TOLD)) || { \
	grep -v '^WARNING' build/setup.log | tail -n 4 >&2; exit 1; }

# What a person sees of it: every twentieth package, each large download, the unpacking.
TOLD = { n=0; while read -r what name rest; do case "$$what $$name $$rest" in \
	Collecting*) n=$$((n + 1)); ((n % 20)) || echo "set-up: $$n packages found, $$SECONDS s";; \
	Downloading*\([0-9][0-9][0-9]*MB\)*) echo "set-up: downloading $$name $$rest";; \
	Installing\ collected*) echo "set-up: unpacking, $$SECONDS s";; esac; done; }

# Where nothing can be written, nothing is begun.
WRITABLE = [ -w . ] && { [ ! -e build ] || [ -w build ]; } || { \
	echo "error: $(CURDIR) is not yours to write in; clone one of your own" >&2; exit 1; }

# $(call timed,NAME,COMMAND): run COMMAND and note how long it took.
timed = set -o pipefail; SECONDS=0; $(2) && echo "$(1) $$SECONDS s" >> $(CLOCK)

.SECONDEXPANSION:

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "Settings: DATASET=$(DATASET) RECIPE=$(RECIPE) NPROC=$(NPROC) TP=$(TP) PP=$(PP) N=$(N) BARS=$(BARS) SEED=$(SEED)"
	@echo "          ARGS='train.lr=1e-3 ...' for the recipe, SOURCE=path of the music, PYTHON=python3.11, TORCH_INDEX=URL"
	@echo "          PYTHON_ENV=folder of an environment to use as it is (or: active), nothing is installed"
	@echo "          RUNTIME=$(RUNTIME) of auto, local, docker, slurm; BASE=$(BASE) NODES=$(NODES) PORT=$(PORT)"

.PHONY: setup
ifeq ($(PYTHON_ENV),)
setup: ## make the virtual environment .venv with pinned versions; compile the kernels
	@$(MAKE) -s -j2 BESIDE=1 $(READY) $(COMPILED)
else
setup: $(READY) $(COMPILED)
endif

ifneq ($(PYTHON_ENV),)
$(READY):
	@[ -x "$(LOCAL_PYTHON)" ] || { echo "error: PYTHON_ENV=$(PYTHON_ENV) has no bin/python3; give the folder of an" \
		"environment (of conda: \$$CONDA_PREFIX), or PYTHON_ENV=active for the python3 on the path" >&2; exit 2; }
	@$(LOCAL_PYTHON) launch/check_env.py
else
# The kernels need these packages alone. The file `core` is there when no installation is on its way:
# an interrupted one is made anew.
$(CORE): pyproject.toml $(wildcard constraints/*.txt)
	@$(WRITABLE)
	@[ -f "$(PINS)" ] || { echo "error: no Python on the path that versions are pinned for in constraints/;" \
		"install Python 3.11 or 3.12, or give PYTHON=/path/to/one" >&2; exit 1; }
	@mkdir -p build
	@echo "set-up: $(PYTHON), $$(grep -c == $(PINS)) pinned packages, into $(VENV); half a minute where the network is fast"
	@if [ -f $@ ]; then rm $@; else $(PYTHON) -m venv --clear $(VENV); fi
	@$(call installed,packages,-e .)
	@$(VENV)/bin/megatron-music --help > /dev/null
	@touch $@

$(READY): $(CORE)
	@rm $(CORE)
	@$(call installed,more packages,'megatron-music[train$(,)studio$(,)dev]')
	@touch $(CORE) $@

# JupyterLab and MkDocs: installed when first needed.
$(NOTEBOOKS) $(DOCS): pyproject.toml $(wildcard constraints/*.txt) | $(READY)
	@$(WRITABLE)
	@echo "set-up: what the extra '$(@F)' of pyproject.toml lists"
	@mkdir -p build
	@$(call install,'megatron-music[$(@F)]') > build/$(@F).log 2>&1 || { \
		grep -v '^WARNING' build/$(@F).log | tail -n 4 >&2; exit 1; }
	@touch $@
endif

# Each command would compile what it needs; here processes share the work, beside the installation of torch.
$(COMPILED): $(wildcard megatron_music/*/*_kernel.py megatron_music/score/jit.py megatron_music/kernels.py) | $(CORE)
	@$(WRITABLE)
	@mkdir -p build
	@$(call timed,kernels,$(LOCAL_MUSIC) compile 2>&1 | cat)
	@touch $@

.PHONY: data
data: $$(NEEDS) ## build the data set DATASET into DATA (data/DATASET); ARGS='--bars 4 --fill'
	@$(BUILD)$(if $(and $(filter data,$(MAKECMDGOALS)),$(ARGS)), $(ARGS))

# The whole way, in the virtual environment or the container.
define walk
@echo "runtime: $(CHOICE)"
@$(call timed,data,$(BUILD))
@$(call timed,train,$(TRAIN) $(RECIPE) --data $(DATA_FOLDER) --run-dir $(RUN_FOLDER) $(ARGS))
@$(call timed,export,$(MUSIC) export $(RUN_FOLDER) -o $(RUN_FOLDER)/hf)
@$(call timed,music,$(call COMPOSE,$(or $(SEED),7)))
@echo "took: $$(($$(date +%s) - $$(head -n 1 $(CLOCK)))) s ($$(tail -n +2 $(CLOCK) | paste -sd , | sed 's/,/, /g'))"
endef

# The job's script documents its variables; CONTAINER comes from the environment.
define submit
@$(LAYOUT) $(WITH) DATA=$(DATA_FOLDER) RUN=$(RUN_FOLDER) ARGS='$(ARGS)' N=$(N) BARS=$(BARS) SEED=$(SEED) \
	sbatch --nodes=$(NODES) $(if $(filter --gres% --gpus%,$(SBATCH)),,--gpus-per-node=$(NPROC)) $(SBATCH) \
	launch/pretrain.sbatch 2> build/sbatch.log || { \
	echo "error: SLURM did not take the job: $$(tail -n 1 build/sbatch.log); RUNTIME=slurm is for a login node" >&2; exit 1; }
endef

.PHONY: pretrain
pretrain: layout clock request $$(if $$(and $$(SLURM),$$(CONTAINER)),,$$(NEEDS)) ## the whole way: data, training, export, four pieces of music
	$(if $(SLURM),$(submit),$(walk))

# Refuse what cannot work before anything is done; how many GPUs a cluster's nodes have is not known here.
.PHONY: layout
layout:
	@$(WRITABLE)
	@case "$(RUNTIME)" in auto|local|docker|slurm) ;; *) \
		echo "error: RUNTIME must be auto, local, docker or slurm (got '$(RUNTIME)')" >&2; exit 2;; esac
	@$(if $(SLURM),,[ "$(NODES)" = 1 ] || { echo "error: NODES=$(NODES) needs RUNTIME=slurm;" \
		"for several machines without it see docs/dgx.md" >&2; exit 2; })
	@$(if $(SLURM),NNODES=$(NODES) MASTER_ADDR=127.0.0.1 CUDA_VISIBLE_DEVICES=) $(LAYOUT) DRY_RUN=1 \
		launch/pretrain.sh > /dev/null
	@$(if $(SLURM),command -v sbatch > /dev/null || { echo "error: no sbatch here: RUNTIME=slurm is for a" \
		"cluster's login node; without a cluster: make pretrain RUNTIME=local" >&2; exit 1; })

# Refuse a recipe, a layout or songs that cannot be, before torch is installed and data are built.
# `sample` exits with 2 for wrong options. With right ones it exits with 1: there is no model yet.
.PHONY: request
request: $$(if $$(filter docker,$$(WHERE)),image,$$(if $$(and $$(SLURM),$$(CONTAINER)),,$$(CORE)))
	$(if $(and $(SLURM),$(CONTAINER)),,@$(ESTIMATE) > /dev/null)
	$(if $(and $(SLURM),$(CONTAINER)),,@$(MUSIC) sample build/none $(call SONGS,$(SEED)) 2> build/request.log || \
		{ code=$$?; grep -q 'no exported model' build/request.log || { cat build/request.log >&2; exit $$code; }; })

.PHONY: container
container: ## build the image megatron_music:BASE (current; newest; volta for V100)
	@$(WITH) docker/build.sh

.PHONY: image
image:
	@$(WITH) docker/run.sh --check

.PHONY: jupyter
jupyter: port $$(if $$(filter docker,$$(WHERE)),image,$(NOTEBOOKS)) ## JupyterLab on 127.0.0.1:PORT, with a token
	@$(WITH) $(if $(filter docker,$(WHERE)),docker/run.sh jupyter,launch/jupyter.sh)

# Refuse a port that is none before anything is installed.
.PHONY: port
port:
	@PORT=$(PORT) DRY_RUN=1 launch/jupyter.sh > /dev/null

.PHONY: tunnel
tunnel: ## bring the JupyterLab of HOST=user@machine to this machine's PORT; the studio: WHAT=studio PORT=8000
	@PORT=$(PORT) WHAT=$(WHAT) launch/tunnel.sh $(HOST)

.PHONY: clock
clock:
	@mkdir -p build && date +%s > $(CLOCK)

.PHONY: estimate
estimate: setup ## say what RECIPE costs on NPROC GPUs: memory, FLOPs, days; DEVICE='NVIDIA H200', ARGS=...
	@$(ESTIMATE) $(if $(DEVICE),--device '$(DEVICE)') $(if $(wildcard $(DATA)/tokenizer),--data $(DATA))

.PHONY: sample
sample: $$(NEEDS) ## add the N best of OF pieces of BARS bars by the model of the run RUN; OF= for all of N; SEED=8 for some again
	@$(call COMPOSE,$(SEED))

.PHONY: studio
studio: $$(NEEDS) ## a page to compose, listen and vote, on 127.0.0.1:8000, of the newest exported model; PORT=9000 ARGS='...'
	@$(if $(filter docker,$(WHERE)),$(WITH) docker/run.sh studio,$(LOCAL_MUSIC) studio) \
		$(if $(filter command,$(origin PORT)),--port $(PORT)) $(ARGS)

.PHONY: studio-model
studio-model: setup ## make the exported model of the run RUN the one that the studio carries, with its first songs
	@$(LOCAL_PYTHON) -m megatron_music.studio.embed $(RUN_FOLDER)/hf

.PHONY: evaluate
evaluate: setup ## hold the model of the run RUN against music it has never seen: RUN/report
	@$(MUSIC) evaluate $(RUN_FOLDER)/hf --data $(DATA_FOLDER) -o $(RUN_FOLDER)/report

.PHONY: notebooks
notebooks: setup ## run the notebooks, or those in ARGS, and write their executed copies
	@$(LOCAL_PYTHON) -m tests.notebooks.execution $(ARGS)

.PHONY: profile
profile: $$(NEEDS) ## train briefly in every layout of SWEEP for at most BUDGET; report the best
	@$(MUSIC) profile sweep $(SWEEP) --budget $(BUDGET) $(ARGS)

.PHONY: bench
bench: bench-data bench-train ## time both of these beside their peers; ARGS is for one of them

.PHONY: bench-data
bench-data: $(BENCH)/ready ## the building of data sets; ARGS='--files DIR --write'
	@$(BENCH)/bin/python profiling/benchmarks/build.py $(ONE_ARGS)

.PHONY: bench-train
bench-train: data ## training; ARGS='--recipe article -o FILE.md'
	@$(if $(filter docker,$(WHERE)),$(INSIDE) python3,$(LOCAL_PYTHON)) profiling/benchmarks/train.py \
		--data $(DATA_FOLDER) $(ONE_ARGS)

.PHONY: bench-studio
bench-studio: setup ## how fast the studio answers; ARGS=HFDIR for a model of yours
	@tests/install.sh wrk
	@$(LOCAL_PYTHON) profiling/benchmarks/studio.py $(ARGS)

.PHONY: gpu-day
gpu-day: data ## prove and measure on a GPU, in 8 minutes; ARGS='--only train sweep'; dry without a GPU
	@$(if $(filter docker,$(WHERE)),$(INSIDE) python3,$(LOCAL_PYTHON)) -m profiling.gpu_day \
		--data $(DATA_FOLDER) $(addprefix --model ,$(wildcard runs/bach-tiny/hf)) $(ARGS)

bench-data bench-train: ONE_ARGS = $(if $(filter bench,$(MAKECMDGOALS)),,$(ARGS))

# Environments of their own over .venv, whose pinned versions they leave alone.
$(BENCH)/ready: MORE := miditok==3.1.0
$(RAY)/ready: MORE := ray==2.60.0
$(STOCK)/ready: MORE := pybind11==3.1.0 triton==3.7.1
$(BROWSER)/ready: MORE := playwright==1.65.2 axe-playwright-python==0.1.8
$(BENCH)/ready $(RAY)/ready $(STOCK)/ready $(BROWSER)/ready: $(READY)
	@$(LOCAL_PYTHON) -m venv --clear $(@D)
	@printf '%s\n' '$(CURDIR)' "$$($(LOCAL_PYTHON) -c '$(PURELIB)')" > "$$($(@D)/bin/python -c '$(PURELIB)')/over.pth"
	@$(@D)/bin/python -m pip install --quiet --disable-pip-version-check -c $(PINS) $(MORE)
	@touch $@

# A file's tests stay in one process: they share what is slow to make.
# Tests of real processes may fail because their neighbours took the processor: each gets a second
# run, alone. A test that is broken fails again.
LAST_FAILED = --last-failed --last-failed-no-failures none --maxfail 5
ALONE = The tests that failed run once more, alone: that verdict counts.
PYTEST = $(LOCAL_PYTHON) -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

.PHONY: test
test: setup ## run the tests but the slow ones, in minutes; ARGS='-k audio' for some, WORKERS=2 processes
	@$(PYTEST) -m 'not slow' $(ARGS)

.PHONY: test-all
test-all: setup $(NOTEBOOKS) $(DOCS) $(RAY)/ready ## run all that CI runs: also trainings, notebooks, JupyterLab, Ray
	@$(PYTEST) $(ARGS) || { [ $$? = 1 ] && echo "$(ALONE)" && $(LOCAL_PYTHON) -m pytest $(LAST_FAILED) $(ARGS); }
	@$(RAY)/bin/python -m pytest tests/data/workers/test_ray.py

.PHONY: test-notebooks
test-notebooks: setup $(NOTEBOOKS) ## run the notebooks, and JupyterLab with its tunnel
	@$(LOCAL_PYTHON) -m pytest tests/notebooks tests/launch/test_jupyter.py tests/launch/test_tunnel.py $(ARGS)

.PHONY: test-ray
test-ray: $(RAY)/ready ## build data sets on a real Ray cluster on this machine
	@$(RAY)/bin/python -m pytest tests/data/workers/test_ray.py $(ARGS)

.PHONY: test-container
test-container: setup ## build the image on a stand-in for NVIDIA's, and train in it
	@tests/install.sh buildah mmdebstrap
	@TEST_CONTAINER=1 $(LOCAL_PYTHON) -m pytest tests/docker $(ARGS)

.PHONY: test-browser
test-browser: $(BROWSER)/ready ## use the studio as a person does, in a real Chromium
	@tests/install.sh chromium
	@TEST_BROWSER=1 $(BROWSER)/bin/python -m pytest -n 0 -m slow tests/studio/test_browser.py $(ARGS)

.PHONY: test-slurm
test-slurm: setup ## run the batch script under a real SLURM on this machine
	@tests/install.sh slurmctld slurmd sbatch
	@TEST_SLURM=1 $(LOCAL_PYTHON) -m pytest tests/launch/test_slurm.py $(ARGS)

.PHONY: test-megatron-lm
test-megatron-lm: $(STOCK)/ready ## train with the Megatron-LM clone MEGATRON_LM on a CPU, on our data and tokenizer
	@[ -f "$(MEGATRON_LM)/pretrain_gpt.py" ] || { echo "error: no pretrain_gpt.py in MEGATRON_LM='$(MEGATRON_LM)';" \
		"give a clone of Megatron-LM: make test-megatron-lm MEGATRON_LM=~/Megatron-LM" >&2; exit 2; }
	@TEST_MEGATRON_LM='$(abspath $(MEGATRON_LM))' $(STOCK)/bin/python -m pytest tests/launch/test_megatron_lm.py $(ARGS)

.PHONY: test-versions
test-versions: setup ## walk the whole way on each pair of Python and megatron-core; ARGS='3.12 debian' for some
	@TORCH_INDEX='$(TORCH_INDEX)' $(LOCAL_PYTHON) -m tests.versions $(ARGS)

.PHONY: check
check: setup ## format, lint, types, import rules
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/mypy
	@$(VENV)/bin/lint-imports

.PHONY: docs
docs: $(DOCS) ## write the site of docs/ and of the Python API into build/docs
	@NO_MKDOCS_2_WARNING=1 $(LOCAL_PYTHON) -m mkdocs build --strict --quiet
	@echo "docs: build/docs/index.html"

.PHONY: format
format: setup ## put the sources into their standard form
	@$(VENV)/bin/ruff format .
	@$(VENV)/bin/ruff check --fix .

.PHONY: doctor
doctor: $$(NEEDS) ## say what this machine has, and how to mend what it lacks
	@$(MUSIC) doctor

.PHONY: clean
clean: ## remove the environment and caches; data/ and runs/ stay
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -not -path './data/*' -not -path './runs/*' -prune -exec rm -rf {} +
	@echo "data/ and runs/ were left alone; remove them yourself if you mean to"
