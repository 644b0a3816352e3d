# `make quickstart` draws digits, `make test` tests; CONTRIBUTING.md explains the rest.
# Variables: PYTHON, the interpreter that the virtual environment is made with; UV, which `make lock` runs.

PYTHON ?= $(shell for python in python3.11 python3 python3.12 python3.13; do \
	$$python -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null \
	&& echo $$python && break; done)
UV ?= uv
VENV := .venv
BIN := $(VENV)/bin
# Made last and named by the lock's content: another lock, or an interrupted installation, is made anew.
INSTALLED := $(VENV)/.installed-$(shell sha256sum requirements.lock | cut -c1-16)
ORDINARY := not slow and not gpu and not browser
ALONE := not ray and not system and $(ORDINARY)

.PHONY: quickstart test test-fast test-slow test-browser chaos fuzz bench bench-gpu published check lint ui venv lock clean

quickstart: venv
	$(BIN)/python jobs/quickstart.py digits

# What starts other processes has the machine to itself; the rest is spread over its cores.
test: venv
	$(BIN)/python -m pytest -m "$(ALONE)" --numprocesses auto
	$(BIN)/python -m pytest -m "(ray or system) and $(ORDINARY)" --durations=5

# For the moment between two edits: shapes are not checked at run time, which takes as long as the rest.
test-fast: venv
	JAXTYPING_DISABLE=1 $(BIN)/python -m pytest -m "$(ALONE) and not long" --numprocesses auto

test-slow: venv
	$(BIN)/python -m pytest -m "slow and not gpu and not browser" --durations=0

# MLflow's pages and the report, in the Chromium that is installed here.
test-browser: venv
	$(BIN)/python -m pytest -m browser

# Four minutes for tokenizing, four for each training. SEED decides what is killed when.
chaos: venv
	$(BIN)/python -m tests.system.chaos $(SEED)
	$(BIN)/python -m tests.system.chaos_training $(SEED)

# Damaged files through every reader of what comes from outside, in two processes. SEED and INPUTS decide which and how
# many; .fuzz/ keeps what was found, with the command that reads the same file again.
fuzz: venv
	$(BIN)/python -m tests.system.fuzz $(SEED:%=--seed %) $(INPUTS:%=--inputs %)

# PUBLISHED: a checkout of the published code, beside which the engine and the training step are measured.
bench: venv published
	$(BIN)/python benchmarks/training_step.py digits --published $(PUBLISHED) --plain --repeats 20
	$(BIN)/python benchmarks/ray_train.py
	$(BIN)/python benchmarks/engine.py bar-b-patch4 --published $(PUBLISHED) --batch 4 --repeats 2
	$(BIN)/python benchmarks/head.py

bench-gpu: venv published
	for preset in bar-b-patch4 bar-b-patch2 bar-b bar-l; do \
		$(BIN)/python benchmarks/engine.py $$preset --published $(PUBLISHED) || exit; \
	done
	$(BIN)/python benchmarks/head.py --batch 256
	for preset in bar-b bar-l; do \
		$(BIN)/python benchmarks/training_step.py $$preset --published $(PUBLISHED) --in-a-row 5 || exit; \
	done
	$(BIN)/python benchmarks/training_step.py bar-l --in-a-row 5 --recompute

published:
	@test -n "$(PUBLISHED)" || { echo "error: PUBLISHED=DIR is missing, a checkout of the published code" >&2; exit 2; }

check: lint test

lint: venv
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

# The database that local runs write. MLflow's own job runner would only add processes.
ui: venv
	MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false $(BIN)/mlflow ui --backend-store-uri sqlite:///mlflow.db

venv: $(INSTALLED)

# -qq says errors only; the loop says that it goes on, and its sleep holds no pipe open behind us. Downloads go under
# the environment too: /tmp is often too small for them.
$(INSTALLED):
	@$(or $(PYTHON),false) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null \
		|| { echo "error: Python 3.11, 3.12 or 3.13 is wanted$(PYTHON:%=, not %): make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@echo "Installing the pinned packages into $(VENV) with $(PYTHON): about 7 GB, a few minutes"
	@$(PYTHON) -m venv --clear $(VENV)
	@start=$$(date +%s); \
	while sleep 15 >/dev/null 2>&1 && kill -0 $$$$ 2>/dev/null; do \
		echo "  $$(($$(date +%s) - start)) s, $$(du -sh $(VENV) 2>/dev/null | cut -f1)"; \
	done & progress=$$!; \
	trap 'kill $$progress 2>/dev/null' EXIT; trap 'exit 130' INT TERM; \
	mkdir $(VENV)/tmp; export TMPDIR=$(CURDIR)/$(VENV)/tmp; \
	$(BIN)/pip -qq install --require-hashes --no-deps -r requirements.lock \
		&& $(BIN)/pip -qq install --no-deps --no-build-isolation --editable .
	@rm -rf $(VENV)/tmp && touch $@

# uv keeps the versions that are locked already; delete requirements.lock first to take the newest.
lock:
	@$(UV) pip compile --quiet pyproject.toml --group dev --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-emit-find-links --no-annotate --custom-compile-command "make lock" -o requirements.lock

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache .import_linter_cache .hypothesis bar.egg-info
