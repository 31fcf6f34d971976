# The targets that README and CI use. `make help` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
CONSTRAINTS ?= requirements/core-2.19.txt
ARGS ?=

.PHONY: help
help:  ## Show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 16

.PHONY: setup
setup: $(VENV)/.setup  ## Make .venv with the pinned packages that a run needs

.PHONY: setup-dev
setup-dev: $(VENV)/.setup-dev  ## The same with what tests, lint and the lab need

$(VENV)/.setup: pyproject.toml $(CONSTRAINTS) scripts/prerequisites
	@scripts/prerequisites $(PYTHON)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint $(CONSTRAINTS) --editable .
	@touch $@

$(VENV)/.setup-dev: $(VENV)/.setup
	$(BIN)/pip install --quiet --constraint $(CONSTRAINTS) --editable '.[dev]'
	@touch $@

.PHONY: up
up: setup  ## The main job on this machine (INVENTORY=... for others, ARGS=... for ansible-playbook)
	$(BIN)/ansible-playbook $(if $(INVENTORY),-i $(INVENTORY)) site.yml $(ARGS)

.PHONY: plan
plan: setup  ## Facts and plan only; changes nothing
	$(BIN)/ansible-playbook $(if $(INVENTORY),-i $(INVENTORY)) playbooks/plan.yml --skip-tags drift $(ARGS)

.PHONY: drift
drift: setup  ## The same as a check: exit status 2 where something would be done
	$(BIN)/ansible-playbook $(if $(INVENTORY),-i $(INVENTORY)) playbooks/plan.yml $(ARGS)

.PHONY: unit
unit: setup-dev  ## The fast tests: no root, no Docker
	$(BIN)/pytest --numprocesses auto -m 'not slow' tests/unit tests/property $(ARGS)

.PHONY: lint
lint: setup-dev  ## ansible-lint (production), ruff, yamllint, shellcheck
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/yamllint --strict .
	$(BIN)/shellcheck $$(git grep -lE '^\#!(/usr)?/bin/(env )?(ba)?sh' -- ':!tests/fixtures' ':!*.j2')
	ANSIBLE_COLLECTIONS_PATH=$(VENV)/collections $(BIN)/ansible-lint --offline
	$(BIN)/python scripts/judges validate-modules

.venv-judges/.setup: requirements/judges.txt
	$(PYTHON) -m venv .venv-judges
	.venv-judges/bin/pip install --quiet --requirement requirements/judges.txt
	@touch $@

.PHONY: judges
judges: setup-dev wheel .venv-judges/.setup  ## What the ecosystem says of the collection and the wheel: ansible-test sanity, galaxy-importer, ...
	$(BIN)/python scripts/judges

.PHONY: test
test: setup-dev  ## Everything a change must pass
	scripts/test

.PHONY: test-long
test-long: setup-dev  ## The long proofs; docs/proofs.md says what the last runs showed
	$(BIN)/pytest tests -m slow $(ARGS)

.PHONY: wheel
wheel: setup-dev  ## dist/verl_provision-*.whl: the command without a clone (docs/install.md)
	$(BIN)/pip wheel --quiet --no-deps --wheel-dir dist .

.PHONY: collection
collection: setup-dev  ## dist/verl-provision-*.tar.gz: the Ansible collection verl.provision
	$(BIN)/python collection/build.py

.PHONY: changelog
changelog: setup-dev  ## What the next release's changelog will say, from changelog.d
	@$(BIN)/towncrier build --draft --version "$$($(BIN)/python -c 'import verl_provision as v; print(v.__version__)')"

.PHONY: docs
docs: setup-dev  ## Write the generated parts of the documentation
	$(BIN)/python -m verl_provision.docs

.PHONY: lab
lab: setup-dev  ## Start the simulated GPU fleet and write inventories/lab
	$(BIN)/python -m lab up

.PHONY: lab-down
lab-down: setup-dev  ## Remove it again
	$(BIN)/python -m lab down

.PHONY: bench
bench: setup-dev  ## All benchmarks at moderate sizes, on a lab of their own (docs/benchmarks.md)
	$(BIN)/python benchmarks/plan_fleet.py
	$(BIN)/python benchmarks/noop.py --hosts 1 --no-drift
	$(BIN)/python benchmarks/noop.py --hosts 16
	$(BIN)/python benchmarks/repair.py --hosts 16
	$(BIN)/python benchmarks/faults.py --hosts 20
	$(BIN)/python benchmarks/fact_cost.py --hosts 16
	$(BIN)/python benchmarks/one_command.py
	$(BIN)/python benchmarks/memory.py --hosts 1000
	$(BIN)/python benchmarks/makespan.py
	$(BIN)/python benchmarks/egress.py --clients 8 16
	VERL_LAB_NAME=bench $(BIN)/python -m lab down
