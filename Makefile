# Everything that is done here, each with one command. All but clean set up .venv first where
# there is none, or where pyproject.toml or constraints.txt have changed since.

# The first Python found that is new enough; or say which: make setup PYTHON=python3.12
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& echo $$python && break; done)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
RIVALS := .bench/.ready

.PHONY: setup demo test check bench soak test-system clean

setup: $(READY)

$(READY): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "Dovetail needs Python 3.11 or newer, and none was found." \
		"Say which: make setup PYTHON=/path/to/python"; exit 1; }
	@echo "Setting up $(VENV) (some minutes the first time, most of them for torch) ..."
	@test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

demo: $(READY)
	@PATH="$(CURDIR)/$(BIN):$$PATH" bash examples/model_file/demo.sh demo

test: $(READY)
	@$(BIN)/python -m pytest

check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright
	$(BIN)/python -m pytest

bench: $(READY) $(RIVALS)
	$(BIN)/python benchmarks/startup.py
	$(BIN)/python benchmarks/saving.py
	$(BIN)/python benchmarks/steady_memory.py
	.bench/bin/python benchmarks/records.py
	.bench/bin/python benchmarks/pipelines.py
	.bench/bin/python benchmarks/overhead.py
	.bench/bin/python benchmarks/loop_cost.py

# What Dovetail is measured against is in an environment of its own.
$(RIVALS): benchmarks/rivals/requirements.txt pyproject.toml
	@echo "Setting up .bench with the rivals (some minutes the first time) ..."
	@test -x .bench/bin/pip || $(PYTHON) -m venv .bench
	@.bench/bin/python -m pip install -qq --disable-pip-version-check -r $< -e '.[jpeg]'
	@touch $@

# The full counts of what `make test` runs a seeded subset of.
soak: $(READY)
	$(BIN)/python benchmarks/soak.py

# Tests that need system packages. What they need is named in .ci/test-system.
test-system: $(READY)
	@bash .ci/test-system

clean:
	rm -rf $(VENV) .bench demo build dist .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
