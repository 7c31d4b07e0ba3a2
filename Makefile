# What a contributor runs. Needs make and Python 3.11 or newer; uses uv where it is on the path.
# Everything is installed into VENV from a lock with hashes; stamps in there keep the second call fast.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
# Tests start hundreds of interpreters, each of which would compile all of it anew.
unexport PYTHONDONTWRITEBYTECODE
.PHONY: help demo test slow check bench venv lock clean

VENV := .venv
PYTHON := $(VENV)/bin/python
DEMO := $(VENV)/.fanfold-demo
FULL := $(VENV)/.fanfold-full
ALONE := tests/unit tests/local tests/conformance tests/histories tests/stores tests/typing
PROJECTS := pyproject.toml runners/dask/pyproject.toml runners/ray/pyproject.toml

help: ## Print this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-7s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

demo: $(DEMO) ## Run a small example that explains itself; installs only what it needs
	@$(PYTHON) -m fanfold.demo

test: $(FULL) ## Run all tests but the slow ones: first what needs no cluster, then real clusters, two at a time
	$(PYTHON) -m pytest -n 2 -m 'not slow' $(ALONE)
	$(PYTHON) -m pytest -n 2 --dist loadfile -m 'not slow' $(addprefix --ignore=,$(ALONE))

slow: $(FULL) ## Run the slow tests: two at a time, then those with kills and whole notebooks, one by one
	$(PYTHON) -m pytest -n 2 -m slow $(ALONE)
	$(PYTHON) -m pytest -n 2 --dist loadfile -m slow runners
	$(PYTHON) -m pytest -m slow tests $(addprefix --ignore=,$(ALONE))

check: $(FULL) ## Lint, check the format, the types and the layers
	$(PYTHON) -m ruff check
	$(PYTHON) -m ruff format --check
	$(VENV)/bin/basedpyright --pythonpath $(PYTHON)
	$(VENV)/bin/lint-imports

bench: $(FULL) ## Measure Fanfold beside the bare clusters; prints a table
	@$(PYTHON) -m tests.benchmarks

venv: $(FULL) ## Make or complete .venv with everything for development

lock: ## Pin all dependencies anew; UPGRADE=1 takes the newest versions (needs uv)
	@command -v uv >/dev/null || { echo 'make lock needs uv on the path: python -m pip install uv' >&2; exit 1; }
	uv pip compile $(PIN) $(PROJECTS) --all-extras --group notebooks -o requirements.lock \
		--no-emit-package fanfold --no-emit-package fanfold-dask --no-emit-package fanfold-ray
	uv pip compile $(PIN) pyproject.toml --extra demo -c requirements.lock -o .demo.lock

clean: ## Remove .venv, caches and what builds and benchmarks left
	rm -rf .venv .venv-demo .pytest_cache .ruff_cache .hypothesis .import_linter_cache .benchmarks dist build
	find src tests runners notebooks -type d -name __pycache__ -prune -exec rm -rf {} +

# One lock for every platform and every Python from 3.11 on; it names no index, so any mirror will do.
PIN = --quiet --universal --python-version 3.11 --generate-hashes --group build \
	--custom-compile-command 'make lock' $(if $(UPGRADE),--upgrade)

$(PYTHON):
	@set -e; \
	for name in python3.11 python3.12 python3.13 python3; do \
		found=$$($$name -c 'import sys; sys.version_info >= (3, 11) and print(sys.executable)' 2>/dev/null) || :; \
		[ -z "$$found" ] || break; \
	done; \
	[ -n "$$found" ] || { echo 'Fanfold needs Python 3.11 or newer; there is none on the path.' >&2; exit 1; }; \
	echo "Making $(VENV) with $$found"; [ ! -e $(VENV)/pyvenv.cfg ] || rm -rf $(VENV); \
	if command -v uv >/dev/null; then uv venv --quiet --python "$$found" $(VENV); \
	else "$$found" -m venv $(VENV) || { rm -f $@; \
		echo "$$found has no venv module; on Debian: apt-get install python3-venv" >&2; exit 1; }; fi

# $(call install,LOCK,FOLDERS): what the lock names, then our own packages in place. Without build isolation,
# since the locks hold what the build needs. A venv that uv made has no pip, hence ensurepip.
install = @set -e; \
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo '$(VENV) holds a Python older than 3.11; remove it.' >&2; exit 1; }; \
	echo 'Installing $(1) into $(VENV)'; \
	if command -v uv >/dev/null; then install="uv pip install --quiet --python $(PYTHON)"; \
	else $(PYTHON) -m pip --version >/dev/null 2>&1 || $(PYTHON) -m ensurepip >/dev/null; \
		install="$(PYTHON) -m pip --disable-pip-version-check install --quiet"; fi; \
	$$install --require-hashes -r $(1); \
	$$install --no-deps --no-build-isolation $(addprefix -e ,$(2)); \
	touch $@

$(DEMO): .demo.lock pyproject.toml $(PYTHON)
	$(call install,.demo.lock,.)

$(FULL): requirements.lock $(PROJECTS) $(PYTHON)
	$(call install,requirements.lock,. ./runners/dask ./runners/ray)
