# make demo    from a fresh checkout to the ranking of the quickstart screen
# make test    the tests
# Both make .venv first, if it is not there or its requirements have changed.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV   ?= .venv
BIN    := $(VENV)/bin
STORE  ?= runs
# three test processes on two cores, for many tests wait (Slurm, servers, leases); each keeps its libraries to one
# thread (tests/conftest.py)
JOBS   ?= 3

.PHONY: demo test lint bench audit clean help
.DEFAULT_GOAL := help

help:
	@sed -n '1,3s/^# //p' Makefile
	@echo "make lint    ruff"
	@echo "make bench   the measurements of tests/benchmarks"
	@echo "make audit   known faults of the pinned dependencies (asks an advisory database on the network)"
	@echo "make clean   remove .venv and build leftovers; results in $(STORE)/ stay"

demo: $(VENV)/.installed
	@$(BIN)/esr1md screen quickstart --store $(STORE)

test: $(VENV)/.installed-test
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal $(ARGS)

lint: $(VENV)/.installed-test
	$(BIN)/ruff check esr1md flows tests
	$(BIN)/ruff format --check esr1md flows tests

bench: $(VENV)/.installed-test
	@for script in tests/benchmarks/*.py; do echo "== $$script"; $(BIN)/python $$script $(ARGS) || exit 1; done

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v <= (3, 13) else \
	  f"esr1md needs Python 3.11 to 3.13 and {sys.executable} is {v[0]}.{v[1]}; say which: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)

# torch goes first and alone: its wheel is the largest, and a failed download is then seen at once
$(VENV)/.installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "installing esr1md into $(VENV) (minutes, once) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check "$$(grep -i '^torch==' constraints.txt)" -c constraints.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e . -c constraints.txt
	@touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[test]' -c constraints.txt
	@touch $@

# --strict: a dependency that could not be looked up is a failure and not a clean bill
audit: $(VENV)/.installed-test
	$(BIN)/pip-audit --strict --no-deps --disable-pip --progress-spinner off -r constraints.txt

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache
