# Every target installs what it needs into .venv on first use.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
# The policy scan needs versions of its own of much that the program needs, too.
CHECKOV := var/checkov
CHECKOV_VERSION := 3.3.30
# What `make test-stack` runs beside its own checks; `make test SKIP_STACK=1` leaves it to that.
STACK_TESTS := tests/unit/test_infra.py tests/unit/test_infra_permissions.py tests/contract/test_stack.py \
    tests/acceptance/test_stack.py
PIP := $(BIN)/python -m pip install --disable-pip-version-check

.PHONY: help demo run chaos test test-image test-stack lint setup clean
.DEFAULT_GOAL := help

help: ## Show the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

demo: $(VENV)/.installed-run ## The whole job, unattended: photos in, labels out, fleet 0 → N → 0
	@$(BIN)/elastic demo

run: $(VENV)/.installed-run ## Everything on this machine for a browser, until Ctrl-C
	@$(BIN)/elastic up

chaos: $(VENV)/.installed-run ## Proof that nothing is lost: break everything while photos flow, then check the buckets
	@$(BIN)/elastic chaos

test: $(VENV)/.installed-all ## The whole test suite
	$(BIN)/python -m pytest $(if $(SKIP_STACK),$(addprefix --ignore=,$(STACK_TESTS)))

test-image: $(VENV)/.installed-run ## The image's provisioning, run for real in a Debian root file system; needs root
	@$(BIN)/python -m tests.image

test-stack: $(VENV)/.installed-all $(CHECKOV)/.installed ## The stack for AWS: lint, scan, create, run, update, roll and delete it on the emulator
	$(BIN)/cfn-lint infra/stack.yaml
	$(CHECKOV)/bin/checkov --config-file infra/checkov.yaml --file infra/stack.yaml
	$(BIN)/python -m pytest $(STACK_TESTS)

lint: $(VENV)/.installed-all ## Style, types and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

setup: $(VENV)/.installed-all ## Only the installation; the other targets do it by themselves

clean: ## Remove the virtual environment, logs and caches
	rm -rf $(VENV) var *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis .import_linter_cache

$(BIN)/python:
	@command -v $(PYTHON) >/dev/null || { echo "Python 3.11 is needed; name another interpreter with: make PYTHON=…"; exit 1; }
	@$(PYTHON) -m venv $(VENV)

# Running needs no TensorFlow, which is most of what the complete list downloads.
$(VENV)/.installed-run: requirements.txt pyproject.toml | $(BIN)/python
	@echo "Installing what the program needs into $(VENV): about a minute, once."
	@$(PIP) -q --constraint requirements.txt --editable '.[demo]'
	@touch $@

$(VENV)/.installed-all: requirements.txt pyproject.toml | $(BIN)/python
	@echo "Installing everything, TensorFlow included, into $(VENV): some minutes, once."
	@$(PIP) -q --requirement requirements.txt --constraint requirements.txt --editable '.[demo]'
	@touch $@ $(VENV)/.installed-run

$(CHECKOV)/.installed: Makefile | $(BIN)/python
	@echo "Installing the policy scan into $(CHECKOV): about a minute, once."
	@$(PYTHON) -m venv --clear $(CHECKOV)
	@$(CHECKOV)/bin/python -m pip install -q --disable-pip-version-check checkov==$(CHECKOV_VERSION)
	@touch $@
