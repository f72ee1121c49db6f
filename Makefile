# Every target installs what it needs into .venv on first use.

# The newest CPython that works here.  Each candidate is run, because a version manager's shim may only print an error and
# Debian may lack python3-venv.  TensorFlow, which the tests and the training need, has no wheels for 3.14 yet.
PYTHON ?= $(shell for candidate in python3.13 python3.12 python3.11 python3; do \
    $$candidate -c $(USABLE) >/dev/null 2>&1 && { echo $$candidate; break; }; done)
USABLE := 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info < (3, 14))'
VENV := .venv
BIN := $(VENV)/bin
# Environments of their own: the policy scan needs other versions of much that the program needs, too, only `make docs`
# needs what builds the documentation, and only one test each the generator of API clients and what runs notebooks.
CHECKOV := var/checkov
DOCS := var/docs
API_CLIENT := var/openapi-client
NOTEBOOKS := var/notebooks
AUDIT := var/audit
HADOLINT := var/hadolint
UV_VERSION := 0.13.9
# What `make test-stack` runs beside its own checks; `make test SKIP_STACK=1` leaves it to that.
STACK_TESTS := tests/unit/test_infra.py tests/unit/test_infra_permissions.py tests/unit/test_template.py \
    tests/contract/test_stack.py tests/acceptance/test_stack.py
PYTEST := $(BIN)/python -m pytest
# Properties that the longest search is worth: what they are about costs money for as long as it runs.
PROPERTY_TESTS := tests/unit/test_policy_arrivals.py
# Measured in CI only: with it, the unit tests took 72 s instead of 52.
COVERAGE_OPTIONS := $(if $(COVERAGE),--cov --cov-report=term:skip-covered)
PIP := -m pip install --quiet --disable-pip-version-check
# What machines of the deployment install: wheels for Debian 12's Python.  arm64, because x86_64 always has them.
COMPILE := $(BIN)/uv pip compile --quiet --generate-hashes --no-annotate --custom-compile-command "make lock"
COMPILE_UNIVERSAL := $(COMPILE) --universal --python-version 3.11
COMPILE_MACHINE := $(COMPILE) --python-version 3.11 --python-platform aarch64-manylinux_2_36 --only-binary :all: \
    --no-deps --constraints requirements.txt

# Container images often set it.  Without bytecode, each of the hundreds of processes that the tests start, and each
# worker of `make demo`, compiles the program anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo run chaos check test test-properties test-contract test-image test-container test-stack lint audit docs \
    translations lock setup clean
.DEFAULT_GOAL := help

help: ## Show the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

demo: $(VENV)/.installed-run ## The whole job, unattended: photos in, labels out, fleet 0 → N → 0
	@$(BIN)/elastic demo

run: $(VENV)/.installed-run ## Everything on this machine for a browser, until Ctrl-C
	@$(BIN)/elastic up

chaos: $(VENV)/.installed-run ## Proof that nothing is lost: break everything while photos flow, then check the buckets
	@$(BIN)/elastic chaos
	@$(BIN)/elastic chaos --bulk 2000 --kills 8

check: $(VENV)/.installed-all ## Before each commit: style, types, imports and the fast unit tests, in about a minute
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	@# Types are checked while the tests run: the tests wait a good deal, and two cores are enough for both.
	@mkdir -p var
	$(BIN)/mypy > var/mypy.log 2>&1 & checker=$$!; \
	    HYPOTHESIS_PROFILE=dev $(PYTEST) --numprocesses 3 --dist worksteal tests/unit -m "not slow"; tests=$$?; \
	    wait $$checker; types=$$?; cat var/mypy.log; [ $$tests = 0 ] && [ $$types = 0 ]

test: $(VENV)/.installed-all $(API_CLIENT)/.installed $(NOTEBOOKS)/.installed ## The whole test suite
	@# More processes than cores, because those with a stack often wait for it; tests/conftest.py decides the order, and
	@# which tests stay together, so that they share what is slow to start.
	$(PYTEST) --numprocesses 4 --dist loadscope --no-loadscope-reorder $(COVERAGE_OPTIONS) \
	    $(if $(SKIP_STACK),$(addprefix --ignore=,$(STACK_TESTS)))

test-properties: $(VENV)/.installed-all ## The properties of scaling, with 10,000 random histories each
	HYPOTHESIS_PROFILE=thorough $(PYTEST) --numprocesses 2 --dist load --timeout 0 $(PROPERTY_TESTS)

test-contract: $(VENV)/.installed-all ## The contract with AWS: ENDPOINT=aws or the URL of an emulator; else our own. Prints the cost
	$(BIN)/python -m pytest tests/contract --count-requests --endpoint "$(ENDPOINT)"

test-image: $(VENV)/.installed-run ## The image's provisioning, run for real in a Debian root file system; needs root
	@$(BIN)/python -m tests.image

test-container: $(VENV)/.installed-run ## The Dockerfile's images, built by buildah and run for real; needs root, some minutes
	@$(BIN)/python -m tests.container

test-stack: $(VENV)/.installed-all $(CHECKOV)/.installed ## The stack for AWS: lint, scan, create, run, update, roll and delete it on the emulator
	@# The simple deployment's template takes most of its resources from the other one: what is sent is checked.
	$(BIN)/python -m infra.template > var/simple.json
	$(BIN)/cfn-lint infra/stack.yaml var/simple.json
	$(CHECKOV)/bin/checkov --config-file infra/checkov.yaml --file infra/stack.yaml var/simple.json
	$(BIN)/python -m pytest $(STACK_TESTS)

lint: $(VENV)/.installed-all $(HADOLINT)/.installed ## Style, types, the direction of imports, and the Dockerfile
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(HADOLINT)/bin/hadolint Dockerfile

audit: $(VENV)/.installed-run $(AUDIT)/.installed ## Compare every lock with the advisories for Python packages
	$(BIN)/python -m tests.audit $(AUDIT)/bin/pip-audit

docs: $(DOCS)/.installed ## The documentation as a web site in var/site
	NO_MKDOCS_2_WARNING=1 $(DOCS)/bin/mkdocs build --strict

translations: $(VENV)/.installed-run ## Bring the message catalogues up to date with the code; see translations/README.md
	$(BIN)/python -m web_tier.languages.catalogues

lock: $(BIN)/uv ## Write the locks, with hashes, from the lists of packages
	$(COMPILE_UNIVERSAL) requirements.txt --output-file requirements.lock
	$(COMPILE_UNIVERSAL) pyproject.toml --extra demo --group build --constraints requirements.txt \
	    --output-file requirements-run.lock
	$(COMPILE_UNIVERSAL) docs/requirements.in --constraints requirements.txt --output-file docs/requirements.txt
	$(COMPILE_UNIVERSAL) infra/checkov.in --output-file infra/checkov.txt
	$(COMPILE_UNIVERSAL) tests/openapi_client/requirements.in --output-file tests/openapi_client/requirements.txt
	$(COMPILE_UNIVERSAL) tests/notebooks/requirements.in --constraints requirements.txt \
	    --output-file tests/notebooks/requirements.txt
	$(COMPILE) --python-version 3.11 --python-platform x86_64-manylinux_2_28 training/requirements-gpu.in \
	    --constraints requirements.txt --output-file training/requirements-gpu.txt
	$(COMPILE_UNIVERSAL) tests/audit/requirements.in --output-file tests/audit/requirements.txt
	$(COMPILE_UNIVERSAL) tests/container/requirements.in --output-file tests/container/requirements.txt
	for folder in ami app_tier infra; do \
	    $(COMPILE_MACHINE) $$folder/requirements.in --output-file $$folder/requirements.txt || exit 1; done

setup: $(VENV)/.installed-all ## Only the installation; the other targets do it by themselves

clean: ## Remove the virtual environment, logs and caches
	rm -rf $(VENV) var *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis .import_linter_cache

$(BIN)/python:
	@$(or $(PYTHON),false) -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' || { \
	    echo "$(or $(PYTHON),No interpreter found) will not do: CPython 3.11, 3.12 or 3.13 with its venv module is needed" \
	    "(Debian: python3-venv).  Name an interpreter with: make PYTHON=…"; exit 1; }
	@$(PYTHON) -m venv $(VENV)

# Running needs no TensorFlow, which is most of what the complete list downloads.
$(VENV)/.installed-run: requirements-run.lock pyproject.toml | $(BIN)/python
	@echo "Installing what the program needs into $(VENV): about a minute, once."
	@$(BIN)/python $(PIP) --require-hashes --requirement requirements-run.lock
	@$(BIN)/python $(PIP) --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.installed-all: requirements.lock pyproject.toml | $(BIN)/python
	@echo "Installing everything, TensorFlow included, into $(VENV): some minutes, once."
	@$(BIN)/python $(PIP) --require-hashes --requirement requirements.lock
	@$(BIN)/python $(PIP) --no-deps --no-build-isolation --editable .
	@touch $@ $(VENV)/.installed-run

$(CHECKOV)/.installed: infra/checkov.txt | $(BIN)/python
	@echo "Installing the policy scan into $(CHECKOV): about a minute, once."
	@$(BIN)/python -m venv --clear $(CHECKOV)
	@$(CHECKOV)/bin/python $(PIP) --require-hashes --requirement infra/checkov.txt
	@touch $@

$(DOCS)/.installed: docs/requirements.txt | $(BIN)/python
	@echo "Installing what builds the documentation into $(DOCS), once."
	@$(BIN)/python -m venv --clear $(DOCS)
	@$(DOCS)/bin/python $(PIP) --require-hashes --requirement docs/requirements.txt
	@touch $@

$(API_CLIENT)/.installed: tests/openapi_client/requirements.txt | $(BIN)/python
	@echo "Installing the generator of API clients into $(API_CLIENT), once."
	@$(BIN)/python -m venv --clear $(API_CLIENT)
	@$(API_CLIENT)/bin/python $(PIP) --require-hashes --requirement tests/openapi_client/requirements.txt
	@touch $@

# Not an environment: the notebooks import the program and TensorFlow from $(VENV).
$(NOTEBOOKS)/.installed: tests/notebooks/requirements.txt | $(BIN)/python
	@echo "Installing what runs notebooks into $(NOTEBOOKS), once."
	@rm -rf $(NOTEBOOKS)
	@$(BIN)/python $(PIP) --require-hashes --target $(NOTEBOOKS) --requirement tests/notebooks/requirements.txt
	@touch $@

$(AUDIT)/.installed: tests/audit/requirements.txt | $(BIN)/python
	@echo "Installing the audit of the locks into $(AUDIT), once."
	@$(BIN)/python -m venv --clear $(AUDIT)
	@$(AUDIT)/bin/python $(PIP) --require-hashes --requirement tests/audit/requirements.txt
	@touch $@

$(HADOLINT)/.installed: tests/container/requirements.txt | $(BIN)/python
	@echo "Installing the linter of the Dockerfile into $(HADOLINT), once."
	@$(BIN)/python -m venv --clear $(HADOLINT)
	@$(HADOLINT)/bin/python $(PIP) --require-hashes --requirement tests/container/requirements.txt
	@touch $@

$(BIN)/uv: Makefile | $(BIN)/python
	@$(BIN)/python $(PIP) uv==$(UV_VERSION)
	@touch $@
