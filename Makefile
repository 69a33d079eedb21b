# One word for each thing to do; `make` alone lists them.
#
# Everything runs in .venv, which is made on first use and again when setup.cfg changes; nothing outside
# this folder is touched. Only relative paths: the folder may lie anywhere, also in a path with spaces.

PYTHON ?= python3
PY := .venv/bin/python
PIP := $(PY) -m pip install --quiet --quiet --disable-pip-version-check
MAKEFLAGS += --no-print-directory

# What `make test` consists of, in this order.
PARTS := check fast slow features wheel

# A virtual environment does not survive being moved: if ours was, it is made anew.
ifneq ($(wildcard .venv/.made-in),)
ifneq ($(shell cat .venv/.made-in),$(CURDIR))
$(shell rm -rf .venv)
endif
endif

.PHONY: help venv demo quickstart crash-loop daemon hot-swap two-gpus test $(PARTS) simulate bench diagrams clean

help: ## Show this list
	@echo "make WORD, where WORD is one of:"
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1\t\2/p' Makefile | expand -t 13

venv: .venv/.test-stamp ## Make the virtual environment for development in .venv

demo: .venv/.demo-stamp ## Show a pool's life on a real engine, from preload to drain
	@$(PY) examples/demo.py

quickstart: .venv/.demo-stamp ## The same in thirty lines of Python
	@$(PY) examples/quickstart.py

crash-loop: .venv/.demo-stamp ## Show what becomes of an engine that crashes again and again
	@$(PY) examples/crash_loop.py

daemon: .venv/.demo-stamp ## Show a daemon that is killed under load while its clients notice nothing
	@$(PY) examples/embedded_daemon.py

hot-swap: .venv/.demo-stamp ## Swap a model while clients never stop asking, and draw what they notice
	@$(PY) examples/hot_swap.py

two-gpus: .venv/.demo-stamp ## Show two imagined GPUs: masks, turns, a refusal, one that is lost and comes back
	@$(PY) examples/two_gpus.py

test: .venv/.test-stamp ## Run everything there is to check; takes some minutes
	@passed=0; failed=; \
	for part in $(PARTS); do \
		if $(MAKE) $$part; then passed=$$((passed + 1)); else failed="$$failed $$part"; fi; \
	done; \
	set -- $$failed; \
	echo; echo "=== The end"; \
	if [ $$# -gt 0 ]; then echo "not passed:$$failed (run one alone with: make $$1)"; fi; \
	echo "parts: $$passed passed, $$# failed"; \
	[ $$# -eq 0 ]

check: .venv/.test-stamp ## Style, types, and which part may import which
	@echo; echo "=== Style, types, imports"
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
	$(PY) -c "from importlinter.cli import lint_imports_command; lint_imports_command()"

fast: .venv/.test-stamp ## Tests on virtual time: seconds
	@echo; echo "=== Fast tests"
	$(PY) -m pytest -q -m "not slow and not gpu" -n auto --dist loadgroup

slow: .venv/.test-stamp ## Tests with real processes and the real engine: minutes
	@echo; echo "=== Slow tests: real processes, real engine, real time"
	$(PY) -m pytest -q -m "slow and not gpu" --durations=5

features: .venv/.test-stamp ## The promises to people, as scenarios
	@echo; echo "=== Features"
	$(PY) -m behave --format progress

wheel: .venv/.test-stamp ## Build the wheel into dist/ and run the fast tests on it, with no sources in reach
	@echo; echo "=== The wheel alone"
	@bash tests/wheel.sh

simulate: .venv/.test-stamp ## Kill, starve and confuse the whole manager thousands of times, in minutes
	@$(PY) -m tests.whole --crash-points
	@$(PY) -m tests.whole --seeds 5000

bench: .venv/.bench-stamp ## Compare with peers; prints a table of ratios
	@$(PY) -m benchmarks

diagrams: .venv/.test-stamp ## Draw the diagrams of the tables anew, into docs/
	@$(PY) -m pool_lifecycle.diagrams

clean: ## Remove everything that was made here, .venv too
	rm -rf .venv build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# --- the virtual environment -----------------------------------------------------------------------

.venv/.%-stamp: setup.cfg pyproject.toml | .venv/.made-in
	@echo "Installing what '$*' needs into .venv: some tens of megabytes, this first time only ..."
	@$(PIP) --editable ".[$*]"
	@touch $@

.venv/.made-in:
	@command -v "$(PYTHON)" > /dev/null || { \
		echo "There is no $(PYTHON). Install Python 3.11 or newer, or name it: make PYTHON=/path/to/python3"; exit 1; }
	@"$(PYTHON)" -c "import sys; sys.exit(sys.version_info < (3, 11))" || { \
		echo "$$("$(PYTHON)" --version) is too old: 3.11 or newer is needed. Name another: make PYTHON=python3.12"; exit 1; }
	@"$(PYTHON)" -c "import ensurepip, venv" 2> /dev/null || { \
		echo "$(PYTHON) cannot make virtual environments. On Debian or Ubuntu: sudo apt install python3-venv"; exit 1; }
	@"$(PYTHON)" -m venv .venv
	@echo "$(CURDIR)" > $@
